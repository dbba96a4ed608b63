"""Thousands of open connections, silent ones among them, leave room for the next person, and those
of one address for everybody else.
"""

from __future__ import annotations

import http.client
import resource
import socket
import time

import pytest

COUNT = 3000


@pytest.fixture(autouse=True, scope="module")
def enough_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def median_answer_seconds(hub, rounds: int = 15) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        status, _, _ = hub.request("GET", "/hub/health", headers={})
        assert status == 200
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[rounds // 2]


def open_connections(hub, first_words: bytes) -> list[socket.socket]:
    connections = []
    for _ in range(COUNT):
        connection = socket.create_connection(("127.0.0.1", hub.port), timeout=10)
        if first_words:
            connection.sendall(first_words)
        connections.append(connection)
    return connections


@pytest.mark.parametrize(
    ("kind", "first_words"),
    [
        ("answered and kept open", b"GET /.mlhub/health HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("stuck in the middle of a request", b"GET /hub/health HTTP/1.1\r\nHost: x\r\nX-Slow:"),
        ("silent", b""),
    ],
)
def test_three_thousand_connections_leave_room_for_the_next(hub, kind, first_words):
    idle = median_answer_seconds(hub)
    connections = open_connections(hub, first_words)
    try:
        if kind.startswith("answered"):
            for connection in connections:
                assert connection.recv(100).startswith(b"HTTP/1.1 204")
        busy = median_answer_seconds(hub)
    finally:
        for connection in connections:
            connection.close()
    # A ratio with room for a noisy machine; the original served 127 connections and then nobody.
    assert busy < 20 * idle + 0.2


def test_a_thousand_requests_at_once_are_all_answered(hub):
    """Through nginx: it hands each to the hub, whose socket must queue them."""
    connections = []
    for _ in range(1500):
        connection = socket.create_connection(("127.0.0.1", hub.port), timeout=60)
        connection.sendall(b"GET /hub/health HTTP/1.1\r\nHost: x\r\nX-Held:")
        connections.append(connection)
    for connection in connections:
        connection.sendall(b" back\r\nConnection: close\r\n\r\n")
    statuses = set()
    for connection in connections:
        statuses.add(connection.recv(12))
        connection.close()
    assert statuses == {b"HTTP/1.1 200"}


INSIDE = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/.mlhub/health').status)"
)


def test_one_address_leaves_half_of_all_connections_to_others(make_brief_hub):
    proxy = make_brief_hub(
        socket=False,
        arguments=("--ulimit", "nofile=1280:1280"),  # room for 1024 connections
        START_JHUB="false",
        START_SSH="false",
        MLHUB_ROUTER="true",
        CONFIGPROXY_AUTH_TOKEN="token-between-hub-and-proxy",
    )
    opened = [socket.create_connection((proxy.host, proxy.port), timeout=10) for _ in range(600)]
    answered = sum(is_answered(connection) for connection in opened)
    assert 500 < answered <= 512
    assert proxy.exec("python3", "-c", INSIDE) == "204"
    for connection in opened:
        connection.close()
    health = "/.mlhub/health"
    proxy.wait_for(lambda: ask_gently(proxy, health) == 204, "the address has room again", 10)


def is_answered(connection: socket.socket) -> bool:
    """Ask over a connection; return False where it was closed."""
    try:
        connection.sendall(b"GET /.mlhub/health HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(100).startswith(b"HTTP/1.1 204")
    except ConnectionError:
        return False


def ask_gently(hub, path: str) -> int:
    """Return the status of an answer, 0 where there is none."""
    try:
        return hub.request("GET", path, headers={})[0]
    except (OSError, http.client.HTTPException):
        return 0
