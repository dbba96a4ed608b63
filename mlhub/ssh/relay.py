"""The relay beside a workspace's sshd (docker/ssh-bundle/relay.c): what it is told, and where it
listens. Pure: no I/O.

It leads connections of the front to programs that listen on 127.0.0.1 alone, and starts those that
the site has declared. A key makes it the hub's: other workspaces of the same person reach its port
as well.
"""

from __future__ import annotations

import hmac

PORT = 2223


def make_key(secret: bytes, user: str, server: str) -> str:
    """Make the key of one workspace's relay, which is the same after a restart of the hub."""
    return hmac.new(secret, f"relay\0{user}\0{server}".encode(), "sha256").hexdigest()


def make_question(key: str) -> bytes:
    """Make what has a relay tell at which ports anything listens."""
    return f"GET / HTTP/1.0\r\nX-MLHub-Relay: 1 {key} list\r\n\r\n".encode()


def read_ports(answer: bytes) -> list[int]:
    """Read what a relay tells: whoever is inside may have written it."""
    words = answer.decode("ascii", "replace").split()
    found = {int(word) for word in words if word.isdecimal() and len(word) <= 5}
    return sorted(port for port in found if 1 <= port <= 65535)


def make_start(port: int, key: str, command: str) -> bytes:
    """Make what has a relay run a command, unless something listens at a port of the loopback."""
    return f"POST / HTTP/1.0\r\nX-MLHub-Relay: {port} {key} start\r\n\r\n{command}".encode()
