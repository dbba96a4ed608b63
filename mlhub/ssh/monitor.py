"""``python -I -m mlhub.ssh.monitor SOCKET CLIENTS SSHD ARGUMENTS…``: run sshd and keep its sessions
accountable.

One small process beside sshd, under sshd's own account, standard library only. It reads sshd's log,
knows from it who is in and what they open, tells the hub (one JSON object a line, both ways), and
ends a session when the hub says so. Sessions live on while the hub is away, and while sshd itself
is started again; the hub learns of them when it is back. At the socket CLIENTS nginx tells whose an
address of 127.0.0.0/8 is: it gives sshd one such address per client.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time

from mlhub.ssh.sshd_log import find_real_address, name_client, parse_event
from mlhub.ssh.sshd_processes import end_leftovers, read_parent

TYPE_CHECKING = False
if TYPE_CHECKING:  # half a megabyte, for as long as the container runs
    from typing import Any

RECONNECT_SECONDS = 0.5
# sshd that ends sooner than this could not start: the supervisor is told, instead of trying for
# ever.
STARTED_SECONDS = 2.0
MAX_LINE = 16384


class Watch:
    """Run sshd, follow its log, and keep the link to the hub."""

    def __init__(self, path: str, clients: str, command: list[str]) -> None:
        self.path, self.clients, self.command = path, clients, command
        self.selector = selectors.DefaultSelector()
        self.sessions: dict[int, dict[str, Any]] = {}
        self.descriptors: dict[int, int] = {}
        self.hub: socket.socket | None = None
        self.buffers: dict[str, bytes] = {}
        self.next_try = 0.0
        self.stopping = False
        self.sshd = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start sshd with its log in our hands."""
        self.started_at = time.monotonic()
        process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr
        os.set_blocking(process.stderr.fileno(), False)
        self.selector.register(process.stderr, selectors.EVENT_READ, "log")
        self._watch_process(process.pid, "sshd")
        return process

    def run(self) -> int:
        """Return the exit code when sshd cannot be kept running, or after a signal."""
        while True:
            if self.hub is None and time.monotonic() >= self.next_try:
                self.connect()
            for key, _ in self.selector.select(None if self.hub else RECONNECT_SECONDS):
                code = self.handle(key)
                if code is not None:
                    return code

    def handle(self, key: selectors.SelectorKey) -> int | None:
        """Handle one thing that happened; return an exit code when all is over."""
        if key.data == "log":
            self.read_log(key.fileobj)
        elif key.data == "hub":
            self.read_hub()
        elif key.data == "signal":
            self.stop()
        elif key.data == "sshd":
            return self.replace_sshd(key.fd)
        else:
            self.close_session(key.data, key.fd)
        return None

    def replace_sshd(self, descriptor: int) -> int | None:
        """Start sshd again after it ended; sessions are processes of their own and stay."""
        self.selector.unregister(descriptor)
        os.close(descriptor)
        code = self.sshd.wait()
        if self.stopping:
            return 0
        if time.monotonic() - self.started_at < STARTED_SECONDS:
            if self.sshd.stderr and not self.sshd.stderr.closed:
                self.read_log(self.sshd.stderr)
            return code if code > 0 else 1
        print(f"sshd ended with code {code}; it is started again", file=sys.stderr, flush=True)
        self.sshd = self.start()
        return None

    def stop(self) -> None:
        """End sshd and what it let in; the container ends."""
        self.stopping = True
        for pid in self.sessions:
            self.end(pid)
        self.sshd.terminate()

    # sshd's log

    def read_log(self, pipe: Any) -> None:
        """Read what sshd and its sessions have to say; the pipe of a former sshd is shared by its
        sessions.
        """
        name = f"log{pipe.fileno()}"
        while True:
            try:
                data = os.read(pipe.fileno(), 65536)
            except BlockingIOError:
                return
            if not data:
                self.selector.unregister(pipe)
                self.buffers.pop(name, None)
                pipe.close()
                return
            *lines, rest = (self.buffers.get(name, b"") + data).split(b"\n")
            self.buffers[name] = rest[-MAX_LINE:]
            for line in lines:
                self.take(line.decode("utf-8", "backslashreplace").rstrip("\r"))

    def take(self, line: str) -> None:
        """Take one line of the log."""
        find_address = functools.partial(find_real_address, self.clients)
        event, shown = parse_event(line)
        if shown:
            print(name_client(shown, find_address), file=sys.stderr, flush=True)
        if not event:
            return
        if event["event"] in ("opened", "refused"):
            event["address"] = find_address(event["source"])
        if event["event"] == "opened":
            self.open_session(event)
        elif event["event"] == "target":
            # The line is from the part of sshd without rights; its parent is the one that signed
            # the person in.
            event["pid"] = session = read_parent(event["pid"])
            if session in self.sessions:
                self.tell(event)
        else:
            self.tell(event)

    # sessions

    def open_session(self, event: dict[str, Any]) -> None:
        """Remember a session until its process ends."""
        session = {**event, "at": time.time(), "workspaces": []}
        self.sessions[event["pid"]] = session
        self.introduce(session)
        if not self._watch_process(event["pid"], event["pid"]):
            self.forget(event["pid"])

    def introduce(self, session: dict[str, Any]) -> None:
        """Tell the hub of a session: that it was opened, until a hub has heard of it, and later
        ones that it is known.
        """
        self.tell({**session, "workspaces": []})

    def close_session(self, pid: int, descriptor: int) -> None:
        """Forget a session whose process ended."""
        self.selector.unregister(descriptor)
        os.close(descriptor)
        self.forget(pid)

    def forget(self, pid: int) -> None:
        """Tell the hub that a session is over."""
        self.descriptors.pop(pid, None)
        if self.sessions.pop(pid, None):
            self.tell({"event": "closed", "pid": pid})

    def end(self, pid: int) -> None:
        """End a session: sshd's own part that signed the person in takes the rest along."""
        descriptor = self.descriptors.get(pid)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)

    def _watch_process(self, pid: int, data: Any) -> bool:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self.selector.register(descriptor, selectors.EVENT_READ, data)
        if data == pid:
            self.descriptors[pid] = descriptor
        return True

    # the hub

    def connect(self) -> None:
        """Call the hub; tell it who is in."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(self.path)
            connection.sendall(b"sessions\n")
        except OSError:
            connection.close()
            self.next_try = time.monotonic() + RECONNECT_SECONDS
            return
        self.hub = connection
        self.buffers["hub"] = b""
        self.selector.register(connection, selectors.EVENT_READ, "hub")
        # A line each: there is no telling how many there are, and the hub reads no line of any
        # length.
        self.tell({"event": "hello", "pids": list(self.sessions)})
        for pid, session in self.sessions.items():
            self.introduce(session)
            for workspace in session["workspaces"]:
                self.tell({"event": "kept", "pid": pid, "workspace": workspace})

    def tell(self, event: dict[str, Any]) -> bool:
        """Send the hub one event, if it is there; what it misses it learns when it is back."""
        if self.hub is None:
            return False
        try:
            self.hub.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            self.hang_up()
            return False
        return True

    def read_hub(self) -> None:
        """Do what the hub says: end a session, or keep in mind where it led, for a hub that comes
        after this one.
        """
        if self.hub is None:  # it was told something in the same moment, and found to be gone
            return None
        try:
            data = self.hub.recv(65536)
        except OSError:
            data = b""
        if not data:
            return self.hang_up()
        *lines, self.buffers["hub"] = (self.buffers["hub"] + data).split(b"\n")
        for line in lines:
            self.obey(json.loads(line))
        return None

    def obey(self, wish: dict[str, Any]) -> None:
        """Follow one line of the hub."""
        if "end" in wish:
            self.end(int(wish["end"]))
        elif session := self.sessions.get(wish.get("known", 0)):
            session["event"] = "known"
        elif (session := self.sessions.get(wish.get("keep", 0))) and wish[
            "workspace"
        ] not in session["workspaces"]:
            session["workspaces"].append(wish["workspace"])

    def hang_up(self) -> None:
        """Forget a link to the hub that is gone."""
        if self.hub is not None:
            self.selector.unregister(self.hub)
            self.hub.close()
        self.hub = None
        self.next_try = time.monotonic() + RECONNECT_SECONDS


def main(arguments: list[str]) -> int:
    """Run until sshd cannot be kept running, or until told to stop."""
    end_leftovers()
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    watch = Watch(arguments[0], arguments[1], arguments[2:])
    watch.selector.register(reading, selectors.EVENT_READ, "signal")
    return watch.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
