"""What the shell blocks of README, tutorial and howto pages call is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mlhub.cli.__main__ import main
from tests.support.chart_files import SCHEMA

ROOT = Path(__file__).parents[2]
FOLDERS = ("tutorial", "howto")
PAGES = [ROOT / "README.md"]
PAGES += sorted(page for folder in FOLDERS for page in ROOT.glob(f"docs/{folder}/*.md"))
IMAGE = "mltooling/ml-hub"


def list_commands() -> Iterator[tuple[str, str]]:
    """Yield page and command of every line, those that go on joined."""
    for page in PAGES:
        for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield page.name, line


def split(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # a text that goes on in the next line
        return command.split()


COMMANDS = [(page, split(line)) for page, line in list_commands()]


def list_calls(program: str) -> list[tuple[str, list[str]]]:
    """List the arguments with which a program is called, through `docker exec` too."""
    calls = []
    for page, words in COMMANDS:
        for index, word in enumerate(words):
            is_called = index == 0 or words[index - 1] in ("mlhub", "|", ";", "&&", "--entrypoint")
            is_name = index and words[index - 1] in ("--name", "--namespace", "exec")
            if word == program and is_called and not is_name:
                # `docker run --entrypoint mlhub … image …`: what follows the image is the call.
                begin = words.index(IMAGE) if IMAGE in words[index:] else index
                calls.append((page, words[begin + 1 :]))
    return calls


def test_there_are_commands_of_every_kind():
    called = {words[0] for _, words in COMMANDS if words}
    assert {"docker", "helm", "kubectl", "curl", "ssh"} <= called


def test_a_script_that_is_called_is_there():
    scripts = {word for _, words in COMMANDS for word in words if word.startswith("./scripts/")}
    assert scripts
    for script in scripts:
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize(("page", "words"), list_calls("mlhub"))
def test_a_command_of_the_hub_s_and_its_options_are_there(page, words, capsys):
    names = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", word):
            break
        names.append(word)
    shown = ""
    while names and not shown:
        with pytest.raises(SystemExit) as end:
            main([*names, "--help"])
        if end.value.code == 0:
            shown = capsys.readouterr().out
        else:
            names.pop()
    assert shown, f"{page}: mlhub {' '.join(words)}"
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in shown, f"{page}: {word}"


def list_values() -> Iterator[tuple[str, str]]:
    for page, words in COMMANDS:
        if words and words[0] == "helm":
            for option, text in pairwise(words):
                if option in ("--set", "--set-file", "--set-string"):
                    for pair in re.split(r",(?=[\w.]+=)", text):
                        yield page, pair.partition("=")[0]


@pytest.mark.parametrize(("page", "path"), sorted(set(list_values())))
def test_a_value_that_is_set_is_one_of_the_chart_s(page, path):
    section = SCHEMA
    for name in path.split("."):
        assert name in section["properties"], f"{page}: {path}"
        section = section["properties"][name]
