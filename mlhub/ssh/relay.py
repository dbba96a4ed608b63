"""The relay beside a workspace's sshd (docker/ssh-bundle/relay.c): its port, its key and what it is
sent. Pure: no I/O.

It leads connections of the front to programs that listen on 127.0.0.1 alone, and starts those that
the site has declared. Other workspaces of the same person reach its port as well, so it obeys only
whoever has its key: the hub and the front.
"""

from __future__ import annotations

import hmac

PORT = 2223


def make_key(secret: bytes, user: str, server: str) -> str:
    """Make the key of one workspace's relay, which is the same after a restart of the hub."""
    return hmac.new(secret, f"relay\0{user}\0{server}".encode(), "sha256").hexdigest()


def make_question(key: str) -> bytes:
    """Make the request for the ports at which anything listens."""
    return f"GET / HTTP/1.0\r\nX-MLHub-Relay: 1 {key} list\r\n\r\n".encode()


def read_ports(answer: bytes) -> list[int]:
    """Read the ports of a relay's answer, which whoever is inside may have written."""
    words = answer.decode("ascii", "replace").split()
    found = {int(word) for word in words if word.isdecimal() and len(word) <= 5}
    return sorted(port for port in found if 1 <= port <= 65535)


def make_start(port: int, key: str, command: str) -> bytes:
    """Make the request to run a command, unless something listens at this port of the loopback."""
    return f"POST / HTTP/1.0\r\nX-MLHub-Relay: {port} {key} start\r\n\r\n{command}".encode()
