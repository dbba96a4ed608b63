"""What the one port does beside leading on: lighter answers, HTTP/2, numbers."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from tests.support.http2 import EXTENDED_CONNECT, Http2
from tests.support.hub_container import TOKEN, Hub
from tests.support.wire import Echo

SCHEMES = pytest.mark.parametrize("fixture", ["hub", "tls_hub"])
GZIP = {"Accept-Encoding": "gzip, deflate, br"}
BODY = "a word, and the same word again; " * 200
LIGHT = (
    "text/css",
    "text/javascript; charset=utf-8",
    "application/javascript",
    "application/json",
    "image/svg+xml",
    "font/ttf",
    "application/vnd.ms-fontobject",
)
# Pages, streams, and what is compressed already.
HEAVY = (
    "text/html",
    "text/html; charset=utf-8",
    "TEXT/HTML",
    "text/event-stream",
    "application/x-ndjson",
    "application/octet-stream",
    "font/woff2",
    "image/png",
)


@pytest.fixture
def at(fixture: str, request: pytest.FixtureRequest) -> Hub:
    """Return the shared hub of that name, where trudy has a workspace."""
    hub = request.getfixturevalue(fixture)
    hub.start_workspace("trudy")
    return hub


@pytest.fixture
def secure(tls_hub: Hub) -> Hub:
    """Return the one over HTTPS."""
    tls_hub.start_workspace("trudy")
    return tls_hub


def keep_answer(hub: Hub, kind: str) -> str:
    """Let trudy's workspace answer with this type; return the path."""
    path = "/user/trudy/kept/" + re.sub(r"\W", "-", kind)
    assert hub.request("PUT", path, {"headers": {"Content-Type": kind}, "body": BODY})[0] == 200
    return path


@SCHEMES
def test_what_gets_lighter_is_compressed_and_neither_pages_nor_streams_are(at):
    found = {}
    for kind in (*LIGHT, *HEAVY):
        path = keep_answer(at, kind)
        status, headers, body = at.request("GET", path, headers={**at.headers, **GZIP})
        assert status == 200
        found[kind] = headers.get("content-encoding")
        assert (gzip.decompress(body) if found[kind] else body).decode() == BODY
        # Who does not ask for it gets it as it is.
        assert at.request("GET", path)[2].decode() == BODY
    assert found == {**dict.fromkeys(LIGHT, "gzip"), **dict.fromkeys(HEAVY)}


@SCHEMES
def test_what_answers_a_change_may_hold_a_new_secret_and_is_not_compressed(at):
    path = keep_answer(at, "application/json")
    status, headers, body = at.request("POST", path, b"", headers={**at.headers, **GZIP})
    assert (status, "content-encoding" in headers, body.decode()) == (200, False, BODY)


@SCHEMES
def test_the_hubs_scripts_are_compressed_and_kept_and_its_pages_are_neither(at):
    _, headers, page = at.request("GET", "/hub/login", headers=GZIP)
    assert "content-encoding" not in headers
    assert headers["cache-control"] == "no-store"
    (style,) = re.findall(r'href="(/hub/static/css/[^"]+)"', page.decode())
    _, headers, body = at.request("GET", style, headers=GZIP)
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert "max-age=315360000" in headers["cache-control"]
    assert len(body) < 50_000 < len(gzip.decompress(body))


def test_browsers_are_offered_http2_and_no_websocket_over_it(secure):
    with Http2(secure.host, secure.port) as connection:
        status, page = connection.ask("GET", "/hub/login")
        assert (status, b"Sign in" in page) == (200, True)
        assert connection.ask("GET", "/hub/health")[0] == 200
        assert EXTENDED_CONNECT not in connection.settings
    with Http2(secure.host, secure.port) as connection:
        extended = [(":protocol", "websocket")]
        assert connection.ask("CONNECT", "/user/trudy/socket", headers=extended)[0] in (0, 400, 405)
    echo = Echo(secure.port, "/user/trudy/socket", tls=True)
    assert echo.ask("over HTTP/1.1") == "over HTTP/1.1"
    echo.close()


def test_over_http2_an_upgrade_is_an_ordinary_request(secure):
    headers = [*secure.headers.items(), ("upgrade", "websocket"), ("sec-websocket-key", "x")]
    with Http2(secure.host, secure.port) as connection:
        status, body = connection.ask("GET", "/user/trudy/x", headers=lower(headers))
    assert (status in (200, 400), b'"upgrade"' in body) == (True, False)


INNER = b"GET /user/trudy/inner HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_over_http2_no_body_becomes_a_request(secure, method):
    cases: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
        "no length": (INNER, []),
        "its length": (INNER, [("content-length", str(len(INNER)))]),
        "a smaller length": (INNER, [("content-length", "1")]),
        "no length at all": (INNER, [("content-length", "0")]),
        "chunks": (CHUNKS, [("transfer-encoding", "chunked")]),
        "chunks and a length": (
            CHUNKS,
            [("transfer-encoding", "chunked"), ("content-length", str(len(CHUNKS)))],
        ),
        "a line in a header": (INNER, [("x-own", "1\r\ncontent-length: 0")]),
        "a line in a name": (INNER, [("x-own: 1\r\ncontent-length", "0")]),
    }
    given = lower(secure.headers.items())
    for name, (body, headers) in cases.items():
        path = f"/user/trudy/{method}-{name.replace(' ', '-')}"
        with Http2(secure.host, secure.port) as connection:
            status, _ = connection.ask(method, path, body, [*given, *headers])
        assert status in (0, 200, 400), (name, status)
        if name == "its length":
            assert status == 200
    for number in range(20):
        path = f"/user/trudy/next-{number}"
        assert json.loads(secure.request("GET", path)[2])["path"] == path
    seen = json.loads(secure.request("GET", "/user/trudy/seen")[2])
    assert [line for line in seen if "inner" in line] == []
    assert f"{method} /user/trudy/{method}-its-length HTTP/1.1" in seen


def test_over_http2_no_address_and_no_method_is_two_lines(secure):
    for method, path in (
        ("GET", "/user/trudy/a HTTP/1.1\r\nX-Own: 1"),
        ("GET /user/trudy/b HTTP/1.1\r\nX: ", "/user/trudy/c"),
        ("GET", "/user/trudy/d e"),
    ):
        with Http2(secure.host, secure.port) as connection:
            given = lower(secure.headers.items())
            assert connection.ask(method, path, headers=given)[0] in (0, 400), path


@pytest.mark.parametrize("path", ["/hub/login", "/user/trudy/x"])
def test_over_http2_headers_may_be_as_large_as_over_http1_and_too_large_ones_are_told(secure, path):
    given = lower(secure.headers.items())
    many = [(f"x-large-{number}", "x" * 30_000) for number in range(4)]
    crumbs = [("cookie", f"c{number}=" + "x" * 2_000) for number in range(20)]
    cases: dict[str, tuple[int, list[tuple[str, str]]]] = {
        "a long one": (200, [("cookie", "c=" + "x" * 30_000)]),
        "some long ones": (200, many),
        "pieces of a cookie": (200, crumbs[:15]),
        "one that is too long": (431, [("x-long", "x" * 40_000)]),
        "too many": (431, [*many, ("x-one-more", "x" * 12_000)]),
        "too many pieces of a cookie": (431, crumbs),
        "all that a browser keeps": (431, [("cookie", f"c{n}=" + "x" * 4_000) for n in range(180)]),
    }
    for name, (wanted, headers) in cases.items():
        with Http2(secure.host, secure.port) as connection:
            status, body = connection.ask("GET", path, headers=[*given, *headers])
            assert (status, b"cookies in your browser" in body) == (wanted, wanted == 431), name
            # The connection goes on, as do the other pages on it.
            assert connection.ask("GET", path, headers=given)[0] == 200, name
    with Http2(secure.host, secure.port) as connection:
        status, body = connection.ask("GET", f"{path}?x=" + "x" * 40_000, headers=given)
        assert (status, b"Shorten it" in body) == (414, True)
    for headers in ({"X-Long": "x" * 40_000}, {"X-Long": "x" * 30_000}):
        wanted = 431 if len(headers["X-Long"]) > 32_768 else 200
        assert secure.request("GET", path, headers={**secure.headers, **headers})[0] == wanted


@pytest.mark.parametrize("has_length", [True, False], ids=["of a length", "of no length"])
def test_over_http2_the_hub_takes_small_bodies_and_tells_who_sends_others(secure, has_length):
    def send(size: int) -> tuple[int, bytes]:
        body = json.dumps({"usernames": ["large"], "nonsense": "x" * size}).encode()
        lengths = [("content-length", str(len(body)))] if has_length else []
        connection.begin("POST", "/hub/api/users", [*lower(secure.headers.items()), *lengths])
        connection.send(body, is_last=True)
        return connection.read_answer()

    with Http2(secure.host, secure.port) as connection:
        status, page = send(2 << 20)
        assert (status, b"at most 1 MB at a time" in page) == (413, True)
        # The connection goes on, and the twin comes over it.
        status, page = send(900_000)
        assert (status, b"Invalid JSON keys" in page) == (400, True)


def lower(headers) -> list[tuple[str, str]]:
    """Return headers as HTTP/2 wants them."""
    return [(name.lower(), value) for name, value in headers]


def read_numbers(hub: Hub) -> dict[str, float]:
    """Return what Prometheus reads of nginx."""
    ask = (
        "import urllib.request as u; r = u.Request('http://127.0.0.1:8081/hub/metrics', "
        f"headers={{'Authorization': 'token {TOKEN}'}}); print(u.urlopen(r).read().decode())"
    )
    lines = hub.exec("python3", "-c", ask).splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if name.startswith("mlhub_front_")
    }


@SCHEMES
def test_prometheus_reads_what_the_front_does_and_no_name(at):
    def count(kind: str, status: str) -> float:
        return read_numbers(at).get(
            f'mlhub_front_requests_total{{kind="{kind}",status="{status}"}}', 0
        )

    kinds = (("workspace", "2xx"), ("hub", "2xx"), ("hub", "4xx"), ("other", "3xx"))
    before = {kind: count(*kind) for kind in kinds}
    sockets = read_numbers(at)["mlhub_front_open_websockets"]
    echo = Echo(at.port, "/user/trudy/socket", tls=at.scheme == "https")
    at.wait_for(
        lambda: read_numbers(at)["mlhub_front_open_websockets"] == sockets + 1, "it is counted", 10
    )
    # The WebSocket's client, and nginx's own connection for this very question.
    assert read_numbers(at)["mlhub_front_open_connections"] >= 2
    for path in ("/user/trudy/x", "/hub/health", "/hub/no-such-page", "/"):
        at.request("GET", path, headers={**at.headers})
    # Others ask, too, while this does.
    assert all(count(*kind) > number for kind, number in before.items())
    echo.close()
    at.wait_for(
        lambda: read_numbers(at)["mlhub_front_open_websockets"] == sockets, "it is over", 10
    )
    told = read_numbers(at)
    assert (told["mlhub_front_tls_handshakes_completed_total"] > 0) == (at.scheme == "https")
    assert "trudy" not in " ".join(told)


def test_a_handshake_that_fails_is_begun_and_not_completed(tls_hub):
    def failed() -> float:
        told = read_numbers(tls_hub)
        name = "mlhub_front_tls_handshakes_{}_total"
        return told[name.format("started")] - told[name.format("completed")]

    before = failed()
    for _ in range(5):
        with Http2.dial(tls_hub.host, tls_hub.port) as plain:
            plain.sendall(b"\x16\x03\x01\x00\x05nonsense")
            plain.recv(64)
    tls_hub.wait_for(lambda: failed() >= before + 5, "they are counted", 10)


@SCHEMES
def test_the_public_port_tells_no_numbers(at):
    for path in ("/metrics", "/hub/metrics", "/.mlhub/numbers", "/stub_status", "/nginx_status"):
        status, _, body = at.request("GET", path)
        assert b"mlhub_front" not in body, (path, status)
