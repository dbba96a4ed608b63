"""What tests need below HTTP: a WebSocket that stays open, steady load, and a look at a container's
processes.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Runs inside the container: every process as JSON.
_LIST_PROCESSES = """
import json, pathlib
found = []
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdigit():
        try:
            words = (folder / "cmdline").read_bytes().replace(bytes(1), b" ").decode().strip()
            fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            continue
        found.append({"pid": int(folder.name), "command": words, "state": fields["State"].split()[0], "user": int(fields["Uid"].split()[0]),
                      "parent": int(fields["PPid"]), "kilobytes": int(fields.get("VmRSS", "0").split()[0])})
print(json.dumps(found))
"""  # noqa: E501


class Echo:
    """One WebSocket (RFC 6455) to a path that echoes; closed with ``close``."""

    def __init__(self, port: int, path: str, tls: bool = False, host: str = "127.0.0.1") -> None:
        self._connection: socket.socket = socket.create_connection((host, port), timeout=10)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._connection = context.wrap_socket(self._connection)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
        )
        lines += (f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "")
        self._connection.sendall("\r\n".join(lines).encode())
        self._file = self._connection.makefile("rb")
        status = self._file.readline()
        assert b" 101 " in status, status
        while self._file.readline().strip():
            pass

    def ask(self, text: str) -> str:
        """Send a text of fewer than 126 bytes; return what comes back."""
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._connection.sendall(bytes([0x81, 0x80 | len(data)]) + mask + masked)
        head = self._file.read(2)
        assert len(head) == 2, "the WebSocket was closed"
        return self._file.read(head[1] & 127).decode()

    def is_alive(self) -> bool:
        """Return True if it still echoes."""
        word = os.urandom(4).hex()
        try:
            return self.ask(word) == word
        except (OSError, AssertionError):
            return False

    def close(self) -> None:
        self._file.close()
        self._connection.close()


@dataclass
class Load:
    """Ask the same question a few times per second, as so many clients side by side, until stopped;
    remember when the answers were good.
    """

    question: Callable[[], bool]
    clients: int = 20
    pause_seconds: float = 0.2
    good: int = 0
    bad: int = 0
    longest_wait_seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Load:
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        """Be one client: it waits from the first question that is not answered well until the first
        that is.
        """
        waiting_since = 0.0
        while not self._ended.wait(self.pause_seconds):
            waiting_since = waiting_since or time.monotonic()
            try:
                is_good = self.question()
            except OSError:
                is_good = False
            with self._lock:
                self.good, self.bad = self.good + is_good, self.bad + (not is_good)
                self.longest_wait_seconds = max(
                    self.longest_wait_seconds, time.monotonic() - waiting_since
                )
            waiting_since = 0.0 if is_good else waiting_since


def list_processes(hub: Any) -> list[dict[str, Any]]:
    """List the processes in a hub's container, but for the one that lists."""
    found = json.loads(hub.exec("python3", "-I", "-S", "-c", _LIST_PROCESSES))
    return [
        entry
        for entry in found
        if "_LIST_" not in entry["command"] and "json, pathlib" not in entry["command"]
    ]


def list_own_processes(hub: Any) -> list[dict[str, Any]]:
    """List what comes from the container's first process, so not what the engine brings into it
    from outside: probes and `docker exec`.
    """
    found = {entry["pid"]: entry for entry in list_processes(hub)}

    def is_own(pid: int) -> bool:
        return pid == 1 or (pid in found and is_own(found[pid]["parent"]))

    return [entry for pid, entry in found.items() if is_own(pid)]


def is_answered(port: int, path: str, status: bytes = b" 200 ") -> bool:
    """Return True if one plain request gets this status."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(
                (
                    f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                ).encode()
            )
            return status in connection.recv(64)
    except OSError:
        return False
