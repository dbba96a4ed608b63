"""What the hub knows about images.

The site's own settings, and over them what the catalogue says.
"""

import json
from pathlib import Path

import pytest

from mlhub.backends.fake import FakeSpawner
from mlhub.errors import ConfigurationError
from mlhub.options.image_catalogue import CatalogueImage, make_entry
from mlhub.options.images import (
    SETTINGS_HELP,
    ImageSettings,
    find_image_settings,
    lay_over,
)
from mlhub.options.our_images import (
    VARIANTS,
    explain_missing_image,
    is_ours,
    list_variants,
)
from mlhub.settings import Settings

ROOT = Path(__file__).parents[2]
OURS = Settings.model_fields["mlhub_workspace_image"].default
CONFIGURED = {"example.org/*": {"needs_root": True, "port": 9000, "uid": 1001}}


@pytest.mark.parametrize(
    "entry",
    [make_entry("example.org/a:1"), CatalogueImage(name="a", image="example.org/a:1"), None],
)
def test_what_an_entry_does_not_say_is_as_the_image_settings_have_it(entry):
    settings = lay_over(find_image_settings("example.org/a:1", CONFIGURED), entry)
    assert (settings.needs_root, settings.port, settings.uid) == (True, 9000, 1001)


def test_what_an_entry_says_covers_the_image_settings():
    entry = CatalogueImage(name="a", image="example.org/a:1", needs_root=False, port=8080, uid=1002)
    settings = lay_over(find_image_settings("example.org/a:1", CONFIGURED), entry)
    assert (settings.needs_root, settings.port, settings.uid) == (False, 8080, 1002)
    assert lay_over(
        find_image_settings("other/b:1", CONFIGURED),
        CatalogueImage(name="b", image="other/b:1", needs_root=True),
    ).needs_root
    assert not lay_over(
        find_image_settings("other/b:1", CONFIGURED), make_entry("other/b:1")
    ).needs_root


@pytest.mark.parametrize("key", ImageSettings.model_fields)
def test_each_key_is_one_of_the_catalogue_and_is_told_wherever_keys_are_listed(key):
    assert CatalogueImage.model_fields[key].description in SETTINGS_HELP
    assert f"`{key}`" in (ROOT / "docs/howto/images.md").read_text()
    with pytest.raises(ConfigurationError, match=f"image_settings.*{key}"):
        find_image_settings("a:1", {"a:1": "8888"})


def test_a_sites_own_entry_takes_back_what_is_known_otherwise():
    entry = {"*/jupyter/mine": {"port": None, "cmd": ["start", 8080]}}
    settings = find_image_settings("quay.io/jupyter/mine", entry)
    assert (settings.port, settings.cmd, settings.uid) == (None, ("start", "8080"), 1000)


def test_a_hub_that_begins_knows_the_image_of_what_runs_as_the_one_before_did():
    """SSH asks for it: an image with an sshd of its own gets no other."""
    started, found, plain = FakeSpawner(), FakeSpawner(), FakeSpawner()
    for spawner in (started, found, plain):
        spawner.ssh_folder = "/nowhere"
    started._image_settings = ImageSettings(ssh_port=2200, mount_point="/data")
    found.load_state(json.loads(json.dumps(started.get_state())))
    assert found.brings_sshd
    assert not found.wants_bundle
    assert found.mount_point == "/data"
    found.load_state({})
    assert found.wants_bundle
    assert "image_settings" not in plain.get_state()


def test_the_default_image_is_no_image_of_2021_whose_tools_are_its_own():
    assert find_image_settings("mltooling/ml-workspace:0.13.2", {}).answers_tools
    assert not find_image_settings(OURS, {}).answers_tools


@pytest.mark.parametrize("registry", ["", "docker.io/", "registry.example.org:5000/team/"])
@pytest.mark.parametrize("tag", ["", ":latest", "-science:3.0.0", "@sha256:abc"])
def test_an_image_that_comes_with_the_hub_is_not_looked_for_in_public(registry, tag):
    image = f"{registry}mltooling/mlhub-workspace{tag}"
    assert is_ours(image)
    assert "./scripts/load" in explain_missing_image(image)


@pytest.mark.parametrize(
    "image", ["mltooling/ml-workspace:latest", "mltooling/mlhub-workspaces", "a/xmltooling/b:1"]
)
def test_another_image_that_is_missing_has_a_name_to_be_checked(image):
    assert not is_ours(image)
    assert explain_missing_image(image) == "Check its name and the registry's access."
    assert list_variants(image) == ()


def test_larger_workspaces_are_called_as_the_default_one_is():
    assert "mltooling/mlhub-workspace-science:latest" in list_variants(OURS)
    pushed = list_variants("127.0.0.1:5000/mltooling/mlhub-workspace:3.0.0")
    assert "127.0.0.1:5000/mltooling/mlhub-workspace-r:3.0.0" in pushed
    assert list_variants(pushed[0]) == ()


@pytest.mark.parametrize("registry", ["", "registry.example.org:5000/team/"])
@pytest.mark.parametrize(
    ("variant", "tools"),
    [
        ("", []),
        ("-science", ["TensorBoard"]),
        ("-r", []),
        ("-gpu", ["TensorBoard"]),
        ("-desktop", []),
    ],
)
def test_a_larger_workspace_has_buttons_for_the_programs_that_it_brings(registry, variant, tools):
    known = find_image_settings(f"{registry}mltooling/mlhub-workspace{variant}:3.0.0", {})
    assert [each.name for each in known.tools or ()] == tools
    assert not find_image_settings("example.org/mlhub-workspace-science:1", {}).tools


def test_a_site_takes_a_button_of_ours_away():
    image = "mltooling/mlhub-workspace-science:latest"
    assert find_image_settings(image, {"*-science:*": {"tools": []}}).tools == ()


def test_each_larger_workspace_that_is_offered_can_be_built(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from tools import images

    built = {name: ROOT / image.dockerfile for name, image in images.VARIANTS.items()}
    assert tuple(built) == VARIANTS
    assert [image.tag for image in images.VARIANTS.values()] == list(list_variants(OURS))
    assert all(file.is_file() for file in built.values())
    missing = [
        entry
        for image in images.VARIANTS.values()
        for entry in image.inputs
        if not (ROOT / entry).exists()
    ]
    assert missing == []


def test_a_larger_workspace_of_another_name_is_not_built(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from tools.build import main
    from tools.console import ToolError

    with pytest.raises(ToolError, match=r"spark is neither.*\(science, r, gpu, desktop\)"):
        main(["science", "spark"])
