#!/usr/bin/python3 -S
"""A stand-in for jupyterhub-singleuser that starts in a blink.

It is for tests of everything around a workspace. Invariants: every path under
JUPYTERHUB_SERVICE_PREFIX answers 200; there is no sign-in. Needs python3-minimal alone: no package
`http` or `asyncio`, threads and sockets only.

    <prefix>api           {"version": …}, as Jupyter answers
    <prefix>bytes/<n>     n bytes of text
    <prefix>slow/<s>      answers after s seconds
    <prefix>exit/<code>   ends the workspace with that exit code
    <prefix>seen          the first lines of all requests so far, this one included, as a list
    <prefix>kept/<name>   PUT with JSON, {"headers": {…}, "body": "…"}, keeps an answer; every
                          other method gets it
    any path, with Upgrade: websocket   an echo
    anything else         JSON: path, method, body length, host name, user id, headers,
                          environment (the names in NAMES, without tokens)
"""

import base64
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque

NAMES = (
    "HOME",
    "HOSTNAME",
    "LANG",
    "MLHUB_",
    "NVIDIA_",
    "CUDA_",
    "JUPYTERHUB_",
    "WORKSPACE_",
    "TEST_",
    "OMP_",
    "MAX_",
)
SECRETS = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEPT = {}
SEEN = deque(maxlen=10_000)


def read_address():
    """Return the address and port to listen on, and the prefix of all paths."""
    rest = os.environ.get("JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:8080").partition("//")[2]
    host, _, port = rest.partition("/")[0].rpartition(":")
    return (
        host.strip("[]") or "0.0.0.0",  # noqa: S104 (its own container)
        int(port or 8080),
        os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/",
    )


class Reader:
    """Read lines and counted bytes from one connection."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, bytearray()

    def fill(self):
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(mark)
        return bytes(head)

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        head, self.buffer = bytes(self.buffer[:count]), self.buffer[count:]
        return head

    def body(self, headers):
        """Return a request's body (RFC 9112, 6.3)."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.exactly(int(headers.get("content-length") or 0))
        body = bytearray()
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            body += self.exactly(size)
            self.exactly(2)
        while self.until(b"\r\n"):
            pass  # trailers
        return bytes(body)


def describe(method, path, headers, body):
    """Return what a test may want to know about this workspace and this request."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(NAMES) and name not in SECRETS
    }
    return {
        "path": path,
        "method": method,
        "body_bytes": len(body),
        "hostname": socket.gethostname(),
        "uid": os.getuid(),
        "headers": headers,
        "environment": environment,
    }


def answer(method, path, headers, body, prefix):
    """Return headers and content for one request."""
    word, _, value = path.partition("?")[0].removeprefix(prefix).partition("/")
    if word == "api" and not value:
        return {"Content-Type": "application/json"}, b'{"version": "2.0.0"}'
    if word == "bytes" and value.isdigit():
        return {"Content-Type": "text/plain"}, b"x" * int(value)
    if word == "seen":
        return {"Content-Type": "application/json"}, json.dumps(list(SEEN)).encode()
    if word == "kept" and method == "PUT":
        KEPT[value] = json.loads(body)
    if word == "kept" and value in KEPT:
        return KEPT[value]["headers"], KEPT[value]["body"].encode()
    if word == "slow" and value.replace(".", "", 1).isdigit():
        time.sleep(float(value))
    if word == "exit" and value.isdigit():
        os._exit(int(value))
    return {"Content-Type": "application/json"}, json.dumps(
        describe(method, path, headers, body), indent=1
    ).encode()


def echo(connection, reader, key):
    """Speak WebSocket (RFC 6455) and send every message back."""
    accept = base64.b64encode(
        hashlib.sha1(key.encode() + WEBSOCKET_GUID, usedforsecurity=False).digest()
    )
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        first, second = reader.exactly(2)
        size = second & 127
        if size > 125:
            size = struct.unpack(
                ">H" if size == 126 else ">Q", reader.exactly(2 if size == 126 else 8)
            )[0]
        mask = reader.exactly(4) if second & 128 else b"\0\0\0\0"
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(reader.exactly(size)))
        opcode = first & 15
        first = first & 0xF0 | {9: 10}.get(opcode, opcode)
        length = (
            bytes([size])
            if size < 126
            else struct.pack(">BH", 126, size)
            if size < 65536
            else struct.pack(">BQ", 127, size)
        )
        if opcode != 10:
            connection.sendall(bytes([first]) + length + data)
        if opcode == 8:
            return


def serve(connection, prefix):
    """Answer the requests of one connection until it closes."""
    reader = Reader(connection)
    with connection:
        try:
            while True:
                request, *lines = reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
                SEEN.append(request)
                method, path, _ = request.split(" ", 2)
                headers = {
                    name.strip().lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines)
                }
                if headers.get("upgrade", "").lower() == "websocket":
                    echo(connection, reader, headers.get("sec-websocket-key", ""))
                    return
                body = reader.body(headers)
                own, content = answer(method, path, headers, body, prefix)
                lines = [
                    f"{name}: {value}"
                    for name, value in {**own, "Content-Length": len(content)}.items()
                ]
                head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()
                connection.sendall(head if method == "HEAD" else head + content)
                if headers.get("connection", "").lower() == "close":
                    return
        except (EOFError, OSError, ValueError):
            return


def main():
    """Listen until asked to stop."""
    host, port, prefix = read_address()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
    )
    print(f"test workspace: http://{host}:{port}{prefix}", file=sys.stderr, flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection, prefix), daemon=True).start()


if __name__ == "__main__":
    main()
