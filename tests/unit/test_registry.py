"""Which backends there are: ours, and what a site has installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from traitlets.config import Config

from mlhub.backends.registry import find_kind, list_kinds, read_settings
from mlhub.cli.__main__ import main
from mlhub.errors import ConfigurationError, SettingsError
from mlhub.hub.layers.defaults import apply_defaults
from mlhub.hub.layers.facts import list_spawner_facts, wire
from mlhub.hub.layers.refusals import Refusals
from mlhub.options.model import OPTIONS
from tests.support import own_backend
from tests.support.site_file import SiteFile


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed a backend."""
    return own_backend.install(tmp_path_factory.mktemp("own-backend"))


@pytest.fixture
def own(installed: Path, monkeypatch: pytest.MonkeyPatch):
    """The backend that is installed."""
    monkeypatch.syspath_prepend(str(installed))
    yield find_kind(own_backend.MODE)
    find_kind.cache_clear()


def make_package(folder: Path, module: str) -> None:
    """Put a module with an entry point where Python finds it."""
    (folder / "broken.py").write_text(module)
    about = folder / "broken-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[mlhub.backends]\nbroken = broken:KIND\n")


def test_ours_are_found_by_their_modes_and_loaded_without_what_they_run_on():
    assert {find_kind("local").name, find_kind("k8s").name} == {"Docker", "Kubernetes"}
    assert [kind.name for kind in list_kinds()] == ["Docker", "Kubernetes"]


def test_a_backend_that_is_installed_has_its_own_mode_names_and_spawner(own):
    settings = read_settings({"EXECUTION_MODE": own_backend.MODE, "HUB_NAME": "longer-than-5"})
    assert settings.runs_router is own.runs_proxy is True
    c = Config()
    apply_defaults(c, settings)
    assert c.JupyterHub.spawner_class == "site_processes.ProcessSpawner"
    told = {fact.trait: (fact.owner, fact.value) for fact in list_spawner_facts(settings, own)}
    assert told == {
        "hub_name": ("ProcessSpawner", "longer-than-5"),
        "policy_file": ("ProcessSpawner", "/resources/policy.yaml"),
    }


def test_a_backend_names_its_own_options_to_its_spawner(own):
    settings = read_settings({"EXECUTION_MODE": own_backend.MODE})
    kind = replace(own, options=(OPTIONS["cpu_limit"], OPTIONS["env"]))
    (fact,) = [fact for fact in list_spawner_facts(settings, kind) if fact.trait == "option_names"]
    assert (fact.owner, fact.value) == ("ProcessSpawner", ["cpu_limit", "env"])


def test_the_policy_commands_know_the_options_of_the_chosen_backend(
    own, monkeypatch, tmp_path, capsys
):
    bare = replace(own, options=(OPTIONS["cpu_limit"], OPTIONS["env"]))
    monkeypatch.setattr(sys.modules["site_processes"], "KIND", bare)
    find_kind.cache_clear()
    settings = read_settings({"EXECUTION_MODE": own_backend.MODE})
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path))
    policy = tmp_path / "policy.yaml"
    policy.write_text("everyone:\n  gpus: {max: 1}\n")
    assert main(["policy", "check", str(policy)]) == 1
    assert f"{policy}:2: everyone.gpus is about gpus" in capsys.readouterr().err
    policy.write_text("everyone: {cpu_limit: {max: 1}}")
    assert main(["policy", "explain", "ann", "--file", str(policy), "gpus=0"]) == 1
    assert "gpus means nothing where this workspace runs" in capsys.readouterr().out


def test_a_mode_that_nobody_has_is_refused_with_those_that_there_are(own):
    with pytest.raises(SettingsError, match=r"'swarm' is not one of 'local', 'k8s' or 'processes'"):
        read_settings({"EXECUTION_MODE": "swarm"})


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import nobody_has_this\n", "ModuleNotFoundError: No module named 'nobody_has_this'"),
        ("KIND = 'a text'\n", "is no mlhub.backends.registry.BackendKind"),
    ],
)
def test_a_package_that_is_broken_is_a_sentence_to_whoever_chooses_it_and_harms_nobody_else(
    tmp_path, monkeypatch, capsys, module, said
):
    monkeypatch.syspath_prepend(str(tmp_path))
    make_package(tmp_path, module)
    assert find_kind("local").name == "Docker"
    assert len(list_kinds()) == 2
    with pytest.raises(SystemExit):
        main(["--version"])
    with pytest.raises(SettingsError) as refusal:
        find_kind("broken")
    assert "The backend 'broken' (broken:KIND)" in str(refusal.value)
    assert said in str(refusal.value)
    sys.modules.pop("broken", None)


def test_a_package_that_is_broken_harms_no_site_that_has_chosen_another_package(
    installed, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path))  # found first
    make_package(tmp_path, "import nobody_has_this\n")
    assert find_kind(own_backend.MODE).modes == (own_backend.MODE,)
    find_kind.cache_clear()


def test_a_policy_about_options_that_the_backend_lacks_is_refused_at_the_hubs_start(
    own, monkeypatch, tmp_path
):
    policy = tmp_path / "policy.yaml"
    policy.write_text("everyone:\n  gpus: {max: 1}\n")
    lacking = replace(own, options=(OPTIONS["cpu_limit"],))
    monkeypatch.setattr("mlhub.hub.layers.facts.find_kind", lambda mode: lacking)
    settings = read_settings({"EXECUTION_MODE": own_backend.MODE, "POLICY_FILE": str(policy)})
    refusals = Refusals()
    wire(Config(), settings, refusals, None)
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:2: everyone\.gpus"):
        refusals.raise_all()


def test_a_package_that_is_broken_is_nowhere_looked_at_when_a_hub_of_ours_is_configured(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.syspath_prepend(str(tmp_path))
    make_package(tmp_path, "import nobody_has_this\n")
    site = SiteFile(tmp_path)
    site("c.KubeSpawner.image = 'a'\nc.Custom.a = 1")
    assert len(site.warnings) == 2
    assert "broken" not in caplog.text
