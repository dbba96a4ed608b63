"""What `./scripts/up` hands to the hub's container, and when it takes a running hub for one with
these settings.
"""

from __future__ import annotations

import itertools
import re
import stat
import sys
from pathlib import Path

import pytest

from mlhub.settings import KNOWN_VARIABLES, SECRET_VARIABLES, Settings

ROOT = Path(__file__).parents[2]
SECRET = "a long enough passphrase"
# Those of engines elsewhere, and those that say what lies where inside.
NOT_FOR_UP = {
    "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
    "MLHUB_RUN_DIR", "MLHUB_RESOURCES_DIR", "MLHUB_CHART_VALUES",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tools():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def make_command(environment: dict[str, str]) -> list[str]:
    from tools.deployment import make_run_command
    from tools.handover import find_data_directory, make_handover

    return make_run_command(
        "mlhub", 8080, find_data_directory(environment), make_handover(environment)
    )


def list_volumes(environment: dict[str, str]) -> list[str]:
    command = make_command(environment)
    return [word for before, word in itertools.pairwise(command) if before == "--volume"]


def list_names(environment: dict[str, str]) -> list[str]:
    command = make_command(environment)
    return [word for before, word in itertools.pairwise(command) if before == "--env"]


def make_mark(key: bytes = b"key", image: str = "sha256:1", **environment: str) -> str:
    from tools.handover import make_handover, make_mark

    return make_mark(key, make_command(environment), make_handover(environment), image)


def write(file: Path, content: str = SECRET) -> str:
    file.write_text(content)
    return str(file)


# Variables and values


def test_without_variables_it_is_the_documented_command():
    command = make_command({"PATH": "/bin", "HOME": "/root", "NOT_OURS": "1"})
    assert command[:4] == ["docker", "run", "--name", "mlhub"]
    assert command[-1] == "mltooling/ml-hub:latest"
    assert "8080:8080" in command
    assert list_names({"PATH": "/bin", "NOT_OURS": "1"}) == []
    assert {"jupyterhub_data:/data", "/var/run/docker.sock:/var/run/docker.sock"} <= set(
        list_volumes({})
    )


@pytest.mark.parametrize("variable", sorted(KNOWN_VARIABLES - NOT_FOR_UP))
def test_every_documented_variable_is_handed_over(variable, tmp_path):
    fitting = {"DOCKER_HOST": "unix:///run/other.sock", "MLHUB_SSH_KEYS_DIR": str(tmp_path)}
    other = write(tmp_path / "file") if variable.endswith("_FILE") else "/somewhere"
    environment = {variable: fitting.get(variable, other)}
    if variable == "DOCKER_HOST":
        assert "/run/other.sock:/var/run/docker.sock" in list_volumes(environment)
    else:
        assert list_names(environment) == [variable]


@pytest.mark.parametrize("variable", sorted(NOT_FOR_UP))
def test_a_documented_variable_that_can_not_be_is_refused(variable, tmp_path):
    from tools.console import ToolError

    assert variable in KNOWN_VARIABLES
    with pytest.raises(ToolError, match=f"^{variable}="):
        make_command({variable: str(tmp_path)})


def test_every_field_that_is_a_path_is_mounted_or_refused_or_inside():
    from tools.handover import REFUSED, list_given

    paths = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if field.annotation in (Path, Path | None)
    }
    assert {"POLICY_FILE", "MLHUB_SSH_KEYS_DIR"} <= paths
    assert paths - {"DATA_VOLUME_CONTAINER"} <= {given.variable for given in list_given()} | REFUSED


def test_a_variable_of_our_family_that_nobody_knows_reaches_the_hub_which_warns_of_it():
    assert list_names({"MLHUB_HOSTNAME": "hub.example"}) == ["MLHUB_HOSTNAME"]


def test_what_is_read_on_this_machine_alone_is_not_handed_over(tmp_path):
    assert (
        list_names(
            {
                "MLHUB_CACHE": "/cache",
                "MLHUB_SSL_DIR": str(tmp_path),
                "MLHUB_USER_CONFIG": write(tmp_path / "config.py"),
            }
        )
        == []
    )


@pytest.mark.parametrize("variable", sorted(SECRET_VARIABLES))
def test_a_secret_s_value_is_in_no_word_of_the_command(variable):
    from tools.handover import make_handover

    assert SECRET not in " ".join(make_command({variable: SECRET}))
    assert make_handover({variable: SECRET}).variables == {variable: SECRET}


# Files and folders


@pytest.mark.parametrize("variable", sorted(SECRET_VARIABLES))
def test_a_secret_s_file_is_mounted_where_the_hub_is_told(variable, tmp_path):
    from tools.handover import make_handover

    environment = {f"{variable}_FILE": write(tmp_path / "secret")}
    place = f"/run/secrets/{variable.lower()}"
    assert f"{tmp_path}/secret:{place}:ro" in list_volumes(environment)
    assert make_handover(environment).variables == {f"{variable}_FILE": place}


def test_the_user_config_is_mounted(tmp_path):
    file = write(tmp_path / "config.py")
    assert f"{file}:/resources/jupyterhub_user_config.py:ro" in list_volumes(
        {"MLHUB_USER_CONFIG": file}
    )


def test_the_certificate_s_folder_is_mounted(tmp_path):
    assert f"{tmp_path}:/resources/ssl:ro" in list_volumes({"MLHUB_SSL_DIR": str(tmp_path)})


def test_the_folder_of_the_allow_list_is_mounted(tmp_path):
    environment = {"MLHUB_USERS_DIR": str(tmp_path), "DYNAMIC_WHITELIST_ENABLED": "true"}
    assert f"{tmp_path}:/resources/users:ro" in list_volumes(environment)
    assert list_names(environment) == ["DYNAMIC_WHITELIST_ENABLED"]


@pytest.mark.parametrize("variable", ["POLICY_FILE", "MANUAL_AUTH_FILE"])
def test_of_a_file_that_the_hub_follows_the_folder_is_mounted(variable, tmp_path):
    from tools.handover import make_handover

    environment = {variable: write(tmp_path / "of-the-site")}
    place, name = make_handover(environment).variables[variable].rsplit("/", 1)
    assert f"{tmp_path}:{place}:ro" in list_volumes(environment)
    assert name == "of-the-site"


@pytest.mark.parametrize("value", ["false", "No", ""])
def test_manual_keys_that_are_switched_off_need_no_file(value):
    assert list_names({"MANUAL_AUTH_FILE": value}) == ["MANUAL_AUTH_FILE"]


def test_the_folder_of_ssh_keys_is_mounted_where_the_hub_is_told(tmp_path):
    from tools.handover import make_handover

    environment = {"MLHUB_SSH_KEYS_DIR": str(tmp_path)}
    assert (
        f"{tmp_path}:{make_handover(environment).variables['MLHUB_SSH_KEYS_DIR']}:ro"
        in list_volumes(environment)
    )


@pytest.mark.parametrize("value", ["/srv", "/srv/", "/data/hub", "/data/"])
def test_the_data_volume_is_where_the_hub_writes(value):
    volumes = list_volumes({"DATA_VOLUME_CONTAINER": value})
    assert f"jupyterhub_data:{value.rstrip('/')}" in volumes
    assert len(volumes) == len({volume.split(":")[1] for volume in volumes}), (
        "the engine refuses two mounts at one place"
    )


def test_another_hub_has_another_data_volume():
    from tools.deployment import make_run_command
    from tools.handover import make_handover

    assert "jupyterhub_data_lab:/data" in make_run_command(
        "lab", 8080, "/data", make_handover({"HUB_NAME": "lab"})
    )


def test_a_local_socket_of_another_engine_is_mounted():
    assert "/run/user/1/docker.sock:/var/run/docker.sock" in list_volumes(
        {"DOCKER_HOST": "unix:///run/user/1/docker.sock"}
    )
    assert list_names({"DOCKER_HOST": "unix:///run/user/1/docker.sock"}) == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"DOCKER_HOST": "tcp://127.0.0.1:2375"},
            "DOCKER_HOST='tcp://127.0.0.1:2375' is not a local socket",
        ),
        ({"DOCKER_HOST": "ssh://there"}, "DOCKER_HOST='ssh://there' is not a local socket"),
        ({"DOCKER_TLS_VERIFY": "1"}, "DOCKER_TLS_VERIFY='1' is for engines on the network"),
        ({"DOCKER_CERT_PATH": "/certs"}, "DOCKER_CERT_PATH='/certs' is for engines on the network"),
        ({"MLHUB_USER_CONFIG": "/nowhere.py"}, "MLHUB_USER_CONFIG='/nowhere.py' is not a file"),
        ({"MLHUB_SSL_DIR": "/nowhere"}, "MLHUB_SSL_DIR='/nowhere' is not a folder"),
        ({"MLHUB_SSH_KEYS_DIR": "/nowhere"}, "MLHUB_SSH_KEYS_DIR='/nowhere' is not a folder"),
        (
            {"POLICY_FILE": "/resources/policy.yaml"},
            "POLICY_FILE='/resources/policy.yaml' is not a file on this machine",
        ),
        ({"POLICY_FILE": "/"}, "POLICY_FILE='/' is not a file on this machine"),
        ({"MANUAL_AUTH_FILE": "true"}, "MANUAL_AUTH_FILE='true' is not a file on this machine"),
        (
            {"MLHUB_ADMIN_PASSWORD_FILE": "/nowhere"},
            "MLHUB_ADMIN_PASSWORD_FILE='/nowhere' is not a file",
        ),
        ({"START_NGINX": "False"}, "START_NGINX='False' leaves nobody on the port"),
        ({"DATA_VOLUME_CONTAINER": "srv"}, "DATA_VOLUME_CONTAINER='srv' is not the whole path"),
        ({"DATA_VOLUME_CONTAINER": "//"}, "DATA_VOLUME_CONTAINER='//' is not the whole path"),
        (
            {"MLHUB_CHART_VALUES": "/etc/values.yaml"},
            "MLHUB_CHART_VALUES='/etc/values.yaml' is not for ./scripts/up",
        ),
    ],
)
def test_what_the_hub_could_not_use_is_refused_with_its_value(environment, sentence):
    from tools.console import ToolError

    with pytest.raises(ToolError, match=f"^{re.escape(sentence)}"):
        make_command(environment)


def test_a_file_whose_change_could_not_be_seen_is_refused(tmp_path):
    from tools.console import ToolError

    (tmp_path / "ca").mkdir()
    with pytest.raises(ToolError, match=r"MLHUB_SSH_KEYS_DIR: \S+/ca cannot be read"):
        make_command({"MLHUB_SSH_KEYS_DIR": str(tmp_path)})


# The mark by which a running hub is known


@pytest.mark.parametrize("variable", ["SSL_ENABLED", "MLHUB_HOSTNAMES", "MLHUB_ADMIN_PASSWORD"])
def test_another_value_is_another_mark_and_the_same_value_the_same(variable):
    assert make_mark(**{variable: "one"}) == make_mark(**{variable: "one"})
    assert len({make_mark(), make_mark(**{variable: "one"}), make_mark(**{variable: "two"})}) == 3


@pytest.mark.parametrize(
    "variable", ["MLHUB_USER_CONFIG", *(f"{name}_FILE" for name in sorted(SECRET_VARIABLES))]
)
def test_another_content_of_what_is_read_at_the_start_is_another_mark(variable, tmp_path):
    environment = {variable: write(tmp_path / "file", "one")}
    before = make_mark(**environment)
    write(tmp_path / "file", "two")
    assert make_mark(**environment) != before
    write(tmp_path / "file", "one")
    assert make_mark(**environment) == before


def test_another_ssh_key_is_another_mark(tmp_path):
    marks = {make_mark(MLHUB_SSH_KEYS_DIR=str(tmp_path))}
    for name in ("ca", "host_key"):
        write(tmp_path / name)
        marks.add(make_mark(MLHUB_SSH_KEYS_DIR=str(tmp_path)))
    assert len(marks) == 3


def test_what_the_hub_follows_by_itself_is_the_same_mark(tmp_path):
    environment = {
        "POLICY_FILE": write(tmp_path / "policy.yaml", "one"),
        "MLHUB_SSL_DIR": str(tmp_path),
    }
    write(tmp_path / "cert.crt", "one")
    before = make_mark(**environment)
    write(tmp_path / "policy.yaml", "two")
    write(tmp_path / "cert.crt", "two")
    assert make_mark(**environment) == before


def test_a_certificate_where_there_was_none_is_another_mark(tmp_path):
    before = make_mark(MLHUB_SSL_DIR=str(tmp_path))
    write(tmp_path / "cert.crt")
    assert make_mark(MLHUB_SSL_DIR=str(tmp_path)) != before


def test_another_image_is_another_mark():
    assert make_mark(image="sha256:1") != make_mark(image="sha256:2")


def test_a_mark_tells_nothing_to_who_has_not_the_key():
    assert make_mark(b"one key", MLHUB_ADMIN_PASSWORD=SECRET) != make_mark(
        b"another key", MLHUB_ADMIN_PASSWORD=SECRET
    )


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path):
    from tools.handover import ensure_key

    file = tmp_path / "cache" / "up.key"
    key = ensure_key(file)
    assert len(key) == 32
    assert ensure_key(file) == key
    assert ensure_key(tmp_path / "other.key") != key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


# What is said meanwhile


def test_a_stage_prints_its_title_at_once_and_its_seconds_at_the_end(capsys):
    from tools.console import stage

    with stage("Doing it"):
        assert capsys.readouterr().out == "==> Doing it ...\n"
    assert re.fullmatch(r"    \d+\.\d s\n", capsys.readouterr().out)


def test_a_stage_that_fails_says_so_with_its_seconds(capsys):
    from tools.console import ToolError, stage

    with pytest.raises(ToolError), stage("Doing it"):
        raise ToolError("no")
    assert re.search(r"    failed after \d+\.\d s: Doing it\n", capsys.readouterr().out)
