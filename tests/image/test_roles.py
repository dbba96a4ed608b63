"""Each START_* switch, the chart's two roles, and a container without root: what runs and what
listens where.
"""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, IMAGE, RUN, Hub, docker, list_source_mounts
from tests.support.ssh_client import read_audit
from tests.support.wire import is_answered, list_own_processes, list_processes

PROXY_ROLE = {"START_SSH": "false", "START_JHUB": "false", "MLHUB_ROUTER": "true"}
ROLE_OF_OLD = {
    "START_SSH": "false",
    "START_JHUB": "false",
    "START_CHP": "true",
    "ADDITIONAL_ARGS": "--ip=0.0.0.0 --api-ip=0.0.0.0",
}


def list_listeners(hub: Hub) -> set[str]:
    """Return what listens on TCP inside, as ``address:port``; Docker's own resolver is none of
    ours.
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in hub.exec("cat", table).splitlines()[1:]:
            _, local, _, state = row.split()[:4]
            address, port = local.split(":")
            if state == "0A":
                is_any, is_local = not address.strip("0"), address == "0100007F"
                found.add(
                    f"{'any' if is_any else 'local' if is_local else address}:{int(port, 16)}"
                )
    return {entry for entry in found if not entry.startswith("0B00007F")}


def list_programs(hub: Hub) -> set[str]:
    names = {
        "jupyterhub_config.py": "hub",
        "configurable-http-proxy": "chp",
        "nginx: master": "nginx",
        "sshd:": "sshd",
    }
    return {
        name
        for entry in list_processes(hub)
        for mark, name in names.items()
        if mark in entry["command"]
    }


def check(hub: Hub) -> str:
    """Return the programs that a container of these settings would run."""
    result = subprocess.run(
        ["docker", "run", "--rm", *hub.arguments, IMAGE, "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout
    return re.search(r"The configuration is fine: (.*)", result.stdout)[1]


def make_open_mounts(folder: Path, *places: str) -> list[str]:
    """Mount empty folders that belong to somebody else and are open to all, as Kubernetes' empty
    volumes are.
    """
    words = []
    for number, place in enumerate(places):
        (folder / str(number)).mkdir()
        (folder / str(number)).chmod(0o777)
        words += ["--volume", f"{folder / str(number)}:{place}"]
    return words


def test_by_default_only_the_public_port_and_the_hubs_api_are_reachable_from_outside(hub):
    assert list_programs(hub) == {"hub", "nginx", "sshd"}
    assert [entry for entry in list_processes(hub) if entry["command"].startswith("node")] == []
    assert {entry for entry in list_listeners(hub) if not entry.startswith("local")} == {
        "any:8080",
        "any:8081",
    }


@pytest.mark.parametrize(
    ("switch", "programs", "outside"),
    [
        ("START_SSH", {"hub", "nginx"}, {"any:8080", "any:8081"}),
        ("START_JHUB", {"nginx", "sshd"}, {"any:8080"}),
    ],
)
def test_each_switch_alone_leaves_its_program_out(make_brief_hub, switch, programs, outside):
    hub = make_brief_hub(**{switch: "false"})
    assert list_programs(hub) == programs
    assert {entry for entry in list_listeners(hub) if not entry.startswith("local")} == outside
    if switch == "START_SSH":
        assert_ssh_is_turned_away_and_http_still_works(hub)


def assert_ssh_is_turned_away_and_http_still_works(hub: Hub) -> None:
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(64) == b""
    assert is_answered(hub.port, "/hub/login")


@pytest.mark.parametrize(
    ("environment", "programs"),
    [
        ({"START_CHP": "false"}, "hub, sshd, nginx"),
        ({"START_CHP": "true"}, "chp, hub, sshd, nginx"),
        ({"MLHUB_OTHER_PROXY": "true"}, "hub, sshd, nginx"),
    ],
)
def test_chp_runs_where_it_is_asked_for(make_brief_hub, environment, programs):
    assert check(make_brief_hub(start=False, **environment)) == programs


# A proxy class of a site's, which starts a proxy itself.
OWN_PROXY = """
from jupyterhub.proxy import ConfigurableHTTPProxy
class SitesProxy(ConfigurableHTTPProxy):
    pass
c.JupyterHub.proxy_class = SitesProxy
c.SitesProxy.should_start = True
"""


def test_behind_nginx_a_proxy_of_the_sites_own_leads_to_hub_and_workspaces(make_brief_hub):
    hub = make_brief_hub(CONFIG + OWN_PROXY, MLHUB_OTHER_PROXY="true")
    assert list_programs(hub) == {"hub", "nginx", "sshd", "chp"}
    # The hub has started it, not boot.
    users = {entry["user"] for entry in list_processes(hub) if "http-proxy" in entry["command"]}
    assert users == {61000}
    hub.start_workspace("ann")
    assert is_answered(hub.port, "/user/ann/api")
    assert is_answered(hub.port, "/hub/login")


def test_without_nginx_the_hub_works_through_the_proxys_own_port(make_brief_hub):
    hub = make_brief_hub(START_NGINX="false", arguments=("--publish", "127.0.0.1::8000"))
    assert list_programs(hub) == {"hub", "chp", "sshd"}
    assert {entry for entry in list_listeners(hub) if not entry.startswith("local")} == {
        "any:22",
        "any:8000",
        "any:8081",
    }
    hub.port = int(docker("port", hub.name, "8000/tcp").rsplit(":", 1)[1])
    assert is_answered(hub.port, "/hub/login")
    hub.start_workspace("ann")
    assert is_answered(hub.port, "/user/ann/api")


def test_the_charts_hub_role_is_a_configuration_that_is_fine(make_brief_hub):
    hub = make_brief_hub(
        start=False,
        EXECUTION_MODE="k8s",
        START_NGINX="false",
        START_SSH="false",
        HUB_NAME="a-longer-release-name",
    )
    assert check(hub) == "hub"


@pytest.fixture
def network() -> Iterator[str]:
    name = f"mlhub-test-{secrets.token_hex(4)}"
    docker("network", "create", "--label", f"mlhub.test={RUN}", name)
    yield name
    docker("network", "rm", name, check=False)


def ask_from_outside(network: str, *addresses: str) -> dict[str, str]:
    """Return the HTTP status of each address, asked from a container of its own.

    000 is no answer.
    """
    command = "; ".join(
        f'echo "{address}" $(curl -s -m 5 -o /dev/null -w "%{{http_code}}" http://{address})'
        for address in addresses
    )
    words = (
        "run",
        "--rm",
        "--label",
        f"mlhub.test={RUN}",
        "--network",
        network,
        "--entrypoint",
        "sh",
        "mlhub-test-workspace:latest",
        "-c",
        command,
    )
    return dict(line.split() for line in docker(*words).splitlines())


@pytest.mark.parametrize(
    ("role", "programs", "outside", "at_8000", "first_page"),
    [
        # The hub is not there yet.
        (PROXY_ROLE, {"nginx"}, set(), "000", "503"),
        pytest.param(
            ROLE_OF_OLD, {"chp", "nginx"}, {"any:8000"}, "404", "404", marks=pytest.mark.full
        ),
    ],
    ids=["router", "chp"],
)
def test_the_charts_proxy_role_serves_a_hub_elsewhere_and_its_api_needs_the_token(
    network, make_brief_hub, role, programs, outside, at_8000, first_page
):
    hub = make_brief_hub(
        socket=False,
        CONFIGPROXY_AUTH_TOKEN="s3cret-token-of-the-chart",
        arguments=("--network", network),
        **role,
    )
    assert list_programs(hub) == programs
    assert {entry for entry in list_listeners(hub) if not entry.startswith("local")} == {
        *outside,
        "any:8001",
        "any:8080",
    }
    answers = ask_from_outside(
        network,
        f"{hub.name}:8001/api/routes",
        f"{hub.name}:8000/",
        f"{hub.name}:8080/",
        f"{hub.name}:8080/.mlhub/health",
        f"{hub.name}:8081/",
    )
    assert answers == {
        f"{hub.name}:8001/api/routes": "403",
        f"{hub.name}:8000/": at_8000,
        f"{hub.name}:8080/": first_page,
        f"{hub.name}:8080/.mlhub/health": "204",
        f"{hub.name}:8081/": "000",
    }
    assert "s3cret" not in "".join(entry["command"] for entry in list_processes(hub))
    assert "s3cret" not in hub.logs()


def test_a_bastion_of_its_own_runs_without_rights_where_boot_is_root(
    network, make_brief_hub, wait_for
):
    token = "the-token-of-hub-and-bastion"
    hub = make_brief_hub(
        START_SSH="false",
        START_NGINX="false",
        MLHUB_BASTION_TOKEN=token,
        arguments=("--network", network),
    )
    switches = (
        "START_NGINX=false",
        "START_JHUB=false",
        "START_CHP=false",
        f"MLHUB_BASTION_TOKEN={token}",
        f"HUB_NAME={hub.name}",
    )
    words = ["--label", f"mlhub.test={RUN}", "--network", network, *list_source_mounts()]
    bastion = Hub(
        f"{hub.name}-bastion",
        [*words, *(word for switch in switches for word in ("--env", switch))],
        wait_for,
    )
    try:
        docker("run", "--detach", "--name", bastion.name, *bastion.arguments, IMAGE)
        bastion.wait_until_ready()
        users = {
            entry["user"]
            for entry in list_own_processes(bastion)
            if "mlhub.ssh" in entry["command"] or "sshd" in entry["command"]
        }
        assert users == {61003}
        assert {entry for entry in list_listeners(bastion) if not entry.startswith("local")} == {
            "any:2222",
            "any:2223",
        }
        assert "any:8082" in list_listeners(hub)
        knock = (
            "ssh-keygen -q -t ed25519 -N '' -f /tmp/id && ssh -i /tmp/id -o BatchMode=yes "
            "-o StrictHostKeyChecking=no -p 2222 limited-user@127.0.0.1"
        )
        assert "Permission denied" in docker("exec", bastion.name, "sh", "-c", knock, check=False)
        assert [
            record["event"] for record in wait_for(lambda: read_audit(hub), "the hub is told", 5)
        ] == ["refused"]
    finally:
        docker("rm", "--force", "--volumes", bastion.name, check=False)


WITHOUT_ROOT = (
    "--user",
    "1000",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
)


def test_the_proxy_role_runs_without_root_without_capabilities_and_without_a_writable_disk(
    make_brief_hub, tmp_path
):
    data = tuple(make_open_mounts(tmp_path, "/run/mlhub", "/tmp", "/data"))
    hub = make_brief_hub(
        socket=False,
        data=data,
        arguments=WITHOUT_ROOT,
        CONFIGPROXY_AUTH_TOKEN="s3cret-token-of-the-chart",
        **PROXY_ROLE,
    )
    assert list_programs(hub) == {"nginx"}
    assert {entry["user"] for entry in list_processes(hub)} == {1000}
    assert is_answered(hub.port, "/.mlhub/health", b" 204 ")


def test_a_whole_hub_runs_without_root_too(make_brief_hub, tmp_path):
    hub = make_brief_hub(
        socket=False,
        data=tuple(make_open_mounts(tmp_path, "/run/mlhub", "/tmp", "/data")),
        arguments=WITHOUT_ROOT,
    )
    assert list_programs(hub) == {"hub", "nginx", "sshd"}
    assert {entry["user"] for entry in list_processes(hub)} == {1000}
    assert is_answered(hub.port, "/hub/login")
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(64).startswith(b"SSH-2.0-OpenSSH")
