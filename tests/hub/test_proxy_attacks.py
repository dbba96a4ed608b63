"""What the proxy makes of requests and answers that mean harm: by itself, as with
START_NGINX=false.

With nginx, TLS and the hub: tests/image/test_front_attacks.py.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from mlhub.boot.programs import PROXY_MODULES
from tests.support.framings import METHODS, make_framings, send_with_next
from tests.support.workspace_answers import COOKIES, ORIGIN_WIDE, OWN

TOKEN = "secret"
# A request of one second is too long for this node, which then looks for such ones every tenth of a
# second.
IMPATIENT = """
const http = require('node:http');
const createServer = http.createServer;
http.createServer = (options, listener) =>
    createServer(typeof options === 'function' ? options : \
{ ...options, requestTimeout: 1000, connectionsCheckingInterval: 100 }, listener);
"""


@dataclass
class Workspace:
    """A server that notes what it is asked, and answers with the headers that a test sets."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    waiting: int = 0


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    """Return a running workspace."""
    workspace = Workspace()
    started, ended = threading.Event(), asyncio.Event()

    class Note(RequestHandler):
        SUPPORTED_METHODS = METHODS

        async def prepare(self) -> None:
            workspace.asked.append(f"{self.request.method} {self.request.path}")
            workspace.bodies.append(self.request.body)
            if self.request.path.endswith("/silent"):
                workspace.waiting += 1
                await ended.wait()
            for name, value in workspace.headers:
                self.add_header(name, value)
            if self.request.path.endswith("/large"):
                for _ in range(64):
                    self.write(bytes(1 << 20))
                    await self.flush()
            self.finish(self.request.path)

        def on_connection_close(self) -> None:
            workspace.waiting -= self.request.path.endswith("/silent")

    async def serve() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        workspace.port = sockets[0].getsockname()[1]
        HTTPServer(Application([("/.*", Note)], log_function=lambda _: None)).add_sockets(sockets)
        loops.append(asyncio.get_running_loop())
        started.set()
        await ended.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield workspace
    loops[0].call_soon_threadsafe(ended.set)
    thread.join(10)


@dataclass
class Proxy:
    """A running proxy."""

    port: int
    process: subprocess.Popen[bytes]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(
        self, path: str = "/user/mallory/", method: str = "GET", **options: object
    ) -> requests.Response:
        return requests.request(
            method, f"http://127.0.0.1:{self.port}{path}", timeout=10, **options
        )  # type: ignore[arg-type]

    def count_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def read_kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture(scope="module")
def proxy(
    proxy_program: Path,
    root: Path,
    workspace: Workspace,
    pick_port: Callable[[], int],
    wait_for: Callable[..., object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Return a proxy before the workspaces of mallory and `a@b`, which is impatient but for what
    the product says.
    """
    port, api_port = pick_port(), pick_port()
    impatient = tmp_path_factory.mktemp("proxy") / "impatient.cjs"
    impatient.write_text(IMPATIENT)
    modules = [impatient, *(root / "docker" / "proxy" / module for module in PROXY_MODULES)]
    environment = {
        **os.environ,
        "NODE_OPTIONS": " ".join(f"--require {module}" for module in modules),
        "CONFIGPROXY_AUTH_TOKEN": TOKEN,
        "MLHUB_BASE_URL": "/",
    }
    words = [
        "--ip=127.0.0.1",
        f"--port={port}",
        "--api-ip=127.0.0.1",
        f"--api-port={api_port}",
        "--log-level",
        "error",
    ]
    proxy = Proxy(port, subprocess.Popen(["node", str(proxy_program), *words], env=environment))

    def has_routes() -> bool:
        target = f"http://127.0.0.1:{workspace.port}"
        try:
            for path in ("/user/mallory", "/user/a@b", "/hub", "/services/site"):
                answer = requests.post(
                    f"http://127.0.0.1:{api_port}/api/routes{path}",
                    json={"target": target},
                    headers={"Authorization": f"token {TOKEN}"},
                    timeout=5,
                )
                assert answer.status_code == 201
        except requests.ConnectionError:
            return False
        return True

    wait_for(has_routes, "the proxy takes routes")
    yield proxy
    proxy.process.kill()
    proxy.process.wait()


@pytest.fixture
def answered_with(workspace: Workspace) -> Iterator[Callable[..., None]]:
    """Return a function that sets the headers of the workspace's answers in one test."""
    yield lambda *headers: workspace.headers.extend(headers)
    workspace.headers.clear()


def test_no_body_becomes_a_request(proxy, workspace):
    framings = make_framings(b"GET /user/mallory/inner HTTP/1.1\r\nHost: localhost\r\n\r\n")
    cases = [(method, framing) for method in METHODS for framing in framings]

    def attack(number: int) -> str:
        method, framing = cases[number]
        answers = send_with_next(
            proxy.connect(),
            method,
            f"/user/mallory/outer-{number}",
            framing,
            f"/user/mallory/next-{number}",
        )
        is_right = len(answers) < 2 or (
            len(answers) == 2 and answers[1] == (200, f"/user/mallory/next-{number}".encode())
        )
        return "" if is_right else f"{method} with {framing.name}: {answers}"

    with ThreadPoolExecutor(16) as pool:
        assert list(filter(None, pool.map(attack, range(len(cases))))) == []
    # A connection to the workspace on which somebody's request is left over answers the next one
    # with it.
    assert [proxy.ask(f"/user/mallory/{number}").text for number in range(20)] == [
        f"/user/mallory/{number}" for number in range(20)
    ]
    assert [line for line in workspace.asked if "inner" in line] == []
    asked = set(workspace.asked)
    # Those that are right arrive, and what follows them does.
    for number, (method, framing) in enumerate(cases):
        if framing.name == "a length" and method != "TRACE":
            assert f"{method} /user/mallory/outer-{number}" in asked
            assert f"GET /user/mallory/next-{number}" in asked


def test_a_request_that_is_sent_after_another_is_one(proxy, workspace):
    with proxy.connect() as connection:
        connection.sendall(
            b"GET /user/mallory/one HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /user/mallory/two HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        while connection.recv(65536):
            pass
    assert set(workspace.asked[-2:]) == {"GET /user/mallory/one", "GET /user/mallory/two"}


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_a_body_arrives_whether_its_length_is_told_or_not(proxy, workspace, method):
    for body in (b"12345", iter([b"123", b"45"])):
        assert proxy.ask(method=method, data=body).status_code == 200
        assert workspace.bodies[-1] == b"12345"


def open_handshakes(
    proxy: Proxy, count: int, lines: str, path: str = "/user/mallory/"
) -> list[socket.socket]:
    """Ask for an upgrade many times, each over a connection of its own."""
    connections = []
    for _ in range(count):
        connections.append(proxy.connect())
        connections[-1].sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{lines}\r\n".encode()
        )
    return connections


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Upgrade: websocket\r\nContent-Length: 5\r\n", b" 400 "),
        ("Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", b" 400 "),
        ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", b" 200 "),
        ("Upgrade: websocket, h2c\r\n", b" 200 "),
    ],
)
def test_an_upgrade_that_is_no_websocket_is_answered_and_leaves_nothing_behind(
    proxy, wait_for, lines, status
):
    before = proxy.count_descriptors()
    for connection in open_handshakes(proxy, 100, lines):
        with connection:
            assert status in connection.recv(65536)
    # Connections to the workspace are kept for the next request.
    wait_for(lambda: proxy.count_descriptors() <= before + 5, "its descriptors are free again", 10)


def test_a_workspace_that_never_answers_a_handshake_holds_nothing_of_a_client_that_left(
    proxy, workspace, wait_for
):
    before = proxy.count_descriptors()
    connections = open_handshakes(proxy, 50, "Upgrade: websocket\r\n", "/user/mallory/silent")
    wait_for(lambda: workspace.waiting == 50, "all of them wait", 10)
    for connection in connections:
        connection.close()
    wait_for(lambda: workspace.waiting == 0, "the workspace is told", 10)
    wait_for(lambda: proxy.count_descriptors() <= before + 5, "its descriptors are free again", 10)


def test_what_a_client_does_not_read_is_not_kept_in_memory(proxy):
    before = proxy.read_kilobytes()
    slow = open_handshakes(proxy, 5, "Upgrade: websocket\r\n", "/user/mallory/large")
    quick = open_handshakes(proxy, 1, "Upgrade: websocket\r\n", "/user/mallory/large")[0]
    with quick:
        received = 0
        while part := quick.recv(1 << 20):
            received += len(part)
    # By then the others' 320 MB have had the same time.
    kept = proxy.read_kilobytes() - before
    for connection in slow:
        connection.close()
    assert received > 64 << 20
    assert kept < 150_000


def test_an_upload_may_take_as_long_as_it_takes(proxy, wait_for):
    with proxy.connect() as connection:
        connection.sendall(
            b"PUT /user/mallory/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
        )
        connection.settimeout(2)
        # Without the product's word node ends it after one second here, with status 408.
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.sendall(b"done")
        assert b" 200 " in connection.recv(65536)


@pytest.mark.parametrize(
    "path",
    [
        "/user/mallory/x",
        "/user/mallory",
        "//x/user/mallory/x",
        "/%75ser/mallory/x",
        "/hub/%2e%2e/user/mallory/x",
        "/.//user/mallory/x",
    ],
)
def test_a_workspace_says_nothing_about_the_whole_origin(proxy, workspace, answered_with, path):
    answered_with(
        *ORIGIN_WIDE.items(), *OWN.items(), ("Set-Cookie", "jupyterhub-session-id=fixed; Path=/")
    )
    with proxy.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while part := connection.recv(65536):
            head += part
    names = {
        line.partition(b":")[0].decode().lower()
        for line in head.partition(b"\r\n\r\n")[0].splitlines()
    }
    assert head.startswith(b"HTTP/1.1 200 ")
    assert names & {name.lower() for name in (*ORIGIN_WIDE, "Set-Cookie")} == set()
    assert {name.lower() for name in OWN} <= names


@pytest.mark.parametrize("path", ["/hub/x", "/services/site/x"])
def test_the_hub_and_the_sites_services_say_what_they_want(proxy, answered_with, path):
    answered_with(*ORIGIN_WIDE.items(), ("Set-Cookie", "jupyterhub-session-id=new; Path=/"))
    headers = proxy.ask(path).headers
    assert {name.lower() for name in ORIGIN_WIDE} <= {name.lower() for name in headers}
    assert headers["Set-Cookie"] == "jupyterhub-session-id=new; Path=/"


@pytest.mark.parametrize(("cookie", "kept"), COOKIES)
def test_a_workspace_sets_cookies_for_its_persons_paths_alone(proxy, answered_with, cookie, kept):
    answered_with(("Set-Cookie", cookie), ("Set-Cookie", "last=1; Path=/user/mallory/"))
    found = proxy.ask("/user/mallory/x").raw.headers.getlist("set-cookie")
    assert [" ".join(one.split()) for one in found] == [
        *([kept] if kept else []),
        "last=1; Path=/user/mallory/",
    ]


def test_a_name_with_signs_is_spelled_in_a_cookie_as_jupyterhub_does(proxy, answered_with):
    answered_with(("Set-Cookie", "a=b; Path=/"), ("Set-Cookie", "c=d; Path=/user/a%40b/"))
    assert proxy.ask("/user/a%40b/x").raw.headers.getlist("set-cookie") == [
        "a=b; Path=/user/a@b/",
        "c=d; Path=/user/a%40b/",
    ]


def test_an_answer_that_grants_no_websocket_is_held_to_the_same(proxy, answered_with):
    answered_with(*ORIGIN_WIDE.items(), ("Set-Cookie", "a=b; Path=/"))
    (connection,) = open_handshakes(proxy, 1, "Upgrade: websocket\r\n")
    with connection:
        answer = connection.recv(65536).lower()
    assert b"set-cookie: a=b; path=/user/mallory/\r\n" in answer
    assert not [name for name in ORIGIN_WIDE if name.lower().encode() in answer]
