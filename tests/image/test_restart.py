"""Stop, start and restart of the hub's container: same data, same address for workspaces, other
variables take effect.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.support.hub_container import docker, read_start
from tests.support.wire import Echo, is_answered


@pytest.fixture(scope="module")
def hub(make_hub):
    """A hub of these tests' own, which they stop, kill and start."""
    return make_hub()


def is_running(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def opens(hub) -> bool:
    try:
        return hub.request("GET", "/hub/login", timeout=5)[0] == 200
    except OSError:
        return False


def test_a_restart_keeps_workspaces_running_and_reachable(hub):
    hub.start_workspace("ann")
    hub.start_workspace("ann", "second")
    started = {name: read_start(name) for name in hub.containers()}
    assert len(started) == 2
    docker("restart", "--time", "20", hub.name)
    hub.read_port()
    hub.wait_until_ready()
    hub.wait_for(
        lambda: is_answered(hub.port, "/user/ann/api"), "the workspace is reached again", 15
    )
    hub.wait_for(lambda: is_answered(hub.port, "/user/ann/second/api"), "the other one too", 15)
    assert {name: read_start(name) for name in hub.containers()} == started
    assert hub.is_workspace_ready("ann")
    assert hub.is_workspace_ready("ann", "second")


def test_a_workspace_that_is_gone_is_told_within_ten_seconds(hub):
    ends = {"carol": ("kill",), "dave": ("rm", "--force")}
    for name in ("ann", *ends):
        hub.start_workspace(name)
    for name, words in ends.items():
        docker(*words, f"ws-{hub.name}--{name}")
    for name in ends:
        hub.wait_for(lambda name=name: not hub.is_workspace_ready(name), f"{name}'s is told", 10)
        assert hub.request("GET", f"/user/{name}/api")[0] in (302, 424), name  # the hub's answer
    assert is_answered(hub.port, "/user/ann/api")


def test_a_stopped_workspace_and_its_data_are_still_there_after_a_restart(hub):
    hub.start_workspace("bob")
    container = next(name for name in hub.containers() if name.endswith("--bob"))
    docker("exec", container, "sh", "-c", "echo precious > /workspace/file")
    hub.stop_workspace("bob")
    docker("restart", "--time", "20", hub.name)
    hub.read_port()
    hub.wait_until_ready()
    assert not is_running(container)
    hub.start_workspace("bob")
    container = next(name for name in hub.containers() if name.endswith("--bob"))
    assert docker("exec", container, "cat", "/workspace/file") == "precious"


def test_a_hub_that_was_killed_as_a_whole_starts_again(hub):
    hub.start_workspace("ann")
    started = {name: read_start(name) for name in hub.containers()}
    docker("kill", hub.name)
    docker("start", hub.name)
    hub.read_port()
    hub.wait_until_ready()
    hub.wait_for(
        lambda: is_answered(hub.port, "/user/ann/api"), "the workspace is reached again", 15
    )
    assert {name: read_start(name) for name in hub.containers()} == started


def test_a_stop_ends_every_program_politely_and_leaves_workspaces_alone(hub):
    hub.start_workspace("ann")
    docker("stop", "--time", "20", hub.name)
    state = docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", hub.name)
    assert state == "0 false", hub.logs()[-2000:]
    assert all(is_running(name) for name in hub.containers() if name.endswith("--ann"))
    docker("start", hub.name)
    hub.read_port()
    hub.wait_until_ready()


def test_other_variables_take_effect_with_the_same_data(hub):
    hub.start_workspace("ann")
    token = hub.exec("cat", "/data/proxy_auth_token")
    hub.recreate(SSL_ENABLED="true", MLHUB_HOSTNAMES="hub.example")
    hub.wait_for(
        lambda: hub.request("GET", "/user/ann/api")[0] == 200,
        "the workspace is reached over TLS",
        20,
    )
    assert hub.exec("cat", "/data/proxy_auth_token") == token
    hub.recreate(SSL_ENABLED="false", MLHUB_BASE_URL="/lab")
    assert hub.request("GET", "/lab/hub/login", headers={})[0] == 200


# The same listener of nginx's stands before both.
@pytest.mark.parametrize("scheme", ["https", pytest.param("http", marks=pytest.mark.full)])
def test_a_stop_with_time_to_drain_takes_no_new_connections_and_waits_for_those_that_are_open(
    make_brief_hub, scheme
):
    hub = make_brief_hub(MLHUB_DRAIN_SECONDS="60", SSL_ENABLED=str(scheme == "https").lower())
    hub.start_workspace("ann")
    echo = Echo(hub.port, "/user/ann/echo", tls=scheme == "https")
    assert echo.is_alive()
    assert opens(hub)
    stopping = subprocess.Popen(
        ["docker", "stop", "--time", "90", hub.name], stdout=subprocess.DEVNULL
    )
    hub.wait_for(lambda: "takes no new connections" in hub.logs(), "it drains", 20)
    hub.wait_for(lambda: not opens(hub), "new connections are refused", 20)
    assert echo.is_alive()
    assert stopping.poll() is None
    echo.close()
    assert stopping.wait(20) == 0
    assert docker("inspect", "--format", "{{.State.ExitCode}}", hub.name) == "0", hub.logs()[-2000:]
