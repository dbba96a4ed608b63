"""The one port against requests and answers that mean harm: through nginx, with TLS and without, to
the hub and to workspaces; and once more through configurable-http-proxy.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests

from tests.support.framings import METHODS, make_framings, read_answer, send_with_next
from tests.support.hub_container import Hub, HubMaker, find_bridge_gateway
from tests.support.wire import Echo, list_processes

SCHEMES = pytest.mark.parametrize(
    "fixture", ["hub", "tls_hub", pytest.param("chp_hub", marks=pytest.mark.full)]
)


@pytest.fixture(scope="module")
def hub(hub: Hub) -> Hub:
    """Return the shared hub, where mallory has a workspace."""
    hub.start_workspace("mallory")
    return hub


@pytest.fixture(scope="module")
def tls_hub(tls_hub: Hub) -> Hub:
    """Return the same over HTTPS."""
    tls_hub.start_workspace("mallory")
    return tls_hub


@pytest.fixture(scope="module")
def chp_hub(make_hub: HubMaker) -> Hub:
    """Return the same with configurable-http-proxy behind nginx."""
    hub = make_hub(START_CHP="true")
    hub.start_workspace("mallory")
    return hub


def connect(hub: Hub) -> socket.socket:
    """Open a connection to the one port."""
    connection = socket.create_connection((hub.host, hub.port), timeout=20)
    if hub.scheme == "http":
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def pick_methods(hub: Hub) -> tuple[str, ...]:
    """Return the methods to try: behind TLS those between which the proxy has ever made a
    difference.
    """
    return METHODS if hub.scheme == "http" else ("GET", "POST", "DELETE", "OPTIONS")


def read_seen(hub: Hub) -> list[str]:
    """Return the first lines of what mallory's workspace was asked."""
    return json.loads(hub.request("GET", "/user/mallory/seen")[2])


def list_people(hub: Hub) -> set[str]:
    return {user["name"] for user in hub.api("GET", "users")}


def count_descriptors(hub: Hub, account: str) -> int:
    """Return how many descriptors the program has that runs under this account."""
    start, word = {"edge": ("nginx", "worker process"), "hub": ("python", "mlhub.hub")}[account]
    folders = [
        f"/proc/{entry['pid']}/fd"
        for entry in list_processes(hub)
        if word in entry["command"] and entry["command"].startswith(start)
    ]
    return len(hub.exec("ls", *folders, user=account).split())


@pytest.fixture
def descriptors_come_back(hub: Hub) -> Iterator[None]:
    """Check that hub and nginx have no more descriptors some time after a test than before it, but
    for kept connections.
    """
    before = {account: count_descriptors(hub, account) for account in ("edge", "hub")}
    yield

    def are_back() -> bool:
        return all(
            count_descriptors(hub, account) <= number + 40 for account, number in before.items()
        )

    hub.wait_for(are_back, f"descriptors come back to {before}", 30, 0.5)


@SCHEMES
def test_no_body_becomes_a_request_to_the_hub(fixture, request):
    hub = request.getfixturevalue(fixture)
    token = f"Authorization: {hub.headers['Authorization']}"
    framings = make_framings(
        (
            f"POST /hub/api/users/inner HTTP/1.1\r\nHost: x\r\n{token}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
    )
    cases = [(method, framing) for method in pick_methods(hub) for framing in framings]

    def attack(case) -> str:
        method, framing = case
        answers = send_with_next(connect(hub), method, "/hub/api/", framing, "/hub/api/")
        is_right = len(answers) < 2 or (
            len(answers) == 2 and answers[1][0] == 200 and b'{"version":' in answers[1][1]
        )
        return "" if is_right else f"{method} with {framing.name}: {answers}"

    with ThreadPoolExecutor(16) as pool:
        assert list(filter(None, pool.map(attack, cases))) == []
        # A connection on which somebody's request is left over would answer one of these with it.
        assert {
            status for status, *_ in pool.map(lambda _: hub.request("GET", "/hub/api/"), range(50))
        } == {200}
    assert "inner" not in list_people(hub)


@SCHEMES
def test_no_body_becomes_a_request_to_a_workspace(fixture, request):
    hub = request.getfixturevalue(fixture)
    framings = make_framings(b"GET /user/mallory/inner HTTP/1.1\r\nHost: x\r\n\r\n")
    cases = [(method, framing) for method in pick_methods(hub) for framing in framings]

    def attack(number: int) -> str:
        method, framing = cases[number]
        following = f"/user/mallory/next-{number}"
        answers = send_with_next(
            connect(hub), method, f"/user/mallory/outer-{number}", framing, following
        )
        is_right = len(answers) < 2 or (
            len(answers) == 2 and json.loads(answers[1][1])["path"] == following
        )
        return "" if is_right else f"{method} with {framing.name}: {answers}"

    with ThreadPoolExecutor(16) as pool:
        assert list(filter(None, pool.map(attack, range(len(cases))))) == []
        paths = [f"/user/mallory/{number}" for number in range(50)]
        assert [
            json.loads(answer[2])["path"]
            for answer in pool.map(lambda path: hub.request("GET", path), paths)
        ] == paths
    seen = set(read_seen(hub))
    assert [line for line in seen if "inner" in line] == []
    # What is right arrives, and so does what follows it.
    for number, (method, framing) in enumerate(cases):
        if framing.name == "a length" and method != "TRACE":
            assert {
                f"{method} /user/mallory/outer-{number} HTTP/1.1",
                f"GET /user/mallory/next-{number} HTTP/1.1",
            } <= seen


def test_a_request_that_follows_another_is_one(hub):
    with connect(hub) as connection:
        for path in ("first", "second"):
            last = "Connection: close\r\n" if path == "second" else ""
            connection.sendall(
                f"GET /user/mallory/{path} HTTP/1.1\r\nHost: x\r\n{last}\r\n".encode()
            )
        while connection.recv(65536):
            pass
    assert {"GET /user/mallory/first HTTP/1.1", "GET /user/mallory/second HTTP/1.1"} <= set(
        read_seen(hub)
    )


@pytest.mark.usefixtures("descriptors_come_back")
@pytest.mark.parametrize("path", ["/hub/health", "/user/mallory/x"])
def test_an_upgrade_with_a_body_is_an_ordinary_request_and_leaves_nothing_behind(hub, path):
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nContent-Length: 5\r\n\r\n"
    )

    def leave(with_body: bool) -> bytes:
        with connect(hub) as connection:
            connection.sendall(head.encode() + (b"12345" if with_body else b""))
            return connection.recv(65536) if with_body else b""

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, [False] * 300))
        assert {answer[:13] for answer in pool.map(leave, [True] * 20)} == {b"HTTP/1.1 200 "}


@pytest.mark.usefixtures("descriptors_come_back")
@pytest.mark.parametrize("path", ["/%ff", "//"])
def test_a_handshake_that_leads_nowhere_is_ended_and_holds_up_nobody_behind_it(hub, path):
    lines = ("Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"

    def shake(_: int) -> bytes:
        with connect(hub) as connection:
            connection.sendall(request.encode())
            return connection.recv(65536)[:10]

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(shake, range(100))) <= {b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 3"}
        # Whoever comes next over the connections that nginx has kept.
        ask = lambda _: hub.request("GET", "/hub/health", headers={}, timeout=5)[0]  # noqa: E731
        assert set(pool.map(ask, range(100))) == {200}


def test_the_hubs_address_without_its_slash_leads_on_wherever_people_come_from(hub):
    status, headers, _ = hub.request("GET", "/hub", headers={})
    assert status in (301, 302)
    assert headers["location"].startswith("/hub/")


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket, h2c"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upgrade_to_anything_else_gets_an_ordinary_answer(hub, protocol, method):
    headers = {
        **hub.headers,
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": protocol,
        "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
    }
    status, _, body = hub.request(
        method, "/user/mallory/x", b"data" if method == "POST" else None, headers
    )
    assert status == 200
    assert "upgrade" not in json.loads(body)["headers"]


@SCHEMES
def test_a_websocket_goes_through(fixture, request):
    hub = request.getfixturevalue(fixture)
    echo = Echo(hub.port, "/user/mallory/socket", tls=hub.scheme == "https")
    assert echo.ask("hello") == "hello"
    echo.close()


def keep_answer(hub: Hub, name: str, headers: dict[str, str], body: str = "its own") -> str:
    """Let mallory's workspace answer so; return the path."""
    path = f"/user/mallory/kept/{name}"
    assert hub.request("PUT", path, {"headers": headers, "body": body})[0] == 200
    return path


ORIGIN_WIDE = {
    "Service-Worker-Allowed": "/",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Clear-Site-Data": '"cookies"',
    "Strict-Transport-Security": "max-age=99999999; includeSubDomains",
    "Origin-Agent-Cluster": "?1",
}


@SCHEMES
def test_a_workspace_says_nothing_about_the_whole_origin(fixture, request):
    hub = request.getfixturevalue(fixture)
    path = keep_answer(
        hub, "origin", {**ORIGIN_WIDE, "X-Own": "1", "Content-Type": "text/javascript"}
    )
    status, headers, body = hub.request("GET", path)
    assert (status, body, headers["x-own"], headers["content-type"]) == (
        200,
        b"its own",
        "1",
        "text/javascript",
    )
    assert [name for name in ORIGIN_WIDE if name.lower() in headers] == []


@pytest.mark.parametrize(
    "cookie", ["jupyterhub-session-id=fixed; Path=/", "_xsrf=known; Path=/hub/"]
)
def test_a_workspace_sets_no_cookie_that_the_hub_gets(hub, cookie):
    path = keep_answer(hub, "cookie", {"Set-Cookie": cookie})
    visitor = requests.Session()
    assert visitor.get(hub.url + path, timeout=20).text == "its own"
    assert {one.path for one in visitor.cookies} <= {"/user/mallory/"}
    assert "jupyterhub-session-id" not in visitor.cookies


@pytest.mark.parametrize("address", ["/hub/login", "/.mlhub/502.html"])
def test_a_workspace_gives_nginx_no_orders(hub, address):
    path = keep_answer(hub, "orders", {"X-Accel-Redirect": address, "Content-Type": "text/plain"})
    status, found, body = hub.request("GET", path)
    assert (status, body, found["content-type"]) == (200, b"its own", "text/plain")


@SCHEMES
def test_the_hubs_own_pages_take_small_bodies_only(fixture, request):
    hub = request.getfixturevalue(fixture)
    for path in ("/hub/api/users", "/hub/spawn", "/hub/nothing"):
        status, headers, body = hub.request("POST", path, b"x" * (2 << 20))
        assert (status, headers["content-type"], b"at most 1 MB at a time" in body) == (
            413,
            "text/html",
            True,
        )
        assert "retry-after" not in headers
    # As large as what creates twenty thousand people.
    status, _, body = hub.request(
        "POST", "/hub/api/users", {"usernames": ["large"], "nonsense": "x" * 900_000}
    )
    assert (status, b"Invalid JSON keys" in body) == (400, True)
    assert hub.request("POST", "/user/mallory/upload", b"x" * (2 << 20))[0] == 200


def test_a_body_that_is_far_too_large_is_told_so_and_not_read(hub):
    head = b"POST /hub/spawn HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    with connect(hub) as connection:
        connection.sendall(head)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 1 MB at a time" in answer
    sent = 0
    with connect(hub) as connection, suppress(OSError):
        connection.sendall(head)
        while sent < 100_000_000:
            sent += connection.send(bytes(65536))
    # What buffers on the way take, and no more.
    assert sent < 60_000_000


def peek(connection: socket.socket) -> bytes | None:
    """Return how the answer begins, nothing where the connection was closed without one, and None
    while there is neither.
    """
    connection.setblocking(False)  # with a time of its own it would wait for that
    try:
        return connection.recv(20, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""


def test_bodies_that_stall_are_few_and_end_and_do_not_reach_the_hub(hub):
    before = count_descriptors(hub, "hub")
    stalled = []
    for _ in range(600):
        stalled.append(connect(hub))
        last_sent = time.monotonic()
        stalled[-1].sendall(
            b"POST /hub/api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"
        )
    hub.wait_for(
        lambda: sum(peek(one) is None for one in stalled) <= 500, "no more than 500 are held", 10
    )
    # Who is refused waits for it, and so asks again no oftener than once a second.
    hub.wait_for(lambda: peek(stalled[-1]) is not None, "the last one is answered", 10)
    assert time.monotonic() - last_sent > 0.9
    refused = next(one for one in stalled if b" 429 " in (peek(one) or b""))
    refused.settimeout(10)
    with refused.makefile("rb") as file:
        assert b"Too many requests come in at this moment" in read_answer(file, "POST")[1]
    assert count_descriptors(hub, "hub") <= before + 20
    # Who sends no body comes in, from the same address, too.
    assert hub.request("GET", "/hub/login", headers={})[0] == 200
    hub.wait_for(
        lambda: all(peek(one) is not None for one in stalled),
        "those that stall are closed",
        25,
        0.5,
    )
    for connection in stalled:
        connection.close()


@pytest.mark.full
def test_bodies_of_many_addresses_together_have_an_end_too(make_brief_hub):
    hub = make_brief_hub(MLHUB_TRUSTED_PROXIES=f"{find_bridge_gateway()}/32")
    head = "POST /hub/api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
    stalled = []
    try:
        for number in range(2200):
            stalled.append(connect(hub))
            client = f"X-Forwarded-For: 203.0.113.{number % 5}\r\n\r\n{{"
            stalled[-1].sendall(f"{head}{client}".encode())
            if number % 100 == 0:  # those of before stay under way, however slow this is
                for each in stalled[:number]:
                    if peek(each) is None:
                        each.sendall(b" ")
        hub.wait_for(
            lambda: sum(b" 429 " in (peek(one) or b"") for one in stalled) >= 200,
            "200 of them are refused",
            10,
        )
        # Who sends no body comes in, from one of these addresses, too.
        assert hub.request("GET", "/hub/login", headers={})[0] == 200
    finally:
        for connection in stalled:
            connection.close()
    hub.wait_for(
        lambda: hub.request("POST", "/hub/api/users/ann", b"")[0] in (201, 409), "there is room", 20
    )


def test_a_school_behind_one_address_comes_in_at_once(hub):
    with ThreadPoolExecutor(300) as pool:
        answers = list(pool.map(lambda _: hub.request("POST", "/hub/api/", {}), range(300)))
    # The hub's own answer: it has no such method there.
    assert {status for status, *_ in answers} == {405}


@SCHEMES
@pytest.mark.parametrize("path", ["/hub/login", "/user/mallory/x"])
def test_headers_may_be_large_and_one_that_is_too_large_is_told_what_to_do(fixture, request, path):
    hub = request.getfixturevalue(fixture)
    long = f"{path}?next={'x' * 3000}"
    for size in (14_000, 30_000):
        status, _, _ = hub.request("GET", long, headers={"Cookie": "c=" + "x" * size})
        assert status == 200
    many = {f"X-Large-{number}": "x" * 30_000 for number in range(4)}
    assert hub.request("GET", path, headers=many)[0] == 200
    for large in ({"Cookie": "c=" + "x" * 40_000}, {**many, "X-One-More": "x" * 12_000}):
        status, _, body = hub.request("GET", long, headers=large)
        assert (status, b"cookies in your browser" in body) == (431, True)


@pytest.mark.parametrize(
    ("request_line", "status", "sentence"),
    [
        ("GET /hub/login?x=" + "x" * 40_000 + " HTTP/1.1", 414, "Shorten it"),
        ("GET /hub/login HTTP/x", 400, "no request that the hub can read"),
    ],
    ids=["a long address", "no request"],
)
def test_what_is_no_request_gets_a_page_of_ours(hub, request_line, status, sentence):
    with connect(hub) as connection:
        connection.sendall(f"{request_line}\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert sentence.encode() in answer
    assert b"Retry-After" not in answer
