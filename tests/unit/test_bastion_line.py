"""The line from a bastion to its hub, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlhub.ssh import hub_link as line
from mlhub.ssh.hub_link import Line, bind, make_greeting
from tests.support.bastion_site import HOST, SECONDS, wait_until
from tests.support.ports import find_free_port

GREETING = make_greeting("the-token-of-hub-and-bastion", "b1")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@dataclass
class Ends:
    """Both ends of the line: where somebody asks, and where a hub may listen."""

    path: Path
    port: int

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    @contextlib.asynccontextmanager
    async def hub(self, serve: Serve) -> AsyncIterator[asyncio.Server]:
        async with await asyncio.start_server(serve, HOST, self.port) as server:
            yield server


@pytest.fixture
async def ends(tmp_path, monkeypatch):
    """Return a line of which nobody is at the hub's end yet."""
    port = find_free_port()
    monkeypatch.setattr(line, "PORT", port)
    server = await asyncio.start_unix_server(
        Line(HOST, GREETING).serve, sock=bind(tmp_path / "lookup.sock")
    )
    yield Ends(tmp_path / "lookup.sock", port)
    server.close()


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a hub that repeats what it is told, when it was told all."""
    with contextlib.closing(writer):
        writer.write(await reader.read())


async def test_the_greeting_comes_first_and_who_has_asked_and_said_so_still_gets_the_answer(ends):
    async with asyncio.timeout(SECONDS), ends.hub(repeat):
        reader, writer = await ends.ask()
        writer.write(b"keys x\n")
        writer.write_eof()
        assert (await reader.read()).decode() == f"{GREETING}keys x\n"
        writer.close()


async def test_an_answer_comes_before_the_question_is_over_and_much_goes_through_unharmed(ends):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readline()
            while said := await reader.readline():
                writer.write(said)
                await writer.drain()

    async with asyncio.timeout(SECONDS), ends.hub(answer):
        reader, writer = await ends.ask()
        for number in range(3):
            writer.write(f"{number}\n".encode())
            assert await reader.readline() == f"{number}\n".encode()
        much = b"0123456789abcde\n" * 2**16
        writer.write(much)
        assert await reader.readexactly(len(much)) == much
        writer.close()


async def test_without_a_hub_who_asks_is_told_so_at_once_and_answered_when_there_is_one(ends):
    reader, writer = await ends.ask()
    began = time.monotonic()
    async with asyncio.timeout(SECONDS):
        writer.write(b"keys x\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    assert time.monotonic() - began < 1
    writer.close()
    async with asyncio.timeout(SECONDS), ends.hub(repeat):
        reader, writer = await ends.ask()
        writer.write_eof()
        assert await reader.read() == GREETING.encode()
        writer.close()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_when_the_hub_ends_so_does_the_question(ends, how):
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await reader.readline()
        writer.close() if how == "close" else writer.transport.abort()

    async with asyncio.timeout(SECONDS), ends.hub(end):
        reader, writer = await ends.ask()
        writer.write(b"sessions\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_when_who_asks_ends_the_hub_learns_it(ends, how):
    ended = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            await reader.read()
        ended.append(True)

    async with asyncio.timeout(SECONDS), ends.hub(listen):
        _, writer = await ends.ask()
        writer.write(b"sessions\n")
        await writer.drain()
        writer.close() if how == "close" else writer.transport.abort()
        await wait_until(lambda: ended, "the hub's end is closed")


def test_a_gone_hub_is_missed_within_half_a_minute_even_while_something_waits_to_be_acknowledged():
    """tests/image/test_kubernetes_bastion.py takes one away.

    Here, that the kernel was told both.
    """
    with (
        socket.create_server((HOST, 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        line.keep_alive(connection)
        read = {
            option: connection.getsockopt(socket.IPPROTO_TCP, option) for option in line.KEEP_ALIVE
        }
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert read[socket.TCP_KEEPIDLE] + read[socket.TCP_KEEPINTVL] * read[socket.TCP_KEEPCNT] <= 30
    assert 0 < read[socket.TCP_USER_TIMEOUT] <= 30000


def test_one_question_has_one_line_as_answer_or_none_where_the_hub_hangs_up(monkeypatch):
    said = []

    def serve(listener: socket.socket) -> None:
        for answer in (b"ssh-ed25519-cert x\nmore\n", b""):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                said.append((lines.readline() + lines.readline()).decode())
                connection.sendall(answer)

    with socket.create_server((HOST, 0)) as listener:
        monkeypatch.setattr(line, "PORT", listener.getsockname()[1])
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        assert [line.ask(HOST, GREETING, "certify y"), line.ask(HOST, GREETING, "certify y")] == [
            "ssh-ed25519-cert x",
            "",
        ]
        thread.join(SECONDS)
    assert said == [f"{GREETING}certify y\n"] * 2
    with pytest.raises(OSError, match="refused"):
        line.ask(HOST, GREETING, "certify y")
