"""HTTP/2 as far as tests need it: requests whose frames they choose (RFC 9113, RFC 7541)."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW, LARGEST_FRAME = 65535, 16384
INITIAL_WINDOW, CANCEL = 4, 8
EXTENDED_CONNECT = 8  # SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441)
# Entries of the static table that nginx names statuses by (RFC 7541, appendix A); others it writes.
STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}


class Http2:
    """One connection over TLS; the streams of it are asked one after the other."""

    def __init__(self, host: str, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.connection = context.wrap_socket(self.dial(host, port), server_hostname="localhost")
        assert self.connection.selected_alpn_protocol() == "h2"
        self.file = self.connection.makefile("rb")
        self.stream = -1
        self.settings: dict[int, int] = {}
        # How much the other side takes: of the stream, and of all streams.
        self.windows = [FIRST_WINDOW, FIRST_WINDOW]
        self.status, self.body, self.is_over = 0, b"", False
        window = struct.pack(">HI", INITIAL_WINDOW, LARGEST_WINDOW)
        update = struct.pack(">I", LARGEST_WINDOW - 65535)
        self.connection.sendall(
            PREFACE + frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, update)
        )

    @staticmethod
    def dial(host: str, port: int) -> socket.socket:
        """Return a connection on which nothing was said."""
        return socket.create_connection((host, port), timeout=20)

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.connection.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> tuple[int, bytes]:
        """Return status and body of an answer; 0 where the stream was reset."""
        self._send_head(method, path, headers, END_STREAM if body is None else 0)
        if body is not None:
            # Whatever the other side would take.
            self.connection.sendall(frame(DATA, END_STREAM, self.stream, body))
        return self.read_answer()

    def begin(self, method: str, path: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send a request of which the body is to come."""
        while not self.settings:
            self._take_frame()
        self.windows[0] = self.settings.get(INITIAL_WINDOW, FIRST_WINDOW)
        self._send_head(method, path, headers, 0)

    def send(self, body: bytes, *, is_last: bool = False) -> int:
        """Send a piece of the body as the other side takes it; return how much of it went out until
        there was an answer or nothing was taken any more.
        """
        sent = 0
        while sent < len(body) and not self.is_over:
            room = min(*self.windows, LARGEST_FRAME, len(body) - sent)
            if not room:
                try:
                    self._take_frame()
                except TimeoutError:
                    break
                continue
            flags = END_STREAM if is_last and sent + room == len(body) else 0
            self.connection.sendall(frame(DATA, flags, self.stream, body[sent : sent + room]))
            self.windows = [window - room for window in self.windows]
            sent += room
        return sent

    def open(self, path: str, headers: Iterable[tuple[str, str]]) -> int:
        """Ask for what may not end; return its status once it has begun."""
        self._send_head("GET", path, headers, END_STREAM)
        while not self.status and not self.is_over:
            self._take_frame()
        return self.status

    def goes_on(self, seconds: float) -> bool:
        """Return True if the answer is not over within a time; nothing can be read after that."""
        self.connection.settimeout(seconds)
        try:
            self.read_answer()
        except TimeoutError:
            return True
        except (EOFError, OSError):
            return False
        return False

    def reset(self) -> None:
        """Give the request up, and keep the connection."""
        self.connection.sendall(frame(RST_STREAM, 0, self.stream, struct.pack(">I", CANCEL)))

    def read_answer(self) -> tuple[int, bytes]:
        """Return status and body of the answer; 0 where the stream was reset."""
        while not self.is_over:
            self._take_frame()
        return self.status, self.body

    def _send_head(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], flags: int
    ) -> None:
        self.stream += 2
        self.status, self.body, self.is_over = 0, b"", False
        fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            *headers,
        ]
        block = b"".join(encode(name, value) for name, value in fields)
        self.connection.sendall(frame(HEADERS, END_HEADERS | flags, self.stream, block))

    def _take_frame(self) -> None:
        kind, flags, stream, payload = self._read_frame()
        if kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                self.settings[number] = value
            self.connection.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == GOAWAY or (kind == RST_STREAM and stream == self.stream):
            self.status, self.body, self.is_over = 0, b"", True
        elif kind == WINDOW_UPDATE and stream in (0, self.stream):
            self.windows[stream == 0] += int.from_bytes(payload)
        elif kind in (DATA, HEADERS) and stream == self.stream:
            if kind == DATA:
                self.body += payload
            elif not self.status:
                self.status = STATUSES.get(payload[0]) or int(payload[2:5])
            self.is_over = bool(flags & END_STREAM)

    def _read_frame(self) -> tuple[int, int, int, bytes]:
        head = self.file.read(9)
        if len(head) != 9:
            raise EOFError("the connection was closed")
        length = int.from_bytes(head[:3])
        return head[3], head[4], int.from_bytes(head[5:]) & LARGEST_WINDOW, self.file.read(length)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def encode(name: str, value: str) -> bytes:
    """Write a field as a literal that nobody is to remember."""
    texts = name.encode(), value.encode()
    return b"\0" + b"".join(encode_length(len(text)) + text for text in texts)


def encode_length(length: int) -> bytes:
    if length < 127:
        return bytes([length])
    rest, found = length - 127, bytearray([127])
    while rest >= 128:
        found.append(rest % 128 | 128)
        rest //= 128
    return bytes([*found, rest])
