"""What somebody tries in a cluster with the token, the pod or the key that they have, and what they
keep once they may not be here any more.

Each refusal has a twin that succeeds where it is allowed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time

import pytest

from tests.support.helm_release import address, pod
from tests.support.ssh_client import Person
from tests.support.wire import Echo

SECONDS = 5.0
# Runs inside a workspace: asks the hub with the token that is there; prints the statuses.
ASK = """
import json, os, socket, sys
host, _, path = os.environ["JUPYTERHUB_API_URL"].removeprefix("http://").partition("/")
name, _, port = host.partition(":")
def ask(asked):
    method, what = asked.split(" ")
    head = f"{method} /{path}/{what} HTTP/1.0\\r\\nHost: {host}\\r\\nContent-Length: 0\\r\\n"
    token = f"Authorization: token {os.environ['JUPYTERHUB_API_TOKEN']}\\r\\n\\r\\n"
    with socket.create_connection((name, int(port)), 20) as connection:
        connection.sendall((head + token).encode())
        return int(connection.recv(64).split()[1])
print(json.dumps([ask(each) for each in sys.argv[1:]]))
"""
# Runs inside a workspace: prints which kinds of sockets it is given.
OPEN_SOCKETS = """
import json, socket
kinds = {
    "frames": (socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    "ICMP": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "headers of its own": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    "datagrams": (socket.AF_INET, socket.SOCK_DGRAM, 0),
}
given = []
for name, kind in kinds.items():
    try:
        socket.socket(*kind).close()
        given.append(name)
    except OSError:
        pass
print(json.dumps(given))
"""


@pytest.fixture(scope="module")
def people(release):
    release.start_workspace("eve")
    release.start_workspace("bob")
    return release


@pytest.fixture(scope="module")
def bob(people, tmp_path_factory):
    return Person(people, "bob", tmp_path_factory.mktemp("bob")).join()


@pytest.fixture(scope="module")
def eve(people, tmp_path_factory):
    return Person(people, "eve", tmp_path_factory.mktemp("eve")).join()


def test_a_workspaces_token_opens_its_owners_data_and_nobody_elses(people):
    asked = {
        "GET user": 200,
        "GET users/eve": 200,
        "GET users/bob": 404,
        "GET users": 403,
        "GET proxy": 403,
        "POST users/mallory": 403,
        "DELETE users/bob/server": 403,
        "POST shutdown": 403,
    }
    told = json.loads(people.execute(pod(people, "eve"), "python3", "-c", ASK, *asked))
    assert dict(zip(asked, told, strict=True)) == asked
    assert people.is_workspace_ready("bob")


def test_no_frames_and_no_packets_of_its_own_making_leave_a_workspace(people):
    given = people.execute(pod(people, "eve"), "python3", "-c", OPEN_SOCKETS)
    assert json.loads(given) == ["datagrams"]


def test_a_key_opens_its_owners_workspace_and_no_other_target(people, eve, bob):
    own, other, name = pod(people, "eve"), pod(people, "bob"), people.name
    # By its SSH name one waits until a workspace's sshd is there, by a jump one does not.
    assert [each.run(each.alias, "true").returncode for each in (eve, bob)] == [0, 0]
    assert "SSH-2.0-OpenSSH" in eve.knock(f"{own}:2222").stdout
    assert "SSH-2.0-OpenSSH" in bob.knock(f"{other}:2222").stdout
    for target in (
        f"{other}:2222",
        f"{address(people, other)}:2222",
        f"{address(people, own)}:8080",
        f"{own}:8080",
        f"{name}:8081",
        f"{name}:8082",
        f"{name}-proxy-api:8001",
        "localhost:2222",
        "[::1]:2222",
        "kubernetes.default:443",
    ):
        result = eve.knock(target)
        assert "administratively prohibited" in result.stderr, (target, result.stderr)
        assert not result.stdout, target


class Holder:
    """Somebody with all that opens the hub and a workspace: tokens, a WebSocket, SSH."""

    def __init__(self, release, person: Person, server: str = "") -> None:
        self.release, self.server = release, server
        self.path = f"/user/{person.name}" + (f"/{server}/echo" if server else "/echo")
        self.echo = Echo(release.port, self.path, host=release.host)
        scopes = {"scopes": [f"read:users:name!user={person.name}"]}
        made = release.api("POST", f"users/{person.name}/tokens", scopes)
        inside = release.execute(pod(release, person.name, server), "env").splitlines()
        (own,) = [line for line in inside if line.startswith("JUPYTERHUB_API_TOKEN=")]
        self.tokens = {"token": made["token"], "the workspace's token": own.partition("=")[2]}
        alias = f"{server}.{person.alias}" if server else person.alias
        self.session = subprocess.Popen(
            ["ssh", "-F", str(person.config), alias, "echo in; exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.session.stdout.readline() == "in\n"

    def list_held(self) -> set[str]:
        """Try everything, and list what still works."""
        held = {
            name
            for name, token in self.tokens.items()
            if self.release.request(
                "GET", "/hub/api/user", headers={"Authorization": f"token {token}"}
            )[0]
            == 200
        }
        held |= {"WebSocket"} if self.echo.is_alive() else set()
        held |= {"SSH"} if self.session.poll() is None else set()
        return held | ({"pages"} if self.is_answered() else set())

    def is_answered(self) -> bool:
        """Return True if this very workspace answers."""
        status, _, body = self.release.request("GET", self.path)
        if status != 200:
            return False
        return json.loads(body)["environment"].get("JUPYTERHUB_SERVER_NAME", "") == self.server

    def close(self) -> None:
        """End what is left."""
        self.session.kill()
        self.session.wait()
        self.echo.close()


ALL = {"token", "the workspace's token", "WebSocket", "SSH", "pages"}


def wait_for_held(holder: Holder, held: set[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while (found := holder.list_held()) != held:
        assert time.monotonic() < deadline, f"{sorted(found)} in place of {sorted(held)}"


def test_who_is_deleted_and_what_is_deleted_keep_nothing_and_others_keep_all(people, bob, tmp_path):
    release, leaver = people, Person(people, "leaver", tmp_path / "leaver").join()
    release.start_workspace("leaver")
    release.start_workspace("leaver", "second")
    with contextlib.ExitStack() as ends:
        first, second, other = (
            ends.enter_context(contextlib.closing(Holder(release, *whose)))
            for whose in ((leaver,), (leaver, "second"), (bob,))
        )
        for holder in (first, second, other):
            assert holder.list_held() == ALL
        release.api("DELETE", "users/leaver/servers/second", {"remove": True})
        release.wait_for(
            lambda: "second" not in release.api("GET", "users/leaver")["servers"], "it is gone", 60
        )
        wait_for_held(second, {"token"})
        assert first.list_held() == ALL
        release.api("DELETE", "users/leaver")
        wait_for_held(first, set())
        wait_for_held(second, set())
        assert other.list_held() == ALL
    pods = {pod(release, "leaver"), pod(release, "leaver", "second")}
    release.wait_for(lambda: not pods & set(release.containers()), "no pod of theirs is left", 60)
