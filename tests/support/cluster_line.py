"""Stand between a hub and its API server, and lose an answer."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

PIECE_BYTES = 2**16


class Line:
    """Hand on what a hub and its API server say, as long as it is not cut."""

    def __init__(self, configuration):
        """``configuration`` is that of the hub's client, which is led here."""
        self._configuration, self._host = configuration, configuration.host
        self._context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            self._context.load_cert_chain(configuration.cert_file, configuration.key_file)
        self._lost, self._is_last, self._is_cut = b"", False, False
        self._doing, self._writers = set(), set()

    async def open(self):
        """Lead the hub here."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._configuration.host = f"http://127.0.0.1:{port}"

    async def close(self):
        """Lead the hub where it went before."""
        self._configuration.host = self._host
        self._server.close()
        self.cut()
        await asyncio.gather(*self._doing, return_exceptions=True)

    def lose_answer(self, request, *, is_last=False):
        """Do not hand on the answer to the next request that begins so; nothing at all is handed
        on after it where ``is_last``.
        """
        self._lost, self._is_last = request.encode(), is_last

    def cut(self):
        """End all connections, and make none."""
        self._is_cut = True
        for writer in self._writers:
            writer.close()

    def mend(self):
        """Hand everything on again."""
        self._is_cut = False

    async def _connect(self, reader, writer):
        self._doing.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            if not self._is_cut:
                await self._lead(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._doing.discard(asyncio.current_task())

    async def _lead(self, reader, writer):
        place = urlsplit(self._host)
        there = await asyncio.open_connection(place.hostname, place.port or 443, ssl=self._context)
        victims = set()
        asking = asyncio.create_task(self._ask(reader, there[1], victims))
        try:
            while data := await there[0].read(PIECE_BYTES):
                if victims:
                    if self._is_last:
                        self.cut()
                    return
                writer.write(data)
                await writer.drain()
        finally:
            asking.cancel()
            there[1].close()

    async def _ask(self, reader, there, victims):
        while data := await reader.read(PIECE_BYTES):
            if self._lost and data.startswith(self._lost):
                victims.add(self._lost)
                self._lost = b""
            there.write(data)
            await there.drain()
        there.close()
