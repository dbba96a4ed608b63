"""Connections to published ports, opened over and over while something goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def knocking(*ports: int) -> Iterator[tuple[list[int], list[Exception]]]:
    """Open a connection to each port over and over; yield what became of them: ports that answered,
    and why others did not.
    """
    answered: list[int] = []
    refused: list[Exception] = []
    enough = threading.Event()

    def knock(port: int) -> None:
        while not enough.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as opened:
                    opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert opened.recv(9)
                answered.append(port)
            except (OSError, AssertionError) as error:
                refused.append(error)

    threads = [threading.Thread(target=knock, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    try:
        yield answered, refused
    finally:
        enough.set()
        for thread in threads:
            thread.join()
