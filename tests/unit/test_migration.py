"""What the neighbors' configurations become: small files after those that people have, each key of
which is carried or told of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mlhub.cli.__main__ import main
from mlhub.errors import ConfigurationError
from mlhub.migration.cli import KINDS
from mlhub.migration.outcome import POLICY, VALUES, VARIABLES, Outcome
from mlhub.migration.python_file import import_python
from mlhub.migration.tljh import import_tljh
from mlhub.migration.verdicts import find_rulings
from mlhub.migration.z2jh import Importer, import_z2jh
from mlhub.migration.z2jh_keys import RENAMED, SAME, TRAITS
from mlhub.policy.file import load_policy
from mlhub.traits import USER_CONFIG
from tests.support.chart_files import FOREIGN_KEYS, SCHEMA
from tests.support.site_file import SiteFile

FILES = Path(__file__).parents[1] / "support" / "neighbors"
VALUES_FILES = sorted(FILES.glob("z2jh-*.yaml"))
TLJH_FILES = sorted(FILES.glob("tljh-*.yaml"))
PYTHON_FILES = sorted(FILES.glob("*.py.txt"))
ALL = [*VALUES_FILES, *TLJH_FILES, *PYTHON_FILES]
# What the files themselves ask of their environment.
ENVIRONMENT = {
    "NETWORK": "team",
    "IMAGE": "quay.io/jupyter/base-notebook:2025-03-10",
    "CALLBACK": "https://hub.example.org/hub/oauth_callback",
}
# Only what these import or start is missing where the tests run, and the report says so.
NEEDS_PACKAGES = {
    "cluster-jobs.py.txt": ["batchspawner", "ldapauthenticator"],
    "tljh-directory.yaml": ["ldapauthenticator"],
}


def bring(file: Path) -> Outcome:
    text = file.read_text()
    if file in VALUES_FILES:
        return import_z2jh(text, file.name)
    if file in TLJH_FILES:
        return import_tljh(text, file.name)
    return import_python(text, file.name)


def list_keys(outcome: Outcome) -> list[str]:
    return [told.key for told in (*outcome.carried, *outcome.left, *outcome.notes)]


def list_paths(tree: Any, above: str = "") -> Iterator[str]:
    """List the paths of all that a tree says."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from list_paths(value, f"{above}.{name}" if above else str(name))
    elif tree not in (None, "", {}, []):
        yield above


def tells(outcome: Outcome, path: str) -> bool:
    """Return True if something is told of a path, of what it is in, or of what is in it."""
    return any(
        path == key
        or path.startswith((f"{key}.", f"{key}[", f"{key},"))
        or key.startswith((f"{path}.", f"{path}[", f"{path},", f"{path}:"))
        for key in list_keys(outcome)
    )


@pytest.mark.parametrize("file", [*VALUES_FILES, *TLJH_FILES], ids=lambda file: file.name)
def test_each_key_of_a_tree_is_carried_or_told_of(file):
    outcome = bring(file)
    for path in list_paths(yaml.safe_load(file.read_text())):
        assert tells(outcome, path), path


@pytest.mark.parametrize("file", PYTHON_FILES, ids=lambda file: file.name)
def test_each_line_that_writes_a_trait_is_carried_or_told_of(file):
    outcome = bring(file)
    keys = list_keys(outcome)
    for number, line in enumerate(file.read_text().splitlines(), 1):
        for name in re.findall(r"^\s*\w+\.([A-Z]\w+\.\w+)(?: =|\.)", line):
            assert f"{file.name}, line {number}: c.{name}" in keys


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_what_is_told_as_left_says_what_to_do(file):
    for told in bring(file).left:
        assert told.sentence[-1] in ".?", told
        assert told.sentence != told.sentence.upper()


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_the_hub_takes_the_user_config_without_a_word(file, tmp_path, monkeypatch):
    outcome = bring(file)
    in_the_chart = outcome.values.get("mlhub", {}).get("env", {})
    for name, value in {**ENVIRONMENT, **in_the_chart}.items():
        monkeypatch.setenv(name, value)
    text = outcome.make_files().get(USER_CONFIG, "")
    for name in NEEDS_PACKAGES.get(file.name, ()):
        assert name in " ".join(told.sentence for told in outcome.notes)
        text = "\n".join(line for line in text.splitlines() if name not in line)
    text = text.replace('load_subconfig("more.py")', "")
    environment = {"EXECUTION_MODE": outcome.mode, **outcome.variables}
    if outcome.mode == "k8s":
        environment |= {"HUB_NAME": "lab-hub", "POD_NAMESPACE": "default"}
    site = SiteFile(tmp_path)
    site(text, **environment)
    said = {line for line in site.warnings if "has no effect" in line}
    assert not said - {line for line in said if _is_told(outcome, line)}


def _is_told(outcome: Outcome, warning: str) -> bool:
    """Return True if the report said beforehand what the hub's log says of a name."""
    name = re.search(r"c\.(\w+(?:\.\w+)?)", warning)
    return name is not None and any(name[1] in told.key for told in outcome.notes)


@pytest.mark.parametrize("file", VALUES_FILES, ids=lambda file: file.name)
def test_the_chart_admits_the_values(file):
    files = bring(file).make_files()
    jsonschema.validate(yaml.safe_load(files[VALUES]), SCHEMA)


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_the_policy_is_one(file, tmp_path):
    files = bring(file).make_files()
    if POLICY in files:
        (tmp_path / POLICY).write_text(files[POLICY])
        load_policy(tmp_path / POLICY)


def test_every_key_that_the_chart_refuses_has_a_place_or_a_cure():
    known = Importer(Outcome("k8s")).known
    for path in FOREIGN_KEYS:
        assert any(
            f"{path}.".startswith(f"{each}.") or each.startswith(f"{path}.") for each in known
        )


def test_every_value_that_is_named_is_one_of_the_chart():
    for path in (*SAME, *RENAMED.values()):
        section = SCHEMA
        for name in path.split("."):
            section = section["properties"][name]


def test_every_trait_that_is_named_is_honored():
    for name in TRAITS.values():
        section, _, trait = name.partition(".")
        assert trait in (find_rulings("k8s", section) or {}), name


# z2jh


def test_profiles_become_a_catalogue_and_a_rule():
    outcome = bring(FILES / "z2jh-profiles.yaml")
    assert [entry["image"] for entry in outcome.policy["images"]] == [
        "quay.io/example/base:1",
        "quay.io/example/r:4",
        "quay.io/example/python:3",
        "quay.io/example/cuda:12",
    ]
    rule = outcome.policy["everyone"]
    assert rule["default_image"] == "everyday"
    assert rule["cpu_limit"] == {"default": 1, "max": 8}
    assert rule["mem_limit"] == {"default": "4G", "max": "32G"}
    assert rule["gpus"] == {"max": 2}
    assert rule["custom_images"] is True


def test_what_that_chart_runs_last_stands_last():
    outcome = import_z2jh(
        "hub:\n"
        "  extraConfig: {b: 'c.KubeSpawner.volumes = []', a: 'c.Spawner.default_url = \"/b\"'}\n"
        "  config: {Spawner: {default_url: /a}}\n"
        "singleuser: {defaultUrl: /lab, storage: {extraVolumes: [{name: x}]}}\n"
    )
    lines = [line for line in outcome.lines if "default_url" in line or ".volumes" in line]
    assert [line.partition(" = ")[2] for line in lines] == [
        "'/lab'",
        "[{'name': 'x'}]",
        "'/a'",
        '"/b"',
        "[]",
    ]


def test_what_that_chart_does_without_a_word_is_kept():
    outcome = import_z2jh("proxy: {secretToken: abc, https: {enabled: true}}")
    assert outcome.values["cull"] == {"enabled": True}
    assert outcome.values["proxy"]["https"] == {"enabled": True, "type": "letsencrypt"}
    assert "c.JupyterHub.allow_named_servers = False" in outcome.lines


def test_names_of_the_time_before_are_those_of_today():
    text = bring(FILES / "z2jh-old-auth.yaml").make_files()[USER_CONFIG]
    assert "c.JupyterHub.authenticator_class = 'github'" in text
    assert "c.GitHubOAuthenticator.allowed_organizations = ['example']" in text
    assert "c.GitHubOAuthenticator.oauth_callback_url = " in text


# a file of Python


def test_a_file_is_read_and_not_run(tmp_path):
    witness = tmp_path / "witness"
    import_python(f"open({str(witness)!r}, 'w')\nc.Spawner.default_url = '/lab'\n")
    assert not witness.exists()


def test_every_line_that_means_something_stays_as_it_was():
    text = (FILES / "compose.py.txt").read_text()
    kept = import_python(text).make_files()[USER_CONFIG]
    ast.parse(kept)
    assert 'c.DockerSpawner.image = os.environ["IMAGE"]' in kept.splitlines()
    assert "# c.JupyterHub.hub_port = 8080" in kept.splitlines()
    assert "    c.Authenticator.admin_users = {admin}" in kept.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c.Authenticator.whitelist = {'a'}", "c.Authenticator.allowed_users = {'a'}"),
        ("c.SystemdSpawner.mem_limit = '1G'", "c.Spawner.mem_limit = '1G'"),
        ("c.JupyterHub.base_url = '/x'; c.Spawner.args = []", "pass; c.Spawner.args = []"),
        ("if ä: c.JupyterHub.hub_port = 1", "if ä: pass"),
        ("c.Spawner.args = c.JupyterHub.hub_ip = x", "c.Spawner.args = _ = x"),
    ],
)
def test_a_line_is_written_as_it_has_to_be_here(line, expected):
    assert import_python(line).lines == [expected]


def test_a_block_of_which_nothing_is_left_is_still_one():
    lines = import_python("if x:\n    c.JupyterHub.port = 443\n").lines
    ast.parse("\n".join(lines))
    assert lines[-1] == "    pass"


def test_what_is_not_written_as_a_trait_is_told_of_by_its_line():
    outcome = import_python("x = 1\nsetattr(c.Spawner, name, x)\nc.update({})\nc['A'].b = 1\n")
    told = [note.key for note in outcome.notes if "only running it" in note.sentence]
    assert [key.rpartition(" ")[2] for key in told] == ["2", "3", "4"]


def test_the_path_and_the_certificate_become_variables():
    outcome = import_python(
        "c.JupyterHub.bind_url = 'http://:8000/team/'\nc.JupyterHub.ssl_key = '/k'\n"
    )
    assert outcome.make_files()[VARIABLES] == "MLHUB_BASE_URL=/team\nSSL_ENABLED=true\n"


def test_a_hub_of_pods_gets_values():
    outcome = import_python("c.KubeSpawner.gid = 1\nc.JupyterHub.base_url = '/x'\n")
    assert (outcome.mode, outcome.values) == ("k8s", {"mlhub": {"baseUrl": "/x"}})


def test_a_class_of_the_file_s_own_keeps_its_lines():
    text = "class Team(DockerSpawner): pass\nc.JupyterHub.spawner_class = Team\nc.Team.x = 1\n"
    assert import_python(text).lines == text.splitlines()


def test_names_of_older_spawners_are_those_of_today():
    lines = import_python("c.KubeSpawner.user_storage_capacity = '1Gi'\n").lines
    assert lines == ["c.KubeSpawner.storage_capacity = '1Gi'"]


def test_who_was_let_in_without_a_rule_is_told_of():
    strict = import_python("c.JupyterHub.authenticator_class = 'github'\n")
    assert any("allow_all" in note.sentence for note in strict.notes)
    open_ = import_python(
        "c.JupyterHub.authenticator_class = 'github'\nc.OAuthenticator.allow_all = True\n"
    )
    assert not any("allow_all" in note.sentence for note in open_.notes)


# the command


def test_the_command_writes_files_that_only_their_owner_reads(tmp_path, capsys):
    folder = tmp_path / "new"
    file = str(FILES / "z2jh-course.yaml")
    assert main(["import", "z2jh", file, "--output", str(folder)]) == 0
    assert {each.name for each in folder.iterdir()} == {VALUES, USER_CONFIG, "report.md"}
    assert all(each.stat().st_mode & 0o077 == 0 for each in folder.iterdir())
    assert "cull.removeNamedServers" in capsys.readouterr().out
    assert main(["import", "z2jh", file, "--output", str(folder)]) == 1
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_configuration_is_refused_with_a_sentence(kind, tmp_path, capsys):
    file = tmp_path / "file"
    for content in (b"\xff\xfe", b"- a\n- b: [\n", b"x" * (4 * 2**20 + 1)):
        file.write_bytes(content)
        assert main(["import", kind, str(file), "--output", str(tmp_path / "out")]) == 1
        assert capsys.readouterr().err.startswith("mlhub: ")
    assert not (tmp_path / "out").exists()


def test_a_tree_of_another_shape_is_refused_or_told_of():
    with pytest.raises(ConfigurationError):
        import_z2jh("[1]")
    for text in ("hub: 1", "hub: {config: 1}", "singleuser: {profileList: x}", "auth: [1]"):
        assert import_z2jh(text).left, text
    for text in ("users: 1", "auth: {GitHubOAuthenticator: 1}"):
        assert import_tljh(text).left, text
