"""Each kind of error has an id for ever, which its messages carry to wherever they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlhub import errors
from mlhub.cli.__main__ import main

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"
# Never changed, and never given to another kind: they stand in people's notes and searches.
IDS = {
    "MLHubError": "MLHUB-E001",
    "SettingsError": "MLHUB-E010",
    "ConfigurationError": "MLHUB-E011",
    "WorkspaceError": "MLHUB-E020",
    "OptionsError": "MLHUB-E021",
    "WorkspaceBusyError": "MLHUB-E022",
    "NameTakenError": "MLHUB-E023",
    "VolumeGoneError": "MLHUB-E024",
    "VolumeInUseError": "MLHUB-E025",
    "SSHKeyError": "MLHUB-E030",
    "PublicKeyError": "MLHUB-E031",
    "KeyTakenError": "MLHUB-E032",
    "BackupError": "MLHUB-E040",
    "EvidenceError": "MLHUB-E041",
    "TooManyAttemptsError": "MLHUB-E042",
    "BackendError": "MLHUB-E050",
    "EngineUnreachableError": "MLHUB-E051",
    "ImageError": "MLHUB-E052",
    "CapacityError": "MLHUB-E053",
    "WorkspaceDiedError": "MLHUB-E054",
}


def list_kinds() -> dict[str, type[errors.MLHubError]]:
    everything = vars(errors).items()
    kinds = {name: each for name, each in everything if isinstance(each, type)}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, errors.MLHubError)}


def test_an_id_that_was_given_stays_and_no_two_kinds_share_one():
    found = {name: kind.id for name, kind in list_kinds().items()}
    assert {name: found.get(name) for name in IDS} == IDS
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("name", IDS)
def test_each_id_has_its_place_in_the_reference(name):
    assert f"## {IDS[name]}\n" in PAGE.read_text()


def test_the_id_stands_behind_the_sentence_and_before_what_is_quoted():
    error = errors.WorkspaceDiedError("It ended. Its last words:\nno license\n")
    assert error.numbered == "It ended. Its last words (MLHUB-E054):\nno license\n"
    assert str(error) == "It ended. Its last words:\nno license\n"


def test_a_command_that_fails_names_the_id(capsys, monkeypatch):
    monkeypatch.setenv("MLHUB_RUN_DIR", "/nowhere")
    monkeypatch.setenv("EXECUTION_MODE", "nothing")
    assert main(["images", "pull"]) == 1
    assert capsys.readouterr().err.endswith("(MLHUB-E010)\n")
