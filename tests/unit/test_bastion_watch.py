"""The program beside sshd tells each hub who is in, over a real socket; a process that writes the
same log stands for sshd.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mlhub.ssh.monitor import Watch

SECONDS = 10
FINGERPRINT = "SHA256:" + "A" * 43
LINE = (
    "auth.c:auth_log():327 (bin=sshd-session, pid={pid}): Accepted publickey for limited-user from "
    "192.0.2.7 port 40000 ssh2: ED25519 {key}"
)


@pytest.fixture
def session():
    """Return a process that stands for somebody's session."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def make_watch(folder: Path, pid: int) -> Watch:
    """Make a watch on an sshd that let somebody in; no hub is there."""
    (folder / "log").write_text(LINE.format(pid=pid, key=FINGERPRINT) + "\n")
    command = ["sh", "-c", 'cat "$0" >&2; exec sleep 60', str(folder / "log")]
    return Watch(str(folder / "hub.sock"), str(folder / "clients.sock"), command)


@pytest.fixture
def unwatched(tmp_path, session):
    """Return a watch that does one thing at a time as it is told, and the session's process."""
    one = make_watch(tmp_path, session.pid)
    yield one, session
    one.stop()
    one.sshd.wait(SECONDS)


@pytest.fixture
def watch(tmp_path, session):
    """Return a watch that runs."""
    one = make_watch(tmp_path, session.pid)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    yield one
    one.stop()
    thread.join(SECONDS)
    assert not thread.is_alive()


@pytest.fixture
def listener(tmp_path):
    """Return where hubs are asked, one after the other."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(SECONDS)
        yield one


class Hub:
    """Be a hub until it hangs up: read events, one by one."""

    def __init__(self, listener: socket.socket) -> None:
        self.connection, _ = listener.accept()
        self.connection.settimeout(SECONDS)
        self.lines = self.connection.makefile("rb")
        assert self.lines.readline() == b"sessions\n"

    def read(self) -> dict[str, Any]:
        return json.loads(self.lines.readline())

    def tell(self, **wish: object) -> None:
        self.connection.sendall(json.dumps(wish).encode() + b"\n")

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.lines.close()
        self.connection.close()


def test_each_session_is_told_to_one_hub_as_opened_and_to_later_ones_as_known_with_where_it_was_led(
    watch, session, listener, wait_for
):
    # It came in before anybody could be told: while its hub was started again, or the line to it.
    wait_for(lambda: session.pid in watch.sessions, "it is in", SECONDS)
    listener.bind(watch.path)
    listener.listen()
    first = Hub(listener)
    assert first.read() == {"event": "hello", "pids": [session.pid]}
    opened = first.read()
    assert (opened["event"], opened["pid"], opened["address"]) == (
        "opened",
        session.pid,
        "192.0.2.7",
    )
    # This one has perhaps not heard of it: between them is a relay, which takes what no hub takes
    # from it.
    first.hang_up()
    first = Hub(listener)
    assert first.read() == {"event": "hello", "pids": [session.pid]}
    assert first.read() == opened
    first.tell(known=session.pid)
    for workspace in (["ann", ""], ["bob", "lab"], ["ann", ""]):
        first.tell(keep=session.pid, workspace=workspace)
    wait_for(
        lambda: len(watch.sessions[session.pid]["workspaces"]) == 2, "it is kept in mind", SECONDS
    )
    for _ in range(2):
        first.hang_up()
        first = Hub(listener)
        assert first.read() == {"event": "hello", "pids": [session.pid]}
        assert first.read() == {**opened, "event": "known"}
        assert [first.read()["workspace"] for _ in range(2)] == [["ann", ""], ["bob", "lab"]]
    first.tell(end=session.pid)
    assert first.read() == {"event": "closed", "pid": session.pid}
    assert session.wait(SECONDS)
    first.hang_up()
    again = Hub(listener)
    assert again.read() == {"event": "hello", "pids": []}
    again.hang_up()


def test_a_hub_that_is_found_gone_while_something_is_told_ends_nobodys_session(
    unwatched, listener, wait_for
):
    """The selector saw a session's end and the hub's in the same moment, and the session's is
    handled first.
    """
    watch, session = unwatched

    def see(*wanted: object) -> list:
        seen = [key for key, _ in watch.selector.select(0.05)]
        return seen if {key.data for key in seen} >= set(wanted) else []

    for key in wait_for(lambda: see("log"), "sshd's log", SECONDS):
        watch.handle(key)
    listener.bind(watch.path)
    listener.listen()
    watch.connect()
    Hub(listener).hang_up()
    session.kill()
    both = wait_for(lambda: see("hub", session.pid), "both ends", SECONDS)
    for key in sorted(both, key=lambda key: key.data == "hub"):
        assert watch.handle(key) is None
    assert watch.hub is None
    assert not watch.sessions
