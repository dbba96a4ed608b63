"""A proxy with its REST API, and servers behind it that say what they were asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler
from urllib3 import Retry


def keep_connections() -> requests.Session:
    """Return a session that looks once more where what it kept is closed as it is used: a server
    that is told to begin anew ends what is idle.
    """
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(1, connect=0, allowed_methods=["GET"])))
    return session


@dataclass
class Proxy:
    """A running proxy: its public side, its API, and the token of that."""

    url: str
    api_url: str
    token: str
    # Connections to the API are kept: what publishes ports of containers has so many and no more.
    session: requests.Session = field(default_factory=keep_connections)

    def api(
        self, method: str, spec: str = "", body: object = None, **options: Any
    ) -> requests.Response:
        """Ask the API for the routes, or for the one of this (escaped) name."""
        options.setdefault("headers", {"Authorization": f"token {self.token}"})
        url = f"{self.api_url}/api/routes{spec}"
        return self.session.request(method, url, json=body, timeout=20, **options)

    def add(self, spec: str, target: str, **data: object) -> None:
        answer = self.api("POST", spec, {"target": target, **data})
        assert answer.status_code == 201, answer.text

    def remove_all(self) -> None:
        for spec in self.api("GET").json():
            assert self.api("DELETE", quote(spec)).status_code == 204

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Send a request to its public side."""
        return requests.request(method, self.url + path, timeout=20, **options)


def add_headers(handler: RequestHandler) -> None:
    """Answer with the headers that the query names."""
    for name, value in json.loads(handler.get_query_argument("headers", "[]")):
        handler.add_header(name, value)


def make_query(*headers: tuple[str, str]) -> str:
    """Return the query that lets a server answer with these headers."""
    return "?headers=" + quote(json.dumps(headers))


class Note(RequestHandler):
    """Answer with what it was asked, by the status and with the headers that the query names."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")

    def prepare(self) -> None:
        self.set_status(int(self.get_query_argument("status", "200")))
        add_headers(self)
        asked = {
            "server": self.settings["name"],
            "path": self.request.uri,
            "headers": {name.lower(): value for name, value in self.request.headers.get_all()},
            "body": self.request.body.decode(),
            "connection": self.request.connection.context.address[1],
        }
        self.finish(json.dumps(asked))


class Echo(WebSocketHandler):
    """Say what is said."""

    def prepare(self) -> None:
        add_headers(self)

    def check_origin(self, origin: str) -> bool:
        return True

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


@stream_request_body
class Take(RequestHandler):
    """Take uploads as they come, and tell whoever looks what has come of each."""

    taken: ClassVar[dict[str, dict[str, Any]]] = {}

    def prepare(self) -> None:
        self.sum = hashlib.sha256()
        if self.request.method != "GET":
            self.taken[self.request.path] = self.upload = {
                "size": 0,
                "ended": "",
                "length": self.request.headers.get("Content-Length"),
            }

    def data_received(self, chunk: bytes) -> None:
        self.sum.update(chunk)
        self.upload["size"] += len(chunk)

    def post(self) -> None:
        self.upload["ended"] = "whole"
        self.finish(self.sum.hexdigest())

    def get(self) -> None:
        self.finish(self.taken.get(self.request.path, {}))

    def on_connection_close(self) -> None:
        if self.request.method != "GET":
            self.upload["ended"] = "cut off"


@contextmanager
def running_servers(address: str, *names: str) -> Iterator[list[str]]:
    """Run servers of these names; yield their URLs."""
    urls: list[str] = []
    started, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        for name in names:
            sockets = bind_sockets(0, address)
            handlers: list[Any] = [(r".*/socket", Echo), (r".*/upload", Take), (r".*", Note)]
            application = Application(handlers, name=name, log_function=lambda _: None)
            HTTPServer(application).add_sockets(sockets)
            urls.append(f"http://{address}:{sockets[0].getsockname()[1]}")
        loops.append(asyncio.get_running_loop())
        started.set()
        await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield urls
    loops[0].call_soon_threadsafe(ended.set)
    thread.join(10)


@contextmanager
def saying(
    address: str, answer: bytes, heard: list[bytes] | None = None, hangs_up: bool = True
) -> Iterator[str]:
    """Run a server that says the same to whoever asks, and hangs up, or does not; yield its URL.

    What it is asked is added to ``heard``.
    """
    with socket.create_server((address, 0)) as server, ExitStack() as kept:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked = connection.recv(65536)
                    if heard is not None:
                        heard.append(asked)
                    connection.sendall(answer)
                    if hangs_up:
                        connection.close()
                    else:
                        kept.enter_context(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://{address}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering_once(address: str) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that answers the first request of a connection, says that it keeps it, and ends
    it at the second; yield its URL, and what it is asked.
    """
    heard: list[bytes] = []
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def speak(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if asked := connection.recv(65536):
                heard.append(asked)
                connection.sendall(answer)
            if asked := connection.recv(65536):
                heard.append(asked)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    with socket.create_server((address, 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://{address}:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)
