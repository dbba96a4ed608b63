"""An answer that does not end by itself, as bytes on a connection of its own: whether it goes on
tells ``is_open`` of tests/support/websockets.py.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

# Of the program of tests/support/tool_source.py: one event and then nothing, and a download that
# nobody comes to the end of.
EVENTS, DOWNLOAD = "events", f"bytes/{1 << 40}"


def open_stream(url: str, path: str, headers: Mapping[str, str]) -> socket.socket:
    """Ask for it, and read its head; raise ``ConnectionError`` where it is refused."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    # An answer that came to its end by itself, with its workspace, leaves no connection.
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(1000)):
        head += piece
    if b" 200 " not in head.partition(b"\r\n")[0]:
        connection.close()
        raise ConnectionError(f"no answer at {path}: {head[:300]!r}")
    connection.setblocking(False)
    return connection
