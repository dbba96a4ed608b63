"""Ports of workspaces through the real front and hub: exactly those get there who may."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.http2 import Http2
from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, docker
from tests.support.hub_process import Browser
from tests.support.started_tool import PORT as STARTED_PORT
from tests.support.started_tool import WEB_IMAGE
from tests.support.streams import DOWNLOAD, EVENTS, open_stream
from tests.support.tool_addresses import list_spellings
from tests.support.tool_program import start_tool
from tests.support.tool_source import WEB
from tests.support.websockets import is_open, open_websocket
from tests.support.wire import list_processes

PORT = 8501
INNER_PORT = 8503  # of a program that listens on 127.0.0.1 alone
SECONDS = 5.0
ALL = ("WebSocket", EVENTS, DOWNLOAD)
PATH = f"/user/nora/tools/{PORT}/"
# How often the declared tool runs.
COUNT = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 's[a]id = .started for'; true"
# What a browser says of a script of the same page, and of somebody who opens an address.
SCRIPT = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.fixture(scope="session")
def hub(hub: Hub, wait_for: Callable) -> Hub:
    """Return the shared hub, where nils, nora and nico have workspaces with a program at the same
    port; nora's is shared with nell.
    """
    for name in ("nils", "nora", "nico"):
        hub.start_workspace(name)
        start_tool(f"ws-{hub.name}--{name}", PORT, f"{name}'s program", wait_for)
    start_tool(f"ws-{hub.name}--nora", INNER_PORT, "nora's program", wait_for, "127.0.0.1")
    hub.request("POST", "/hub/api/users/nell", b"")
    hub.api("POST", "shares/nora/", {"user": "nell"})
    return hub


def sign_in(hub: Hub, name: str) -> Browser:
    browser = Browser(hub.url)
    browser.log_in(name, "any")
    return browser


def enter(hub: Hub, name: str, path: str = PATH) -> dict[str, str]:
    """Open a tool as a browser does; return the cookies that it has there."""
    browser = sign_in(hub, name)
    page = browser.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 200, page.text[:500]
    (cookie,) = [each for each in browser.cookies if each.name == "mlhub-tools"]
    return {"Cookie": f"mlhub-tools={cookie.value}; own=kept; jupyterhub-session-id=secret"}


def make_token(hub: Hub, name: str, scheme: str = "token", **body: object) -> dict[str, str]:
    made = hub.api("POST", f"users/{name}/tokens", dict(body))
    return {"Authorization": f"{scheme} {made['token']}"}


def is_led_on(hub: Hub, headers: dict[str, str], path: str = PATH, whose: str = "nora") -> bool:
    """Return True if a request hears the program; raise where it hears another one's."""
    status, _, body = hub.request("GET", path, headers=headers)
    assert body.startswith(f"{whose}'s program".encode()) or b"'s program" not in body, body
    return status == 200 and body.startswith(f"{whose}'s program".encode())


def opens(hub: Hub, headers: dict[str, str], path: str = PATH, origin: str = "") -> bool:
    try:
        open_websocket(hub.url, path, headers, origin).close()
    except ConnectionError:
        return False
    return True


def test_exactly_those_who_may_enter_a_workspace_reach_its_ports(hub):
    gone = hub.api("POST", "users/nora/tokens", {})
    hub.request("DELETE", f"/hub/api/users/nora/tokens/{gone['id']}")
    brief = make_token(hub, "nora", expires_in=1)
    nils = enter(hub, "nils", PATH.replace("nora", "nils"))
    allowed = {
        "own cookie": enter(hub, "nora"),
        "own token": make_token(hub, "nora"),
        "own bearer": {
            "Authorization": make_token(hub, "nora")["Authorization"].replace("token", "Bearer")
        },
        "cookie of whom it is shared with": enter(hub, "nell"),
        "token of whom it is shared with": make_token(hub, "nell"),
        "an administrator's token": hub.headers,
    }
    refused = {
        "nothing": {},
        "another's cookie": nils,
        "another's token": make_token(hub, "nils"),
        "a token that was revoked": {"Authorization": f"token {gone['token']}"},
        "a token without the scope": make_token(hub, "nora", scopes=["read:users!user=nora"]),
        "a cookie that was made up": {"Cookie": "mlhub-tools=2|1:0|10:1|11:mlhub-tools|4:eHg=|00"},
        "a session alone": {"Cookie": "jupyterhub-session-id=secret"},
    }
    for who, headers in allowed.items():
        assert is_led_on(hub, headers), who
        assert opens(hub, headers), who
    for who, headers in refused.items():
        status, _, body = hub.request("GET", PATH, headers={**headers, **SCRIPT})
        assert status in (401, 403), (who, status)
        assert b"program" not in body, who
        assert not opens(hub, headers), who
        assert hub.request("POST", PATH, b"x" * 100_000, headers=headers)[0] in (401, 403), who
    hub.wait_for(lambda: not is_led_on(hub, brief), "its end", 10)
    assert not opens(hub, brief)


@pytest.fixture(scope="module")
def nils(hub: Hub) -> list[dict[str, str]]:
    """Return what nils has: a cookie and a token."""
    return [enter(hub, "nils", PATH.replace("nora", "nils")), make_token(hub, "nils")]


def test_no_spelling_leads_to_anothers_port(hub, nils):
    for path in list_spellings(PORT):
        for headers in nils:
            status, _, body = hub.request("GET", path, headers=headers)
            assert b"nora's program" not in body, path
        # His own workspace answers many odd addresses.
        assert status == 200 or not opens(hub, nils[0], path), path
    nora = make_token(hub, "nora")
    assert is_led_on(hub, nora)
    assert opens(hub, nora)


@pytest.mark.parametrize("port", ["0", "65536", "08501", "8501x", "-1", "99999999999", "2222;"])
def test_what_is_no_port_is_led_to_the_workspace_as_ever(hub, port):
    status, _, body = hub.request(
        "GET", f"/user/nora/tools/{port}/", headers=make_token(hub, "nora")
    )
    assert b"program" not in body
    assert status in (200, 404), status


def read_heard(body: bytes) -> dict[str, str]:
    """Return what a program heard: the line of the request as "", headers by their small names."""
    _, line, *lines = body.decode().split("\r\n\r\n")[0].replace("\r", "").split("\n")
    return {"": line} | {
        name.lower(): value for name, _, value in (each.partition(": ") for each in lines)
    }


def test_a_program_hears_who_asks_and_nothing_that_is_the_hubs(hub):
    forged = {
        "X-Forwarded-User": "root",
        "X-Forwarded-Prefix": "/evil",
        "X-MLHub-Word": "cookie root",
    }
    cookie, token = enter(hub, "nell"), make_token(hub, "nora")
    heard = read_heard(hub.request("GET", f"{PATH}a%2Fb?x=1", headers={**cookie, **forged})[2])
    assert heard[""] == "GET /a%2Fb?x=1 HTTP/1.1"
    assert heard["x-forwarded-user"] == "nell"
    assert heard["x-forwarded-prefix"] == f"/user/nora/tools/{PORT}"
    assert heard["x-forwarded-proto"] == "http"
    assert heard["cookie"] == "own=kept"
    heard = read_heard(hub.request("GET", PATH, headers={**token, **forged})[2])
    assert heard["x-forwarded-user"] == "nora"
    assert "authorization" not in heard
    assert "cookie" not in heard
    # What is the program's own passes.
    basic = {**cookie, "Authorization": "Basic YTpi"}
    assert read_heard(hub.request("GET", PATH, headers=basic)[2])["authorization"] == "Basic YTpi"
    own = {**cookie, "Authorization": "Bearer of-the-program"}
    assert (
        read_heard(hub.request("GET", PATH, headers=own)[2])["authorization"]
        == own["Authorization"]
    )
    # No user stands behind a service's token.
    assert "x-forwarded-user" not in read_heard(hub.request("GET", PATH, headers=hub.headers)[2])
    whole = f"/user/nora/tools/absolute/{PORT}/x?y=1"
    assert read_heard(hub.request("GET", whole, headers=cookie)[2])[""] == f"GET {whole} HTTP/1.1"
    status, headers, _ = hub.request("GET", PATH.rstrip("/"), headers=cookie)
    assert (status, headers["location"]) == (307, PATH)


def test_what_a_program_answers_stays_below_its_own_address(hub):
    _, headers, _ = hub.request("GET", f"{PATH}leads", headers=enter(hub, "nora"))
    assert headers["location"] == f"{PATH}there?x=1"
    assert headers["set-cookie"] == f"own=1; Path={PATH}"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
def test_a_page_of_another_site_opens_nothing_with_its_visitors_cookie(hub, origin):
    cookie = enter(hub, "nora")
    assert not opens(hub, cookie, origin=origin)
    assert hub.request("POST", PATH, b"x", headers={**cookie, "Origin": origin})[0] == 403
    for site in ("cross-site", "same-site"):
        said = {**cookie, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        assert hub.request("GET", PATH, headers=said)[0] == 403
    assert opens(hub, cookie)
    assert hub.request("POST", PATH, b"x", headers={**cookie, "Origin": hub.url})[0] == 200


def open_all(hub: Hub, path: str, headers: dict[str, str]) -> dict[str, socket.socket]:
    streams = {what: open_stream(hub.url, path + what, headers) for what in (EVENTS, DOWNLOAD)}
    return {"WebSocket": open_websocket(hub.url, path, headers), **streams}


def list_what_goes_on(opened: dict[str, socket.socket]) -> list[str]:
    return [what for what, connection in opened.items() if is_open(connection)]


def wait_for_the_end(what: str, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_over():
        assert time.monotonic() < deadline, f"{what} goes on"
        time.sleep(0.05)


def test_what_is_open_ends_within_five_seconds_of_a_sign_out_and_a_stop(hub):
    browser = sign_in(hub, "nico")
    path = PATH.replace("nora", "nico")
    assert "nico's program" in browser.get(path, headers={"Accept": "text/html"}).text
    (cookie,) = [each for each in browser.cookies if each.name == "mlhub-tools"]
    nico = {"Cookie": f"mlhub-tools={cookie.value}"}
    by_token = make_token(hub, "nico")
    copied, running = open_all(hub, path, nico), open_all(hub, path, by_token)
    assert is_led_on(hub, nico, path, "nico")
    browser.get("/hub/logout")
    wait_for_the_end("a copied cookie", lambda: not is_led_on(hub, nico, path, "nico"))
    wait_for_the_end("what it opened", lambda: not list_what_goes_on(copied))
    assert is_led_on(hub, by_token, path, "nico")
    assert list_what_goes_on(running) == list(ALL)

    hub.stop_workspace("nico")
    wait_for_the_end("a stopped workspace", lambda: not list_what_goes_on(running))
    page = sign_in(hub, "nico").get(path, headers={"Accept": "text/html"})
    assert "is not running" in page.text
    assert ">Start<" in page.text


@pytest.mark.parametrize("port", [PORT, INNER_PORT])
def test_what_a_guest_has_open_ends_with_the_share_and_what_others_have_goes_on(hub, port):
    path = PATH.replace(str(PORT), str(port))
    nell, nora = enter(hub, "nell"), make_token(hub, "nora")
    hub.wait_for(lambda: is_led_on(hub, nora, path), "the way to the port", 30)
    guests, own = open_all(hub, path, nell), open_all(hub, path, nora)
    hub.api("PATCH", "shares/nora/", {"user": "nell"})
    try:
        wait_for_the_end("a guest", lambda: not is_led_on(hub, nell, path))
        wait_for_the_end("what a guest has open", lambda: not list_what_goes_on(guests))
        assert is_led_on(hub, nora, path)
        assert list_what_goes_on(own) == list(ALL)
    finally:
        hub.api("POST", "shares/nora/", {"user": "nell"})


def test_what_is_open_ends_with_the_token_that_opened_it(hub):
    brief, lasting = (
        open_all(hub, PATH, make_token(hub, "nora", **body))
        for body in ({"expires_in": 3}, {"expires_in": 3000})
    )
    assert list_what_goes_on(brief) == list(ALL)
    hub.wait_for(lambda: not list_what_goes_on(brief), "its end", 3 + SECONDS)
    assert list_what_goes_on(lasting) == list(ALL)


def test_over_http2_a_stream_ends_with_its_token_and_another_connections_goes_on(
    tls_hub, name, wait_for
):
    tls_hub.start_workspace(name)
    start_tool(f"ws-{tls_hub.name}--{name}", PORT, f"{name}'s program", wait_for)
    gone, kept = (tls_hub.api("POST", f"users/{name}/tokens", {}) for _ in range(2))
    path = f"/user/{name}/tools/{PORT}/{EVENTS}"
    with (
        Http2(tls_hub.host, tls_hub.port) as ending,
        Http2(tls_hub.host, tls_hub.port) as staying,
    ):
        for client, made in ((ending, gone), (staying, kept)):
            assert client.open(path, [("authorization", f"token {made['token']}")]) == 200
        tls_hub.api("DELETE", f"users/{name}/tokens/{gone['id']}")
        assert not ending.goes_on(SECONDS)
        assert staying.goes_on(1.0)
    tls_hub.stop_workspace(name)


def test_what_listens_on_the_loopback_alone_is_reached_by_whoever_may_and_hears_the_same(hub):
    path = PATH.replace(str(PORT), str(INNER_PORT))
    nora, nils = make_token(hub, "nora"), make_token(hub, "nils")
    hub.wait_for(lambda: is_led_on(hub, nora, path), "the relay runs", 30)
    assert is_led_on(hub, enter(hub, "nell", path), path)
    for headers in (nils, {}):
        assert hub.request("GET", path, headers={**headers, **SCRIPT})[0] in (401, 403)
        assert not opens(hub, headers, path)
    forged = {"X-MLHub-Relay": f"{PORT} key", "X-Forwarded-User": "root"}
    heard = read_heard(hub.request("GET", f"{path}a%2Fb?x=1", headers={**nora, **forged})[2])
    assert heard[""] == "GET /a%2Fb?x=1 HTTP/1.1"
    assert heard["x-forwarded-user"] == "nora"
    assert "x-mlhub-relay" not in heard
    assert "authorization" not in heard
    assert hub.request("POST", f"{path}counts", b"x" * 3_000_000, headers=nora)[2] == b"3000000"
    assert len(hub.request("GET", f"{path}bytes/3000000", headers=nora)[2]) == 3_000_000
    opened = open_websocket(hub.url, path, nora)
    assert is_open(opened)
    # Whoever reaches the relay itself is nobody without its key.
    status, _, body = hub.request("GET", PATH.replace(str(PORT), "2223"), headers=nora)
    assert (status, b"nora's program" in body) == (503, False)


def test_a_declared_tool_is_started_by_whoever_opens_it_first_and_by_nobody_else(hub, name):
    path = f"/user/{name}/tools/{STARTED_PORT}/"
    hub.start_workspace(name)
    workspace = f"ws-{hub.name}--{name}"
    stranger = make_token(hub, "nils")
    assert hub.request("GET", path, headers=stranger)[0] == 403
    browser = sign_in(hub, name)
    assert f'href="{path}"' in browser.get("/hub/home").text
    pages = []

    def is_there() -> bool:
        pages.append(browser.get(path, headers={"Accept": "text/html"}))
        return pages[-1].ok

    hub.wait_for(is_there, "the tool", 60)
    assert pages[-1].text.startswith(f"started for {name} in /")
    assert all('http-equiv="refresh"' in page.text for page in pages[:-1])
    assert docker("exec", workspace, "sh", "-c", COUNT) == "1"
    hub.stop_workspace(name)


@pytest.fixture
def web_hub(make_brief_hub) -> Iterator[Hub]:
    """Return a hub whose workspaces are a web server that asks nobody who is there."""
    docker("tag", TEST_IMAGE, WEB_IMAGE)
    settings = f"c.Spawner.image_settings = {{{WEB_IMAGE!r}: {WEB!r}}}\n"
    yield make_brief_hub(f"{CONFIG}c.Spawner.image = {WEB_IMAGE!r}\n{settings}")
    docker("rmi", "--no-prune", WEB_IMAGE, check=False)


def test_a_web_image_is_reached_by_those_who_may_enter_and_by_nobody_else(web_hub):
    hub, path = web_hub, "/user/nora/"
    for name in ("nora", "nils"):
        hub.start_workspace(name)
    cookie, token = enter(hub, "nora", path), make_token(hub, "nora")
    for headers in (cookie, token, hub.headers):
        assert hub.request("GET", path, headers=headers)[2].startswith(b"web\n")
        assert opens(hub, headers, path)
    nils = [enter(hub, "nils", "/user/nils/"), make_token(hub, "nils")]
    for headers in ({}, *nils):
        status, _, body = hub.request("GET", path, headers={**headers, **SCRIPT})
        assert (status in (401, 403), body.startswith(b"web\n")) == (True, False)
        assert not opens(hub, headers, path)
        assert hub.request("POST", path, b"x" * 100_000, headers=headers)[0] in (401, 403)
    for spelling in list_spellings(PORT):
        for headers in nils:
            # His own answers all addresses, and says whose it is.
            heard = hub.request("GET", spelling, headers=headers)[2].lower()
            assert b"x-forwarded-prefix: /user/nora" not in heard, spelling
    heard = read_heard(hub.request("GET", f"{path}a%2Fb?x=1", headers=cookie)[2])
    assert heard[""] == "GET /a%2Fb?x=1 HTTP/1.1"
    assert (heard["x-forwarded-user"], heard["cookie"]) == ("nora", "own=kept")
    assert heard["x-forwarded-prefix"] == "/user/nora"
    assert hub.request("GET", f"{path}leads", headers=cookie)[1]["location"] == f"{path}there?x=1"
    assert hub.request("POST", f"{path}counts", b"x" * 500_000, headers=token)[2] == b"500000"
    opened = open_websocket(hub.url, path, token)
    hub.stop_workspace("nora")
    wait_for_the_end("a stopped workspace", lambda: not is_open(opened))


@pytest.mark.parametrize("port", [PORT, INNER_PORT])
def test_events_arrive_one_by_one_while_their_answer_goes_on(hub, port):
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=20)
    path = f"{PATH.replace(str(PORT), str(port))}events"
    connection.request("GET", path, headers=make_token(hub, "nora"))
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.readline() == b"data: first\n"
    connection.close()


@pytest.mark.full
@pytest.mark.parametrize("port", [PORT, INNER_PORT])
def test_two_gigabytes_go_either_way(hub, port):
    size, path = 2 * 1024**3, PATH.replace(str(PORT), str(port))
    headers = make_token(hub, "nora")
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=300)
    piece = bytes(1024**2)
    sent = {**headers, "Content-Length": str(size)}
    connection.request("POST", f"{path}counts", (piece for _ in range(size // len(piece))), sent)
    assert connection.getresponse().read() == str(size).encode()
    connection.close()
    connection.request("GET", f"{path}bytes/{size}", headers=headers)
    answer, left = connection.getresponse(), size
    while got := len(answer.read(len(piece))):
        left -= got
    assert left == 0
    connection.close()


def test_pages_say_what_is_in_the_way(hub):
    nora = sign_in(hub, "nora")
    silent = nora.get(PATH.replace(str(PORT), "8502"), headers={"Accept": "text/html"})
    assert silent.status_code == 503
    assert "Nothing answers here" in silent.text
    (address,) = re.findall(r'href="(/hub/tools/ports[^"]*)"', silent.text)
    ports = nora.get(address).text
    assert f'<a href="{PATH}">Port {PORT}: Streamlit</a>' in ports
    assert f">Port {INNER_PORT}</a>" in ports
    assert "Port 2223" not in ports
    stranger = sign_in(hub, "nils").get(PATH, headers={"Accept": "text/html"})
    assert stranger.status_code == 403
    assert "Ask nora to share it" in stranger.text
    status, headers, _ = hub.request("GET", PATH, headers={"Accept": "text/html"})
    assert (status, headers["location"].partition("?")[0]) == (302, "/hub/tools")


def test_while_the_hub_is_away_nobody_is_let_in_and_what_is_open_goes_on(hub):
    token = make_token(hub, "nora")
    opened = open_websocket(hub.url, PATH, token)
    fresh = make_token(hub, "nora")
    processes = list_processes(hub)
    pids = [str(each["pid"]) for each in processes if "jupyterhub_config.py" in each["command"]]
    assert pids
    hub.exec("sh", "-c", f"kill -STOP {' '.join(pids)}")
    try:
        assert hub.request("GET", PATH, headers=fresh)[0] >= 500
        # By now what the hub said of it is old as well.
        with pytest.raises(TimeoutError):
            hub.request("GET", PATH, headers=token, timeout=3)
        assert is_open(opened)
    finally:
        hub.exec("sh", "-c", f"kill -CONT {' '.join(pids)}")
    hub.wait_for(lambda: is_led_on(hub, fresh), "the hub is back", 30)
