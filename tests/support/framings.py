"""Requests whose body is itself a request, framed in every way that servers have read differently
(RFC 9112, 6 and 11.2).
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "MKCOL",
    "REPORT",
)


# What a workspace answers, byte for byte. None of it is an answer to another request.
SECOND = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
RAW_ANSWERS = {
    "one more answer": f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno{SECOND}",
    "no body, and one": f"HTTP/1.1 204 No Content\r\n\r\n{SECOND}",
    "not modified, and one": f"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{SECOND}",
    "nothing, and one": f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{SECOND}",
    "chunks, and one": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n{SECOND}"
    ),
    "chunks and a length": (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
        f"0\r\n\r\n{SECOND}"
    ),
    "two lengths": (
        f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: {len(SECOND)}\r\n\r\n{SECOND}"
    ),
    "a list of lengths": f"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n{SECOND}",
    "something like chunks": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SECOND}"
    ),
    "a chunk of no size": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{SECOND}"
    ),
    "a chunk without end": (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nno"
    ),
    "too few bytes": "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nno",
    "no headers": "no\r\n\r\n",
    "a head after some bytes": f"no\r\n{SECOND}",
    "a bare return": f"HTTP/1.1 200 OK\r\nX: y\r{SECOND}",
    "an upgrade": f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n{SECOND}",
}


@dataclass(frozen=True)
class Framing:
    """A body with the lines of the header that tell where it ends."""

    name: str
    lines: tuple[str, ...]
    body: bytes
    end_of_line: bytes = b"\r\n"


def make_framings(inner: bytes) -> list[Framing]:
    """Return every framing of one body."""

    def chunk(extension: bytes = b"", end: bytes = b"\r\n") -> bytes:
        return b"%x%b%b%b%b0%b%b" % (len(inner), extension, end, inner, end, end, end)

    length, chunked = f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"
    return [
        Framing("a length", (length,), inner),
        Framing("chunks", (chunked,), chunk()),
        Framing("Chunks", ("TRANSFER-ENCODING:Chunked",), chunk()),
        Framing("chunks between blanks", ("Transfer-Encoding: \tchunked \t",), chunk()),
        Framing("chunks with an extension", (chunked,), chunk(b';a="b"')),
        Framing("chunks with bare line feeds", (chunked,), chunk(end=b"\n")),
        Framing("a header with bare line feeds", (chunked,), chunk(), b"\n"),
        Framing("compressed chunks", ("Transfer-Encoding: gzip, chunked",), chunk()),
        Framing("chunks twice", (chunked, chunked), chunk()),
        Framing("chunks and something else", ("Transfer-Encoding: chunked, identity",), chunk()),
        Framing("something like chunks", ("Transfer-Encoding: xchunked",), chunk()),
        Framing("chunks and a length", (chunked, f"Content-Length: {len(chunk())}"), chunk()),
        Framing("no length and chunks", ("Content-Length: 0", chunked), chunk()),
        Framing("two lengths", ("Content-Length: 0", length), inner),
        Framing("a list of lengths", (f"Content-Length: 0, {len(inner)}",), inner),
        Framing("a length with a sign", (f"Content-Length: +{len(inner)}",), inner),
        Framing(
            "chunks that end at this connection",
            (chunked, "Connection: transfer-encoding"),
            chunk(),
        ),
        Framing(
            "a length that ends at this connection", (length, "Connection: content-length"), inner
        ),
        Framing("chunks that are waited for", (chunked, "Expect: 100-continue"), chunk()),
        Framing(
            "chunks with an upgrade",
            (chunked, "Connection: Upgrade", "Upgrade: websocket"),
            chunk(),
        ),
        Framing(
            "a length with an upgrade", (length, "Connection: Upgrade", "Upgrade: websocket"), inner
        ),
        Framing(
            "chunks with another upgrade", (chunked, "Connection: Upgrade", "Upgrade: h2c"), chunk()
        ),
    ]


def send_with_next(
    connection: socket.socket,
    method: str,
    path: str,
    framing: Framing,
    following: str,
    lines: tuple[str, ...] = (),
) -> list[tuple[int, bytes]]:
    """Send a request whose body comes in a later segment, and a GET after it; return status and
    body of every answer.
    """
    head = (f"{method} {path} HTTP/1.1", "Host: localhost", *framing.lines, *lines, "", "")
    with connection, connection.makefile("rb") as file:
        connection.sendall(framing.end_of_line.join(line.encode() for line in head))
        time.sleep(0.05)  # what is read with the header is not what goes wrong
        try:
            connection.sendall(framing.body)
            connection.sendall(
                "\r\n".join(
                    (
                        f"GET {following} HTTP/1.1",
                        "Host: localhost",
                        "Connection: close",
                        *lines,
                        "",
                        "",
                    )
                ).encode()
            )
        except OSError:
            pass  # refused and closed already: the answer is there to be read
        answers = []
        try:
            while answer := read_answer(file, "GET" if answers else method):
                answers.append(answer)
        except ConnectionError:
            pass  # closed with what was not read any more
        except TimeoutError:
            answers.append((0, b"no answer"))
        return answers


def ask_twice(connection: socket.socket, method: str, path: str, following: str) -> str:
    """Ask for something that is answered by raw bytes, and then over the same connection for the
    path of which a server is to hear; return what came in place of its answer, if anything did.
    """
    with connection, connection.makefile("rb") as file:
        with suppress(OSError):  # refused and closed already: the answer is there to be read
            for verb, place, last in ((method, path, ""), ("GET", following, "close")):
                line = f"Connection: {last}\r\n" if last else ""
                connection.sendall(f"{verb} {place} HTTP/1.1\r\nHost: x\r\n{line}\r\n".encode())
        first = None
        try:
            # What promises more than it sends is waited for.
            connection.settimeout(5)
            first = read_answer(file, method)
            second = read_answer(file, "GET") if first else None
            third = file.read()
        except (OSError, ValueError):
            return f"nothing after {first}" if first else ""
    is_right = second is None or json.loads(second[1])["path"] == following
    return "" if is_right and not third else f"{first} {second} {third!r}"


def read_answer(file: BinaryIO, method: str) -> tuple[int, bytes] | None:
    """Read one answer to this method, past those that only announce one.

    Return nothing at the end.
    """
    while line := file.readline():
        status = int(line.split()[1])
        headers = http.client.parse_headers(file)
        if status == 100:
            continue
        if method == "HEAD" or status in (204, 304):
            return status, b""
        if headers.get("Transfer-Encoding") == "chunked":
            return status, b"".join(read_chunks(file))
        length = headers.get("Content-Length")
        return status, file.read() if length is None else file.read(int(length))
    return None


def read_chunks(file: BinaryIO) -> list[bytes]:
    """Read a body in chunks."""
    chunks = []
    while size := int(file.readline(), 16):
        chunks.append(file.read(size))
        file.readline()
    file.readline()
    return chunks
