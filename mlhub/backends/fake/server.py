"""What a workspace in memory answers: HTTP with what it was given, and the first line of SSH."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlhub.errors import BackendError
from mlhub.texts import Text
from mlhub.workspaces.port import Address

BANNER = b"SSH-2.0-fake\r\n"


@dataclass
class Servers:
    """The two servers of one running workspace; ``files`` are what it holds by their paths.

    ``answers`` says what it answers where an address ends so (before its query): the bytes piece by
    piece, made of the request. After an empty one it says nothing more.
    """

    image: str
    environment: Mapping[str, str]
    files: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Callable[[bytes], Iterable[bytes]]] = field(default_factory=dict)
    address: Address = field(init=False)
    ssh_address: Address = field(init=False)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Listen on free ports of the loopback address."""
        self.address = await self._listen(self._answer_http)
        self.ssh_address = await self._listen(self._answer_ssh)

    def is_alive(self) -> bool:
        """Return True until it was stopped."""
        return bool(self._servers)

    async def stop(self) -> None:
        """Listen no more, and end what is open."""
        if self.image == "fake/stuck":
            raise BackendError(Text("The workspace does not stop."))
        while self._servers:
            self._servers.pop().close()
        for writer in self._open:
            writer.close()

    async def _listen(self, answer: Any) -> Address:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self._servers.append(server)
        return Address(*server.sockets[0].getsockname()[:2])

    async def _answer_http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            whole = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            whole = b""
        request = whole.split(b" ", 2)
        path = request[1].decode().partition("?")[0] if len(request) > 1 else ""
        answer = next((each for end, each in self.answers.items() if path.endswith(end)), None)
        if answer is not None:
            await self._answer_pieces(answer(whole), reader, writer)
        elif len(request) > 2 and b"upgrade: websocket" in request[2].lower():
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade:"
                b" websocket\r\n\r\n"
            )
            await self._hold(reader, writer)
        elif len(request) > 1:
            shown = {name: value for name, value in self.environment.items() if "TOKEN" not in name}
            body = json.dumps(
                {"version": "fake", "path": request[1].decode(), "environment": shown}
            ).encode()
            head = (
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection:"
                f" close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
        writer.close()

    async def _answer_pieces(
        self, pieces: Iterable[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                if not piece:
                    await self._hold(reader, writer)
                    break
                writer.write(piece)
                await writer.drain()

    async def _answer_ssh(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER)
        await self._hold(reader, writer)
        writer.close()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say nothing, and stay open until one side ends."""
        self._open.add(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self._open.discard(writer)
