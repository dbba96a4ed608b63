"""The relay beside a workspace's sshd (docker/ssh-bundle/relay.c), compiled here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlhub.ssh.relay import make_question, make_start, read_ports, read_use
from mlhub.tools.apps import keep_running
from mlhub.tools.ways import Ways
from mlhub.workspaces.measures import Use
from tests.support.ports import find_free_port

KEY = "5" * 64
# What it waits for a head, in place of ten seconds.
WAITS = ("WAIT_SECONDS = 10", "WAIT_SECONDS = 1")


@pytest.fixture(scope="module")
def binary(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("relay")
    text = (root / "docker" / "ssh-bundle" / "relay.c").read_text()
    assert WAITS[0] in text
    (folder / "relay.c").write_text(text.replace(*WAITS))
    words = ["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", "relay", "relay.c"]
    subprocess.run(["cc", *words], cwd=folder, check=True)
    return folder / "relay"


def find_processes(binary: Path) -> list[int]:
    found = []
    for link in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if link.readlink() == binary:
                found.append(int(link.parent.name))
    return found


@pytest.fixture(scope="module")
def relay(binary) -> Iterator[int]:
    """Return the port of a relay that runs."""
    port = find_free_port()
    subprocess.run([binary, str(port)], input=f"{KEY}\n".encode(), check=True)
    yield port
    for number in find_processes(binary):
        os.kill(number, signal.SIGKILL)


@pytest.fixture
def program() -> Iterator[int]:
    """Return the port of a program that says what it has heard."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)


def connect(port: int, *pieces: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 20)
    for piece in pieces:
        connection.sendall(piece)
    return connection


def make_head(port: int, key: str = KEY, word: str = "") -> bytes:
    return f"GET / HTTP/1.1\r\nX-MLHub-Relay: {port} {key}{word}\r\nHost: a\r\n\r\n".encode()


def is_over(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_request_with_the_key_is_led_on_without_the_line_that_told_of_it(relay, program):
    head = make_head(program)
    for pieces in ((head,), (head[:20], head[20:])):
        with connect(relay, *pieces) as connection:
            assert connection.recv(1000) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(relay, make_head(program, word=" close")) as connection:
        heard = connection.recv(1000)
    assert heard == b"GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        *(make_head(1, key) for key in ("", " ", KEY[:-1], f"{KEY}5", f"4{KEY[1:]}")),
        make_head(1, f"{KEY[:-1]}\0"),
        make_head(1).replace(b": 1 ", b": 65536 "),
        make_head(1).replace(b": 1 ", b": -1 "),
        make_head(1).replace(b": 1 ", b": 99999999999999999999 "),
        make_head(1).replace(b": 1 ", b":  "),
        b"\r\n" * 50_000,
        b"x" * 50_000,
    ],
    ids=range(13),
)
@pytest.mark.parametrize("word", [b"", b" list", b" start", b" use"])
def test_whoever_has_not_the_whole_key_is_told_nothing(relay, program, head, word):
    head = head.replace(b": 1 ", f": {program} ".encode()).replace(b"\r\nHost", word + b"\r\nHost")
    connection = socket.create_connection(("127.0.0.1", relay), 20)
    with connection, contextlib.suppress(OSError):  # it may have hung up already
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_who_has_the_key_is_told_the_ports(relay, program):
    with connect(relay, make_question(KEY)) as connection:
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert {relay, program} <= set(read_ports(answer))


def test_who_has_the_key_is_told_what_the_kernel_counts_and_nothing_else(relay):
    with connect(relay, make_question(KEY, "use")) as connection:
        answer = b"".join(iter(lambda: connection.recv(1000), b"")).decode()
    told = {line.split()[0] for line in answer.splitlines()}
    files = ("cpu.stat", "memory.current", "memory.stat", "cpuacct/cpuacct.usage")
    files += ("memory/memory.usage_in_bytes", "memory/memory.stat")
    assert told == {name for name in files if Path("/sys/fs/cgroup", name).exists()} != set()


SECOND = """cpu.stat usage_usec 2500000
cpu.stat user_usec 2000000
memory.current 5000
memory.stat anon 4000
memory.stat inactive_file 700
"""
FIRST = """cpuacct/cpuacct.usage 1500000000
memory/memory.usage_in_bytes 9000
memory/memory.stat inactive_file 1
memory/memory.stat total_inactive_file 2000
"""


@pytest.mark.parametrize(
    ("answer", "use"),
    [
        (SECOND, Use(2.5, 4300)),
        (FIRST, Use(1.5, 7000)),
        (SECOND.replace(" 700", " 9999"), Use(2.5, 0)),  # counted a moment later
        (SECOND.replace("memory.stat inactive_file 700\n", ""), Use(2.5, 5000)),
        ("", None),
        (SECOND.replace(" 5000", " -5000"), None),
        (SECOND.replace(" 5000", " 5e3"), None),
        (SECOND.replace(" 5000", " " + "9" * 30), None),
        (SECOND.replace(" 2500000", ""), None),
        ("\ufffd\0 1\n" * 50, None),
    ],
)
def test_what_a_workspace_takes_is_read_by_either_version_of_cgroups(answer, use):
    assert read_use(answer.encode()) == use


def test_a_command_runs_once_it_is_whole_and_nothing_listens_there(
    relay, program, tmp_path, wait_for
):
    for port, name in ((program, "listens"), (find_free_port(), "silent")):
        with connect(relay, make_start(port, KEY, f"echo done >{tmp_path}/{name}")) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    wait_for(lambda: (tmp_path / "silent").exists(), "the command")
    assert not (tmp_path / "listens").exists()


def test_whoever_sends_a_head_byte_by_byte_is_waited_for_no_longer_than_who_is_silent(
    relay, program, wait_for
):
    with connect(relay, make_head(program)) as lasting, connect(relay) as slow:
        assert lasting.recv(1000)

        def is_ended() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"x")
            return is_over(slow)

        wait_for(is_ended, "its end", 3)
        # What is led on already may be silent for as long as it likes.
        assert not is_over(lasting)
        lasting.sendall(b"y")
        lasting.settimeout(20)
        assert lasting.recv(1) == b"y"


async def test_the_program_of_an_app_that_dies_comes_back_and_one_that_runs_is_let_alone(
    relay, tmp_path, monkeypatch
):
    monkeypatch.setattr("mlhub.tools.ways.START_SECONDS", 0.1)
    kept, other = find_free_port(), find_free_port()
    started, ways = tmp_path / "started", Ways(relay)
    run = f"echo $$ >>{started}; exec {sys.executable} -m http.server --bind 127.0.0.1"

    async def look_until(count: int) -> list[int]:
        """Look as the hub does, until this many were started, and the last one listens."""
        async with asyncio.timeout(30):
            while True:
                await keep_running(ways, "127.0.0.1", [KEY], {kept: f"{run} {kept}"})
                found = [int(each) for each in read(started).split()]
                if len(found) >= count and kept in await ways.list_ports("127.0.0.1", [KEY]):
                    return found
                await asyncio.sleep(0.05)

    (first,) = await look_until(1)
    for _ in range(3):
        assert await look_until(1) == [first]
    os.kill(first, signal.SIGKILL)
    again, second = await look_until(2)
    try:
        assert (again, second != first) == (first, True)
        # Nobody without the relay's key has anything started.
        await keep_running(ways, "127.0.0.1", ["4" * 64], {other: f"{run} {other}"})
        assert other not in await ways.list_ports("127.0.0.1", [KEY])
        assert len(read(started).split()) == 2
    finally:
        os.kill(second, signal.SIGKILL)


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""
