"""The relay beside a workspace's sshd (docker/ssh-bundle/relay.c): its port, its key and what it is
sent. Pure: no I/O.

It leads connections of the front to programs that listen on 127.0.0.1 alone, and starts those that
the site has declared. Other workspaces of the same person reach its port as well, so it obeys only
whoever has its key: the hub and the front.

Invariants: somebody who takes a name again gets no key of whoever had it before.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from mlhub.workspaces.measures import Use

PORT = 2223


def list_keys(secret: bytes, user: str, server: str, people: Iterable[str]) -> list[str]:
    """List the keys that one workspace's relay may have, the one that it is started with first.

    ``people`` are who holds the name (``Holder.label``), and for whom what runs was made: where the
    hub's database was lost, a workspace that runs on was made for somebody of another one. The last
    key is of earlier versions, which knew people by their names (``user``).
    """
    told = [f"relay of a person\0{person}\0{server}" for person in people if person]
    keys = [_make_key(secret, text) for text in (*told, f"relay\0{user}\0{server}")]
    return list(dict.fromkeys(keys))


def make_question(key: str, word: str = "list") -> bytes:
    """Make the request for the ports at which anything listens, or, by the word "use", for what the
    kernel counts of the workspace.
    """
    return f"GET / HTTP/1.0\r\nX-MLHub-Relay: 1 {key} {word}\r\n\r\n".encode()


def read_ports(answer: bytes) -> list[int]:
    """Read the ports of a relay's answer, which whoever is inside may have written."""
    words = answer.decode("ascii", "replace").split()
    found = {int(word) for word in words if word.isdecimal() and len(word) <= 5}
    return sorted(port for port in found if 1 <= port <= 65535)


def read_use(answer: bytes) -> Use | None:
    """Read what the kernel counts of a workspace, by either version of cgroups, from a relay's
    answer, which whoever is inside may have written; None where it tells not all.

    https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    lines = (line.rpartition(" ") for line in answer.decode("ascii", "replace").splitlines())
    counts = {name: int(value) for name, _, value in lines if value.isdecimal() and len(value) < 20}
    seconds = counts.get("cpu.stat usage_usec", 0) / 1e6
    seconds = seconds or counts.get("cpuacct/cpuacct.usage", 0) / 1e9
    for memory, cache in (
        ("memory.current", "memory.stat inactive_file"),
        ("memory/memory.usage_in_bytes", "memory/memory.stat total_inactive_file"),
    ):
        if memory in counts and seconds:
            return Use(seconds, max(0, counts[memory] - counts.get(cache, 0)))
    return None


def make_start(port: int, key: str, command: str) -> bytes:
    """Make the request to run a command, unless something listens at this port of the loopback."""
    return f"POST / HTTP/1.0\r\nX-MLHub-Relay: {port} {key} start\r\n\r\n{command}".encode()


def _make_key(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), "sha256").hexdigest()
