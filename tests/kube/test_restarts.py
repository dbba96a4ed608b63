"""Parts of a release end, are replaced or upgraded while people work: workspaces live on, and so do connections through the proxy."""

from __future__ import annotations

import subprocess

import pytest

from tests.image.ssh_client import Person
from tests.image.wire import Echo
from tests.kube.release import CHART


@pytest.fixture(scope="module")
def release(make_release, tmp_path_factory):
    """A release of an earlier version of the chart, as it was packaged."""
    made = make_release()
    folder = tmp_path_factory.mktemp("chart")
    made.helm("package", str(CHART), "--version", "2.99.0", "--destination", str(folder))
    made.install(chart=folder / "mlhub-chart-2.99.0.tgz")
    return made


@pytest.fixture(scope="module")
def person(release, tmp_path_factory):
    found = Person(release, "alice", tmp_path_factory.mktemp("alice")).join()
    release.start_workspace("alice")
    return found


@pytest.fixture
def open_echo(release, person):
    """A WebSocket through the proxy into the workspace, and the workspace's pod, which has to stay the same."""
    pod = f"ws-{release.name}--alice"
    before = release.read("pod", pod)
    echo = Echo(release.port, "/user/alice/echo", host=release.host)
    assert echo.is_alive()
    yield echo
    echo.close()
    after = release.read("pod", pod)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def wait_for_hub(release, seconds=90):
    def answers() -> bool:
        try:
            return release.request("GET", "/hub/api/", timeout=5)[0] == 200
        except OSError:
            return False

    release.wait_for(answers, "the hub answers through the proxy", seconds)


def kill_hub_program(release) -> None:
    """End the hub's program as a crash does; its container stays."""
    program = (
        "import os, pathlib, signal\n"
        "for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    if b'mlhub.hubconfig' in file.read_bytes().split(bytes(1)):\n"
        "        os.kill(int(file.parent.name), signal.SIGKILL)"
    )
    release.execute(release.find_pod("hub"), "python", "-c", program, container="hub")


def test_a_crash_of_the_hub_program_cuts_nobody_off(release, person, open_echo):
    kill_hub_program(release)
    assert open_echo.is_alive()
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert release.is_workspace_ready("alice")


def test_a_new_hub_pod_adopts_what_runs_and_connections_through_the_proxy_live_on(release, person, open_echo):
    before = release.find_pod("hub")
    release.kubectl("delete", "pod", before, "--wait=false")
    release.wait_for(lambda: release.find_pod("hub") != before, "another hub pod is there", 60)
    assert open_echo.is_alive()
    release.kubectl("rollout", "status", f"deployment/{release.name}-hub", "--timeout=120s")
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert release.is_workspace_ready("alice")
    assert release.request("GET", "/user/alice/api")[0] == 200
    release.wait_for(lambda: person.run(person.alias, "echo in").stdout == "in\n", "SSH works again", 60)


def test_a_new_proxy_pod_has_all_routes_within_seconds(release, person):
    release.kubectl("delete", "pod", release.find_pod("proxy"), "--wait=true", "--timeout=60s")

    def is_back() -> bool:
        try:
            return release.request("GET", "/user/alice/api", timeout=5)[0] == 200
        except OSError:
            return False

    release.kubectl("rollout", "status", f"deployment/{release.name}-proxy", "--timeout=60s")
    release.wait_for(is_back, "the workspace is reached through the new proxy", 10)


def test_an_upgrade_with_other_values_keeps_workspaces_and_connections_and_rolls_back(release, person, open_echo):
    proxy = release.find_pod("proxy")
    changed = {"singleuser": {"storage": {"capacity": "32Mi"}}, "hub": {"labels": {"changed": "yes"}}}
    release.install(changed)  # from the earlier package to this one
    assert release.find_pod("proxy") == proxy  # what changed is the hub's alone
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert release.is_workspace_ready("alice")
    release.start_workspace("bob")
    release.helm("rollback", release.name, "1", "--wait", "--timeout", "4m")
    wait_for_hub(release)
    assert release.is_workspace_ready("alice")
    assert release.is_workspace_ready("bob")
    assert person.ask("echo in") == "in\n"


def test_an_open_ssh_session_survives_a_crash_of_the_hub_program(release, person):
    session = subprocess.Popen(
        ["ssh", "-F", str(person.config), person.alias, "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        session.stdin.write("one\n")
        session.stdin.flush()
        assert session.stdout.readline() == "one\n"
        kill_hub_program(release)
        session.stdin.write("two\n")
        session.stdin.flush()
        assert session.stdout.readline() == "two\n"
        wait_for_hub(release)
    finally:
        session.kill()
        session.communicate()
