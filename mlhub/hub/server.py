"""The hub's own HTTP server, with an end to what anybody may make it read, keep or wait for.

tornado takes bodies of 100 MB from everybody, for as long as they like to take, before anything
asks who they are. The hub's own calls are small: the largest ones name some thousand people. So
here is one limit for all of its listeners, whoever is in front of them: what nginx lets through,
the proxy, and workspaces, which reach the hub without either.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable
from termios import TIOCOUTQ
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.log import app_log

# Taking a form apart costs a thousand times what reading it does, and is done before anybody has
# signed in.
FORM_BYTES = 128 * 1024
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
BODY_SECONDS = 30.0
# What nginx lets through (resources/front/heads.lua), and the few lines that it adds.
HEADER_BYTES = 144 * 1024
# Somebody who is told so may still send what they have begun; it is thrown away.
REFUSED_BODY_SECONDS = 5.0
# Longer than any proxy keeps a connection that nobody uses, or one of its requests would meet the
# end of it.
IDLE_SECONDS = 120.0
# Connections that wait for their turn: whoever finds no place asks again a second later.
BACKLOG = 4096
# Somebody who asks and then takes nothing of the answer. The kernel's own limit for that
# (TCP_USER_TIMEOUT) was seen to be passed by far, and nobody else looks.
UNREAD_SECONDS = 60.0


class BoundedServer(HTTPServer):
    """Serve as tornado does, within bounds; ``limit`` applies to all servers of the process that
    are made later.
    """

    most_per_address = 4096

    @staticmethod
    def limit(body_bytes: int, most_per_address: int) -> None:
        """Make every ``HTTPServer`` that is made from now on one of these."""
        BoundedServer.most_per_address = most_per_address
        HTTPServer.configure(
            BoundedServer,
            max_body_size=body_bytes,
            body_timeout=BODY_SECONDS,
            max_header_size=HEADER_BYTES,
            idle_connection_timeout=IDLE_SECONDS,
        )

    def initialize(self, *arguments: Any, **named: Any) -> None:
        """Begin without connections."""
        super().initialize(*arguments, **named)
        self._held: Counter[str] = Counter()
        self._watches: dict[Any, _Watch] = {}

    def listen(self, *arguments: Any, **named: Any) -> None:
        """Listen, with room for a crowd that comes at once."""
        super().listen(*arguments, **{"backlog": BACKLOG, **named})

    def handle_stream(self, stream: Any, address: Any) -> None:
        """Take a connection, unless its address has as many as one may have."""
        place = str(address[0]) if isinstance(address, tuple) else ""
        if self._held[place] >= self.most_per_address and not _is_local(place):
            stream.close()
            return
        self._held[place] += 1
        if place:
            self._watches[stream] = _Watch(stream)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        """Forget a connection."""
        address = server_conn.context.address
        place = str(address[0]) if isinstance(address, tuple) else ""
        self._held[place] -= 1
        if not self._held[place]:
            del self._held[place]
        if watch := self._watches.pop(server_conn.stream, None):
            watch.end()
        super().on_close(server_conn)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Let the application have a request, up to the limit of its body."""
        return _Gate(
            super().start_request(server_conn, request_conn),
            request_conn,
            self.conn_params.max_body_size or 0,
        )


class _Watch:
    """End a connection whose peer takes nothing of what it has asked for."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.loop = stream, IOLoop.current()
        self.next: Any = None
        self.untaken, self.moved_at = 0, 0.0
        self._look()

    def end(self) -> None:
        """Look no more."""
        if self.next is not None:
            self.loop.remove_timeout(self.next)

    def _look(self) -> None:
        if self.stream.closed():
            return
        self.next = self.loop.call_later(UNREAD_SECONDS / 4, self._look)
        now, before = self.loop.time(), self.untaken
        # What the kernel still holds: while it has no room for more, it gets less with every byte
        # that is taken.
        (self.untaken,) = struct.unpack("i", fcntl.ioctl(self.stream.socket, TIOCOUTQ, bytes(4)))
        if self.untaken != before or not self.stream.writing():
            self.moved_at = now
        if now - self.moved_at >= UNREAD_SECONDS:
            # Without a word: the kernel would keep what nobody takes for minutes.
            at_once = struct.pack("ii", 1, 0)
            self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            self.stream.close()


class _Gate(HTTPMessageDelegate):
    """Hand a request on; answer by itself with 413 where its body is too large."""

    def __init__(self, inner: HTTPMessageDelegate, connection: Any, limit: int) -> None:
        self.inner: HTTPMessageDelegate | None = inner
        self.connection, self.limit, self.taken, self.path = connection, limit, 0, ""
        self.awaits_word = self.is_form = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Look at what the request says of its body."""
        assert isinstance(start_line, RequestStartLine)
        assert self.inner is not None
        self.path = start_line.path
        self.awaits_word = headers.get("Expect", "").lower() == "100-continue"
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.is_form = kind in FORM_TYPES
        if self.is_form:
            self.limit = min(self.limit, FORM_BYTES)
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self.limit:
            self._refuse(int(length[:20]))
            return None
        if "Transfer-Encoding" in headers:
            # Counted here, or tornado would end the connection without a word.
            self.connection.set_max_body_size(2**62)
        return self.inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Hand on a piece of the body."""
        self.taken += len(chunk)
        if self.inner is not None and self.taken > self.limit:
            self.inner.on_connection_close()
            self._refuse(self.taken)
        return self.inner.data_received(chunk) if self.inner is not None else None

    def finish(self) -> None:
        """Hand on the end of the request, or end the connection of one that was refused."""
        if self.inner is not None:
            self.inner.finish()
        else:
            self.connection.finish()

    def on_connection_close(self) -> None:
        """Hand on that nobody waits for the answer any more."""
        if self.inner is not None:
            self.inner.on_connection_close()

    def _refuse(self, size: int) -> None:
        self.inner = None
        status, reason = 413, "Payload Too Large"
        sentence = (
            f"The body is larger than {self.limit // 1024} KiB, which is the most that the hub"
            " takes here. Send less at a time."
        )
        if "/user/" in self.path and "/hub/" not in self.path:
            # As JupyterHub itself says it, for which JupyterLab offers to start the server again.
            status, reason = 424, "Failed Dependency"
            sentence = "This workspace does not run. Start it, and send this again."
        is_api = "/api/" in self.path
        if is_api and self.is_form:
            # Clients that are told nothing else say so of whatever they send.
            sentence += " If it is JSON, say so: Content-Type: application/json"
        app_log.info("A body of %d bytes or more for %r was refused", size, self.path[:200])
        body = (
            json.dumps({"status": status, "message": sentence}) if is_api else sentence
        ).encode()
        kind = "application/json" if is_api else "text/plain; charset=utf-8"
        headers = HTTPHeaders(
            {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        )
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", status, reason), headers, body)
        if self.awaits_word and not self.taken:
            self.connection.finish()  # it sends nothing before it is told to
            return
        # What still comes is read and thrown away: the end of a connection with unread bytes would
        # take the answer with it.
        self.connection.set_max_body_size(2**62)
        self.connection.set_body_timeout(REFUSED_BODY_SECONDS)


def _is_local(place: str) -> bool:
    """Return True if an address is this container's own, where the proxy is, or that of a unix
    socket.
    """
    return not place or ipaddress.ip_address(place.partition("%")[0]).is_loopback
