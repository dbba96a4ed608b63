"""Ports for programs that are told theirs."""

from __future__ import annotations

import contextlib
import secrets
import socket

# Linux takes ports from 32768 on for connections, and Kubernetes gives out those from 30000 on: one
# that is found free there may be taken before the program listens.
FIRST, LAST = 10_000, 29_999


def find_free_port() -> int:
    """Return a port of IPv4 that nobody has."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        with contextlib.suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port
