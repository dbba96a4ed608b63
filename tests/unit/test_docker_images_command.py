"""``mlhub images pull``: which images, and what is shown of them."""

import io

import pytest

from mlhub.backends.docker.cli import Screen, list_references
from mlhub.backends.docker.offered import NAME, note_images, read_images
from mlhub.policy.file import read_policy
from mlhub.policy.model import SitePolicy, SpawnerDefaults
from mlhub.settings import Settings

POLICY = read_policy(
    "images:\n- {name: python, image: 'registry.example/python:1'}\n- {name: r, image:"
    " 'registry.example/r:2'}\n"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("asked", "policy", "images"),
    [
        ([], POLICY, ["registry.example/python:1", "registry.example/r:2"]),
        (["r", "other:1", "r"], POLICY, ["registry.example/r:2", "other:1"]),
        ([], SitePolicy(), ["default:1", "second:2"]),
        (["other:1"], SitePolicy(), ["other:1"]),
    ],
)
def test_names_of_the_catalogue_and_references_are_understood(asked, policy, images):
    assert list_references(asked, policy, ["default:1", "second:2"]) == images


def test_what_the_user_config_offers_is_what_the_hub_wrote_down_at_its_start(tmp_path, monkeypatch):
    settings = Settings(data_volume_container=tmp_path)
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    assert read_images(tmp_path) == []
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path / "nowhere"))
    note_images(SpawnerDefaults(image="a:1"))
    assert read_images(tmp_path) == []
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path))
    note_images(SpawnerDefaults(image="a:1", workspace_images=("a:1", "b:1")))
    assert read_images(tmp_path) == ["a:1", "b:1"]
    (tmp_path / NAME).write_text("[1")
    assert read_images(tmp_path) == []


def test_without_a_terminal_there_is_a_line_for_every_tenth_and_no_control_characters():
    output = io.StringIO()
    screen = Screen(output)
    for percent in range(101):
        screen.show("a:1", percent, f"at {percent}")
    screen.show("b:1", 0, "Pulling b:1")
    screen.end_line()
    lines = output.getvalue().splitlines()
    assert lines[0] == "at 0"
    assert lines[1:3] == ["at 10 (10 %)", "at 20 (20 %)"]
    assert lines[-2:] == ["at 100", "Pulling b:1"]
    assert len(lines) == 12
    assert "\r" not in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_on_a_terminal_one_line_per_image_is_written_over():
    output = Terminal()
    screen = Screen(output)
    screen.show("a:1", 0, "Pulling a:1")
    screen.show("a:1", 50, "Pulling a:1")
    screen.show("b:1", 0, "Pulling b:1")
    screen.end_line()
    assert output.getvalue().count("\n") == 2
    assert output.getvalue().count("\r") == 3
    assert "[############............]  50 % Pulling a:1" in output.getvalue()
