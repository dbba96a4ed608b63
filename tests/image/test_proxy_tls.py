"""nginx as the proxy over HTTPS: uploads by HTTP/2, workspaces that answer raw bytes, and a new
certificate or a reload while all kinds of clients are there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.certificates import HalfHello, make_pair, read_serial, serial_of, serves
from tests.support.framings import RAW_ANSWERS, ask_twice, make_framings, send_with_next
from tests.support.front import list_files, reload_nginx
from tests.support.http2 import Http2
from tests.support.hub_container import Hub, docker
from tests.support.proxied import Proxy, running_servers, saying
from tests.support.wire import Echo

TOKEN = "token-between-hub-and-proxy"
ROLE = {"START_SSH": "false", "START_JHUB": "false", "MLHUB_ROUTER": "true"}
PAUSE = threading.Event()  # never set
SIZE = 100 << 20
# So many of each of four kinds.
CROWDS = pytest.mark.parametrize("each", [5, pytest.param(50, marks=pytest.mark.full)])
# So long nginx waits for the rest of a hello, or of a request's head.
PATIENCE_SECONDS = 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the site's own certificate is, and beside it one for other names."""
    folder = make_pair(tmp_path_factory.mktemp("own") / "ssl")
    put_lab(folder)
    return folder


def put_lab(folder: Path) -> Path:
    """Lay a new certificate for *.lab.test there, with its key in one file; return its pair."""
    pair = make_pair(folder.parent / f"lab-{time.monotonic()}", name="*.lab.test")
    both = (pair / "cert.key").read_bytes() + (pair / "cert.crt").read_bytes()
    (folder / "lab.pem").write_bytes(both)
    return pair


@pytest.fixture(scope="module")
def container(make_hub, folder: Path) -> Hub:
    """Return a container with nginx as the proxy of a hub elsewhere."""
    return make_hub(
        socket=False,
        mounts=(f"{folder}:/resources/ssl:ro",),
        arguments=("--publish", "127.0.0.1::8001"),
        SSL_ENABLED="true",
        CONFIGPROXY_AUTH_TOKEN=TOKEN,
        **ROLE,
    )


@pytest.fixture(scope="module")
def gateway(container: Hub) -> str:
    """Return this machine's address as the container reaches it."""
    place = "{{.NetworkSettings.Networks.bridge.Gateway}}"
    return docker("inspect", "--format", place, container.name)


@pytest.fixture(scope="module")
def proxy(container: Hub, gateway: str) -> Iterator[Proxy]:
    """Return the proxy, with ann's workspace behind it."""
    address = docker("port", container.name, "8001/tcp").splitlines()[0]
    proxy = Proxy(container.url, f"http://{address}", TOKEN)
    with running_servers(gateway, "ann") as (server,):
        proxy.add("/user/ann", server)
        yield proxy


def connect(container: Hub) -> ssl.SSLSocket:
    """Open a connection for HTTP/1.1."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection((container.host, container.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="mlhub.test")


def read_upload(container: Hub, path: str) -> dict[str, Any]:
    """Return what ann's workspace says of an upload."""
    return dict(json.loads(container.request("GET", path)[2]))


@pytest.mark.parametrize("has_length", [True, False], ids=["of a length", "of no length"])
@pytest.mark.usefixtures("proxy")
def test_an_upload_over_http2_arrives_while_it_is_sent(container, has_length, wait_for):
    path, body = f"/user/ann/{has_length}/upload", bytes(range(256)) * (64 << 12)
    lengths = [("content-length", str(len(body)))] if has_length else []
    first = 1 << 20
    with Http2(container.host, container.port) as connection:
        connection.begin("POST", path, lengths)
        assert connection.send(body[:first]) == first
        # All of it is there before the rest is sent.
        wait_for(lambda: read_upload(container, path).get("size") == first, "a piece arrives", 20)
        assert connection.send(body[first:], is_last=True) == len(body) - first
        status, answer = connection.read_answer()
    assert (status, answer.decode()) == (200, hashlib.sha256(body).hexdigest())
    found = read_upload(container, path)
    assert found == {"size": 64 << 20, "ended": "whole", "length": found["length"]}
    assert found["length"] == (str(64 << 20) if has_length else None)


def test_over_http2_what_a_workspace_does_not_take_is_not_taken_and_touches_no_disk(
    container, proxy, gateway
):
    with (
        saying(gateway, b"", hangs_up=False) as deaf,
        Http2(container.host, container.port) as connection,
    ):
        proxy.add("/user/deaf", deaf)
        connection.begin("POST", "/user/deaf/x", [("content-length", str(SIZE))])
        connection.connection.settimeout(2)
        assert connection.send(bytes(SIZE)) < SIZE // 2
        assert list_files(container) == []


@pytest.mark.parametrize("leaves", [True, False], ids=["by leaving", "by a reset"])
@pytest.mark.parametrize("has_length", [True, False], ids=["of a length", "of no length"])
@pytest.mark.usefixtures("proxy")
def test_an_upload_over_http2_that_is_cut_off_is_no_whole_one(
    container, has_length, leaves, wait_for
):
    path = f"/user/ann/{has_length}-{leaves}/upload"
    lengths = [("content-length", "2000000")] if has_length else []
    with Http2(container.host, container.port) as connection:
        connection.begin("POST", path, lengths)
        assert connection.send(bytes(1_000_000)) == 1_000_000
        wait_for(lambda: read_upload(container, path).get("size"), "it has begun", 20)
        if not leaves:
            connection.reset()
            # The connection goes on.
            assert connection.ask("GET", "/user/ann/x")[0] == 200
    wait_for(lambda: read_upload(container, path)["ended"], "the workspace is told", 20)
    assert read_upload(container, path)["ended"] == "cut off"


@pytest.mark.full
@pytest.mark.usefixtures("proxy")
def test_an_upload_over_http2_may_take_longer_than_five_minutes(container):
    path = "/user/ann/slow/upload"
    with Http2(container.host, container.port) as connection:
        connection.begin("POST", path)
        for _ in range(31):
            assert connection.send(b"x") == 1
            PAUSE.wait(10)
        connection.send(b"x", is_last=True)
        assert connection.read_answer()[0] == 200
    assert read_upload(container, path)["size"] == 32


def test_a_workspace_that_answers_raw_bytes_answers_for_nobody_else(container, proxy, gateway):
    def attack(name: str, said: str, method: str) -> str:
        spec = f"/user/mallory-{method.lower()}-{quote(name)}"
        with saying(gateway, said.encode()) as url:
            proxy.add(spec, url)
            wrong = ask_twice(connect(container), method, spec, "/user/ann/next")
            with Http2(container.host, container.port) as connection:
                first = connection.ask(method, spec)
                second = connection.ask("GET", "/user/ann/next")
            if second[0] != 200 or json.loads(second[1])["path"] != "/user/ann/next":
                wrong += f" over HTTP/2 {first} {second}"
        return f"{method} {name}: {wrong}" if wrong else ""

    cases = [(*one, method) for one in RAW_ANSWERS.items() for method in ("GET", "POST")]
    with ThreadPoolExecutor(8) as pool:
        assert list(filter(None, pool.map(lambda case: attack(*case), cases))) == []


@pytest.mark.parametrize("name", ["one more answer", "nothing, and one", "chunks, and one"])
def test_no_body_becomes_a_request_at_a_workspace_that_answers_raw_bytes(
    container, proxy, gateway, name
):
    heard: list[bytes] = []
    framings = make_framings(b"GET /user/ann/inner HTTP/1.1\r\nHost: x\r\n\r\n")
    cases = [(method, framing) for method in ("GET", "POST", "DELETE") for framing in framings]
    with saying(gateway, RAW_ANSWERS[name].encode(), heard) as url:
        proxy.add("/user/mallory", url)

        def attack(case) -> str:
            method, framing = case
            following = "/user/ann/next"
            answers = send_with_next(
                connect(container), method, "/user/mallory/x", framing, following
            )
            is_right = len(answers) < 2 or (
                len(answers) == 2 and json.loads(answers[1][1])["path"] == following
            )
            return "" if is_right else f"{method} with {framing.name}: {answers}"

        with ThreadPoolExecutor(16) as pool:
            assert list(filter(None, pool.map(attack, cases))) == []
    assert {one.partition(b" ")[0] for one in heard} == {b"GET", b"POST", b"DELETE"}
    assert [one for one in heard if one.startswith(b"GET /user/ann/inner")] == []


@dataclass
class Crowd:
    """Clients of every kind, each in the middle of something."""

    echoes: list[Echo]
    uploads: list[ssl.SSLSocket]
    asking: list[ssl.SSLSocket]
    halves: list[HalfHello]
    began: float

    @classmethod
    def gather(cls, container: Hub, each: int) -> Crowd:
        """Let them come; those whom nginx does not wait for long come last."""

        def begin(words: str) -> ssl.SSLSocket:
            connection = connect(container)
            connection.sendall(words.encode())
            return connection

        echoes = [Echo(container.port, "/user/ann/socket", tls=True) for _ in range(each)]
        head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"
        uploads = [
            begin(f"POST /user/ann/{number}/upload {head}0123456789") for number in range(each)
        ]
        began = time.monotonic()
        half_head = "GET /user/ann/asked HTTP/1.1\r\nHost: x\r\nConn"
        asking = [begin(half_head) for _ in range(each)]
        return cls(echoes, uploads, asking, [HalfHello(container) for _ in range(each)], began)

    def finish(self) -> list[int]:
        """Let them go on; return the certificates that those with half a hello are shown.

        On a machine that is too busy nobody can tell a client that was cut off from one that nginx
        has waited for long enough.
        """
        is_in_time = time.monotonic() - self.began < PATIENCE_SECONDS / 2
        asking, halves = (self.asking, self.halves) if is_in_time else ([], [])
        for one in asking:
            one.sendall(b"ection: close\r\n\r\n")
        serials = [half.finish() for half in halves]
        assert all(echo.ask("still there") == "still there" for echo in self.echoes)
        for one in self.uploads:
            one.sendall(b"0123456789")
        for one in (*asking, *self.uploads):
            with one.makefile("rb") as file:
                assert file.readline().startswith(b"HTTP/1.1 200 ")
        for one in (*self.asking, *self.uploads, *self.echoes):
            one.close()
        return serials


def change_certificate(container: Hub, folder: Path, wait_for: Callable[..., object]) -> None:
    """Exchange the pair, and wait until every worker serves the new one."""
    fresh = make_pair(folder.parent / f"fresh-{time.monotonic()}")
    for name in ("cert.key", "cert.crt"):
        shutil.copyfile(fresh / name, folder / name)
    wait_for(lambda: serves(container, fresh), "the new certificate is served", 20)
    wait_for(lambda: all(serves(container, fresh) for _ in range(10)), "by every worker", 10)


@pytest.mark.usefixtures("proxy")
def test_each_name_is_shown_its_certificate_and_any_other_name_the_first(
    container, folder, wait_for
):
    lab = put_lab(folder)
    wait_for(
        lambda: all(read_serial(container, "ann.lab.test") == serial_of(lab) for _ in range(10)),
        "the new one is shown",
        20,
    )
    assert read_serial(container, "BEN.Lab.Test") == serial_of(lab)
    for name in ("mlhub.test", "stranger.test", "lab.test", "a.b.lab.test", None):
        assert read_serial(container, name) == serial_of(folder), name


@CROWDS
@pytest.mark.usefixtures("proxy")
def test_no_client_notices_anything_of_a_new_certificate(container, folder, wait_for, each):
    crowd = Crowd.gather(container, each)
    change_certificate(container, folder, wait_for)
    assert set(crowd.finish()) <= {serial_of(folder)}


@CROWDS
@pytest.mark.usefixtures("proxy")
def test_no_client_notices_anything_of_a_reload(container, folder, wait_for, each):
    crowd = Crowd.gather(container, each)
    reload_nginx(container, wait_for)
    assert set(crowd.finish()) <= {serial_of(folder)}
