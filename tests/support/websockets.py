"""A WebSocket as bytes on a connection: it is opened, says nothing, and is there until somebody
ends it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def open_websocket(
    url: str, path: str, headers: Mapping[str, str] | None = None, origin: str = ""
) -> socket.socket:
    """Open a WebSocket, as a page of the same origin does unless another one is named; raise
    ``ConnectionError`` with the answer where it is refused.
    """
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Origin: {origin or url}",
    ]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(1000)):
        head += piece
    if b" 101 " not in head.partition(b"\r\n")[0]:
        connection.close()
        raise ConnectionError(f"no WebSocket at {path}: {head[:300]!r}")
    connection.setblocking(False)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Return True if nobody has ended it; what comes in is thrown away, some of it at a time."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            if not connection.recv(65536):
                return False
    return True
