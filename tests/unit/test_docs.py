"""The documentation tells what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mlhub.settings import KNOWN_VARIABLES
from tests.support.shell_blocks import TRIED, find_test, read_blocks

ROOT = Path(__file__).parents[2]
TOOLS = "".join(
    file.read_text() for folder in ("scripts", "tests") for file in (ROOT / folder).rglob("*.py")
)
VARIABLES = {*KNOWN_VARIABLES, *re.findall(r"MLHUB_\w+", TOOLS)}
ACTIONS = ("check", "explain", "schema")
# The first is OpenSSH's, the second is set in workspaces.
NO_VARIABLES = {"SSH_ORIGINAL_COMMAND", "SSH_JUMPHOST_TARGET"}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_pages_are_what_the_code_says():
    result = subprocess.run(["./scripts/docs", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_repository_that_a_page_names_exists(page):
    # Lines of a diff show what a contributor would add.
    text = re.sub(r"^\+.*$", "", page.read_text(), flags=re.MULTILINE)
    for path in re.findall(r"`((?:mlhub|resources|docker|scripts|tests)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_a_page_names_is_one_of_the_image_or_of_the_tools(page):
    for variable in re.findall(r"\b(?:MLHUB|START|SSH|SSHD)_[A-Z_]+\b", page.read_text()):
        assert variable in VARIABLES | NO_VARIABLES, variable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_is_one(page):
    known = {"guard install", "guard remove", "images pull", *(f"policy {a}" for a in ACTIONS)}
    known |= {"trash list", "trash restore", "trash empty"}
    known |= {"import z2jh", "import tljh", "import jupyterhub-config"}
    words = r"\bmlhub ((?:policy|images|guard|trash|import) [a-z][a-z0-9-]*)"
    for command in re.findall(words, page.read_text()):
        assert command in known, command


def test_packages_of_a_workspace_image_are_not_put_where_its_volume_hides_them():
    images = [
        block
        for page in PAGES
        for block in re.findall(r"```dockerfile\n(.*?)```", page.read_text(), re.DOTALL)
        if block.startswith("FROM mltooling/mlhub-workspace") and "pip install" in block
    ]
    assert images
    for image in images:
        assert re.search(r"^USER root\n(?:RUN .*\n)+USER 1000$", image, re.MULTILINE), image


def test_the_buttons_and_links_of_the_tutorial_are_those_of_the_pages():
    tutorial = (ROOT / "docs/tutorial/first-workspace.md").read_text()
    templates = "".join(file.read_text() for file in ROOT.glob("resources/html/*.html"))
    named = re.findall(r"\*\*([^*]+)\*\*", tutorial)
    assert named
    for words in named:
        assert re.search(rf"[>\"]{re.escape(words)}[<\"\s]", templates), words


def test_every_shell_block_of_a_page_is_tried_by_a_test():
    blocks = read_blocks()
    assert len(blocks) > 40
    assert [block for block in blocks if not find_test(block)] == []
    for page, rows in TRIED.items():
        for begin, test in rows.items():
            assert (ROOT / test).is_file(), test
            found = [each.text.lstrip().startswith(begin) for each in blocks if each.page == page]
            assert any(found), (page, begin)
