"""The cluster itself fails for a while: API server and kubelet end and come back while people work.

Only for the cluster that ``scripts/cluster`` makes on this machine, whose parts are processes here.
"""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from tests.support.local_cluster import RUN, bring_back, held_cluster, kill, lose_pods
from tests.support.ssh_client import Person
from tests.support.wire import Echo


@pytest.fixture(scope="module", autouse=True)
def alone():
    with held_cluster(alone=True):
        yield


@pytest.fixture(scope="module")
def people(release):
    if not (RUN / "kube-apiserver.pid").exists():
        pytest.fail(
            "These tests need the cluster of scripts/cluster on this machine; unset KUBECONFIG."
        )
    release.start_workspace("ann")
    release.start_workspace("bob")
    return release


@pytest.fixture(scope="module")
def ann(people, tmp_path_factory):
    return Person(people, "ann", tmp_path_factory.mktemp("ann")).join()


def ask(release, path: str, method: str = "GET", body: bytes | None = None) -> int:
    """Return a status; 0 where nothing answers, which may be so for a moment: a kubelet that begins
    calls pods not ready.
    """
    try:
        return release.request(method, path, body, timeout=5)[0]
    except OSError:
        return 0


def is_ready(release, user: str, server: str = "") -> bool:
    """A hub on its way out has the front answer that it is away."""
    try:
        status, _, answer = release.request("GET", f"/hub/api/users/{user}")
    except OSError:
        return False
    server_model = json.loads(answer)["servers"].get(server) if status == 200 else None
    return bool(server_model and server_model["ready"])


def list_containers(release) -> list[dict]:
    """List what the cluster says of the containers of ann's and bob's first workspaces."""
    pods = [release.read("pod", f"ws-{release.name}--{name}") for name in ("ann", "bob")]
    return [status for pod in pods for status in pod["status"]["containerStatuses"]]


@pytest.mark.parametrize(
    "program", ["kube-apiserver", pytest.param("kubelet", marks=pytest.mark.full)]
)
def test_workspaces_and_connections_outlive_a_part_of_the_cluster(people, ann, wait_for, program):
    echo = Echo(people.port, "/user/ann/echo", host=people.host)
    assert ann.ask("echo in") == "in\n"
    kill(program)
    try:
        assert echo.is_alive()
        assert ask(people, "/hub/api/") == 200
        assert people.is_workspace_ready("ann")
        assert ask(people, "/user/bob/api") == 200
    finally:
        bring_back()
    assert echo.is_alive()
    wait_for(lambda: is_ready(people, "ann"), "the hub has not lost ann's workspace", 60)
    assert echo.is_alive()
    echo.close()
    # A kubelet that begins runs startup probes again, which is how SSH was started, and calls
    # nothing ready before it has looked.
    wait_for(
        lambda: all(each["started"] for each in list_containers(people)),
        "the cluster calls everything started",
        60,
    )
    people.kubectl(
        "wait", "--for=condition=Ready", f"pod/{people.find_pod('bastion')}", "--timeout=60s"
    )
    assert ann.ask("echo in") == "in\n"
    assert [each["restartCount"] for each in list_containers(people)] == [0] * 2
    # The hub sees what happens again: a new start, and a stop.
    server = f"after-{program}"
    # 400: it is on its way, by a call before whose answer nobody waited for.
    wait_for(
        lambda: (
            ask(people, f"/hub/api/users/bob/servers/{server}", "POST", b"{}") in (201, 202, 400)
        ),
        "a server is started",
        60,
    )
    wait_for(lambda: is_ready(people, "bob", server), "it is ready", 120)
    wait_for(
        lambda: ask(people, f"/hub/api/users/bob/servers/{server}", "DELETE") in (202, 204),
        "it is stopped",
        60,
    )


@pytest.mark.full
def test_a_hub_that_starts_while_the_api_server_is_away_calls_nobody_stopped(people, wait_for):
    echo = Echo(people.port, "/user/ann/echo", host=people.host)
    before = people.read("pod", f"ws-{people.name}--ann")["metadata"]["uid"]
    # Ended from within its container a little later, when the API server cannot be asked for that
    # any more.
    program = (
        "import os, pathlib, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(4)\n"
        "    for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "        if b'mlhub.hub' in file.read_bytes().split(bytes(1)):\n"
        "            os.kill(int(file.parent.name), signal.SIGKILL)"
    )
    people.execute(people.find_pod("hub"), "python", "-c", program, container="hub")
    kill("kube-apiserver")
    try:
        wait_for(lambda: ask(people, "/hub/api/") != 200, "the hub is gone", 20)
        assert echo.is_alive()
    finally:
        bring_back()
    wait_for(lambda: ask(people, "/hub/api/") == 200, "the hub is back", 120)
    wait_for(lambda: is_ready(people, "ann"), "ann's workspace is known to run", 60)
    assert people.read("pod", f"ws-{people.name}--ann")["metadata"]["uid"] == before
    assert echo.is_alive()
    echo.close()


def find_pods(release) -> dict[str, dict]:
    found = {each["metadata"]["name"]: each for each in release.read("pods")["items"]}
    return {name: pod for name, pod in found.items() if pod["status"]["phase"] == "Running"}


def restart_node(release) -> None:
    try:
        lose_pods({pod["metadata"]["uid"] for pod in find_pods(release).values()})
    finally:
        bring_back()


def wait_until_reached(release, wait_for) -> None:
    """Wait until ann's and bob's first workspaces answer, and the hub calls them running."""
    wait_for(release.is_answered, "the hub answers through the proxy", 120)
    for name in ("ann", "bob"):
        wait_for(lambda name=name: ask(release, f"/user/{name}/api") == 200, "it is reached", 120)
        wait_for(lambda name=name: is_ready(release, name), "the hub calls it running", 60)


@pytest.mark.full
def test_a_node_that_restarts_brings_everything_back_and_nothing_is_stopped(people, ann, wait_for):
    """Hub, proxy, bastion and workspaces come back together, all with other addresses."""
    workspaces = [f"ws-{people.name}--{name}" for name in ("ann", "bob")]
    people.execute(workspaces[0], "sh", "-c", "echo kept >/workspace/file")
    before = find_pods(people)
    restart_node(people)
    wait_until_reached(people, wait_for)
    after = find_pods(people)
    for name in workspaces:
        assert after[name]["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert after[name]["status"]["podIP"] != before[name]["status"]["podIP"]
    assert people.execute(workspaces[0], "cat", "/workspace/file") == "kept"
    assert "shutting it down" not in people.logs()
    wait_for(
        lambda: ann.run(ann.alias, "echo in").stdout == "in\n", "SSH leads into the workspace", 60
    )


def restart_pod(release, component: str) -> None:
    release.kubectl("delete", "pod", release.find_pod(component), "--wait=false")


RESTARTS = {
    "node": restart_node,
    "hub": lambda release: restart_pod(release, "hub"),
    "proxy": lambda release: restart_pod(release, "proxy"),
}


@pytest.mark.full
@pytest.mark.parametrize("order", permutations(RESTARTS), ids="-".join)
def test_after_restarts_in_any_order_what_runs_is_found_and_never_stopped(people, wait_for, order):
    """Nobody waits for the one before: it is still on its way when the next is restarted."""
    workspaces = [f"ws-{people.name}--{name}" for name in ("ann", "bob")]
    before = find_pods(people)
    for part in order:
        RESTARTS[part](people)
    wait_until_reached(people, wait_for)
    after = find_pods(people)
    assert [after[name]["metadata"]["uid"] for name in workspaces] == [
        before[name]["metadata"]["uid"] for name in workspaces
    ]
    assert "shutting it down" not in people.logs()


def test_a_workspace_that_is_gone_is_told_within_ten_seconds(people, wait_for):
    people.start_workspace("carol")
    people.kubectl("delete", "pod", f"ws-{people.name}--carol", "--grace-period=0", "--force")
    wait_for(lambda: not is_ready(people, "carol"), "the hub knows", 10)
    assert ask(people, "/user/carol/api") != 200
    assert ask(people, "/user/ann/api") == 200
