"""The line from a bastion in a container of its own to its hub: one port of the hub's, and a token
that both know.

``python -I -m mlhub.ssh.hub_link SOCKET HOST GREETING`` hands each connection to SOCKET, where
sshd, the forced command and the program beside sshd ask, on to the hub; the file GREETING holds the
first line. Standard library only, like the program beside sshd.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

PORT = 8082
CONNECT_SECONDS = 5.0
CHUNK_BYTES = 65536
LINE_BYTES = 16384
# A hub whose node is gone says no more that it is: sessions are told of to the next one within half
# a minute.
# Without the last, what was sent and not acknowledged would be repeated for a quarter of an hour
# before anybody is asked.
KEEP_ALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25000,
}


def make_socket_path(run: Path) -> Path:
    """Return where sshd, the forced command and the program beside sshd ask, in their container."""
    return run / "bastion" / "lookup.sock"


def make_greeting(token: str, name: str) -> str:
    """Write the first line of each connection; ``name`` tells this bastion from others of the same
    hub.
    """
    return f"bastion {token} {name}\n"


def ask(host: str, greeting: str, question: str, seconds: float = CONNECT_SECONDS) -> str:
    """Ask the hub one question; return its answer, "" where it refuses to answer.

    Raises ``OSError`` where it is not there.
    """
    with socket.create_connection((host, PORT), timeout=seconds) as connection:
        connection.sendall(f"{greeting}{question}\n".encode())
        with connection.makefile("rb") as answers:
            return answers.readline(LINE_BYTES).decode("ascii", "replace").strip()


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel notice when the other side is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def bind(path: Path) -> socket.socket:
    """Make a socket that its owner and the group of its directory may connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o660)
    return listener


class Line:
    """Hand connections on to the hub, each as one of its own."""

    def __init__(self, host: str, greeting: str) -> None:
        self.host, self.greeting = host, greeting

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection with the hub until either side ends it."""
        with contextlib.closing(writer):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    hub_reader, hub_writer = await asyncio.open_connection(self.host, PORT)
            except (OSError, TimeoutError):
                return
            with contextlib.closing(hub_writer):
                keep_alive(hub_writer.get_extra_info("socket"))
                hub_writer.write(self.greeting.encode())
                forth = asyncio.create_task(_copy(reader, hub_writer))
                back = asyncio.create_task(_copy(hub_reader, writer))
                # Who has asked may say so, and still waits for the answer.
                back.add_done_callback(lambda _: forth.cancel())
                forth.add_done_callback(
                    lambda task: None if not task.cancelled() and task.result() else back.cancel()
                )
                await asyncio.wait([forth, back])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Return True when the reader came to its end, False when either side is gone."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        return False
    return True


async def run(listener: socket.socket, line: Line) -> None:
    """Serve until told to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await asyncio.start_unix_server(line.serve, sock=listener, backlog=1024)
    await stopping.wait()


def main(arguments: list[str]) -> int:
    """Run until told to stop."""
    path, host, greeting = arguments
    asyncio.run(run(bind(Path(path)), Line(host, Path(greeting).read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
