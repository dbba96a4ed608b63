"""One suite for both proxies of the image: nginx's own routes, and configurable-http-proxy.

Each runs as the chart's proxy does, in a container without a hub. The attacks are elsewhere
(test_front_attacks.py).
"""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from jupyterhub.proxy import ConfigurableHTTPProxy

from tests.support.framings import (
    METHODS,
    RAW_ANSWERS,
    ask_twice,
    make_framings,
    read_answer,
    send_with_next,
)
from tests.support.front import kill_nginx, list_files, list_nginx, reload_nginx
from tests.support.hub_container import Hub, docker
from tests.support.proxied import Proxy, answering_once, make_query, running_servers, saying
from tests.support.websockets import is_open, open_websocket
from tests.support.wire import Echo
from tests.support.workspace_answers import COOKIES, ORIGIN_WIDE, OWN

TOKEN = "token-between-hub-and-proxy"
ROLE = {"START_SSH": "false", "START_JHUB": "false", "CONFIGPROXY_AUTH_TOKEN": TOKEN}
HUB = "http://mlhub:8083"
KINDS = {
    "router": {"MLHUB_ROUTER": "true"},
    "chp": {
        "START_CHP": "true",
        "ADDITIONAL_ARGS": f"--ip=0.0.0.0 --api-ip=0.0.0.0 --default-target={HUB}",
    },
}
# The same where people have host names of their own.
KINDS_OF_HOSTS = {
    f"{kind} of hosts": {**environment, "MLHUB_SUBDOMAIN_HOST": "http://hub.test"}
    for kind, environment in KINDS.items()
}
PAUSE = threading.Event()  # never set
MANY = pytest.mark.parametrize("many", [300, pytest.param(5000, marks=pytest.mark.full)])


@pytest.fixture(scope="module", params=list(KINDS))
def container(make_hub, request: pytest.FixtureRequest) -> Hub:
    """Return a container with one of the proxies."""
    environment = {**ROLE, **{**KINDS, **KINDS_OF_HOSTS}[request.param]}
    return make_hub(socket=False, arguments=("--publish", "127.0.0.1::8001"), **environment)


@pytest.fixture(scope="module")
def servers(container: Hub) -> Iterator[dict[str, str]]:
    """Return the URLs of two servers on this machine, as the container reaches it."""
    place = "{{.NetworkSettings.Networks.bridge.Gateway}}"
    gateway = docker("inspect", "--format", place, container.name)
    with running_servers(gateway, "one", "two") as (one, two):
        yield {"one": one, "two": two}


@pytest.fixture(scope="module")
def started(container: Hub) -> Proxy:
    """Return how that proxy is asked."""
    address = docker("port", container.name, "8001/tcp").splitlines()[0]
    proxy = Proxy(container.url, f"http://{address}", TOKEN)
    # nginx leads to the hub, which is none here, before it has routes.
    proxy.remove_all()
    return proxy


@pytest.fixture
def proxy(started: Proxy) -> Iterator[Proxy]:
    """Return a proxy without routes, which has none after the test either."""
    yield started
    started.remove_all()


def read_server(proxy: Proxy, path: str, **options: Any) -> str | None:
    """Return the name of the server that answers at a path; None where none does."""
    answer = proxy.ask(path, **options)
    return answer.json()["server"] if answer.status_code == 200 else None


def read_path(proxy: Proxy, path: str) -> str:
    """Return the path of which a server heard."""
    return str(proxy.ask(path).json()["path"])


def read_moment(proxy: Proxy, spec: str) -> datetime.datetime:
    """Return when a route was last used."""
    return datetime.datetime.fromisoformat(proxy.api("GET", spec).json()["last_activity"])


def test_a_route_leads_on_from_the_moment_of_its_answer_to_that_of_its_removal(proxy, servers):
    assert read_server(proxy, "/user/ann/lab") is None
    for name in ("one", "two", "one"):
        proxy.add("/user/ann", servers[name])
        assert read_server(proxy, "/user/ann/lab") == name
    assert proxy.api("DELETE", "/user/ann").status_code == 204
    assert read_server(proxy, "/user/ann/lab") is None
    assert proxy.api("DELETE", "/user/ann").status_code == 404


def test_the_longest_route_by_whole_parts_of_the_path_wins(proxy, servers):
    proxy.add("/", servers["one"])
    proxy.add("/user/ann", servers["two"])
    proxy.add("/user/ann/lab/deep", servers["one"])
    leads = {
        "/": "one",
        "/hub/home": "one",
        "/user/annabel/": "one",
        "/user/an": "one",
        "/USER/ann": "one",
        "/user/ann": "two",
        "/user/ann/": "two",
        "/user/ann?next=/hub": "two",
        "/user/ann/lab": "two",
        "/user/ann/lab/deeper": "two",
        "/user/ann/lab/deep": "one",
        "/user/ann/lab/deep/" + "x/" * 500: "one",
    }
    assert {path: read_server(proxy, path) for path in leads} == leads


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("/user/a%40b", "/user/a@b/"),
        ("/user/a@b", "/user/a%40b/x"),
        ("/user/zo%C3%A9", "/user/zo%c3%a9/x"),
        ("/user/%E4%BA%BA/", "/user/%E4%BA%BA/x"),
        ("/user/a%20b", "/user/a%20b/x"),
        ("/user/a+b", "/user/a%2Bb/x"),
        ("/user/a%25b", "/user/a%25b/x"),
    ],
)
def test_a_name_is_the_same_however_it_is_escaped(proxy, servers, spec, path):
    proxy.add(spec, servers["one"])
    asked = proxy.ask(path).json()
    # The server hears of it as it was sent.
    assert asked["path"] == requests.Request("GET", proxy.url + path).prepare().path_url
    assert proxy.api("GET", spec).status_code == 200
    assert proxy.api("DELETE", spec).status_code == 204


@pytest.mark.parametrize(
    ("sent", "server", "path"),
    [
        ("/user/ann/../ben/x?y=/../z", "two", "/user/ben/x?y=/../z"),
        ("/user/ann/%2e%2E/ben/x", "two", "/user/ben/x"),
        ("/user/ben/../../user/ann/..", None, None),
        ("/user/ann/./x/.", "one", "/user/ann/x/"),
        ("/user/ann/.hidden/..x/.../a%2F..%2Fb", "one", "/user/ann/.hidden/..x/.../a%2F..%2Fb"),
    ],
)
def test_a_server_reads_the_path_by_which_it_was_chosen(proxy, servers, sent, server, path):
    proxy.add("/user/ann", servers["one"])
    proxy.add("/user/ben", servers["two"])
    address = urlsplit(proxy.url)
    # Requests would resolve the path itself.
    client = HTTPConnection(address.hostname, address.port, timeout=20)
    client.request("GET", sent)
    answer = client.getresponse()
    if server is None:
        assert answer.status == 404
    else:
        asked = json.loads(answer.read())
        assert (asked["server"], asked["path"]) == (server, path)
    client.close()


def test_what_is_said_of_a_route_is_kept_as_it_is(proxy, servers):
    data = {
        "user": 'a"b\\c}{][,',
        "server_name": "",
        "jupyterhub": True,
        "none": None,
        "numbers": [0, -1, 1.5, 2**53],
        "empty": {"list": [], "object": {}, "deep": [[], [{}]]},
        "sign": "人\u2028\n",
    }
    proxy.add("/user/ann", servers["one"], **data, ends_websockets=True, last_activity="never")
    one = proxy.api("GET", "/user/ann").json()
    assert proxy.api("GET").json() == {"/user/ann": one}
    moment = datetime.datetime.fromisoformat(one.pop("last_activity"))
    assert abs(moment - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    assert one == {"target": servers["one"], **data}


@MANY
def test_many_routes_are_listed_and_each_leads_on(proxy, servers, many):
    specs = [f"/user/person-{number}/server" for number in range(many)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda spec: proxy.add(spec, servers["two"], user=spec), specs))
        assert proxy.api("GET").json().keys() == set(specs)
        some = specs[:: many // 50]
        assert set(pool.map(lambda spec: read_server(proxy, f"{spec}/x"), some)) == {"two"}
        list(pool.map(lambda spec: proxy.api("DELETE", spec), specs))
    assert proxy.api("GET").json() == {}


def test_routes_that_nobody_used_since_a_moment_are_found(proxy, servers):
    proxy.add("/user/ann", servers["one"])
    now = datetime.datetime.now(datetime.UTC)
    for word in ("inactiveSince", "inactive_since"):
        for moment, specs in {
            now - datetime.timedelta(days=400): set(),
            now + datetime.timedelta(days=400): {"/user/ann"},
        }.items():
            for text in (f"{moment:%Y-%m-%dT%H:%M:%SZ}", moment.isoformat(), f"{moment:%Y-%m-%d}"):
                assert proxy.api("GET", params={word: text}).json().keys() == specs
    assert proxy.api("GET", params={"inactiveSince": "yesterday"}).status_code == 400


def test_a_request_counts_as_use_of_its_route_and_one_that_fails_does_not(
    proxy, servers, wait_for: Callable[..., object]
):
    proxy.add("/user/ann", servers["one"])
    proxy.add("/user/ben", servers["two"])
    anns, bens = read_moment(proxy, "/user/ann"), read_moment(proxy, "/user/ben")
    proxy.ask("/user/ben/x?status=404")
    proxy.ask("/user/ann/x")
    wait_for(lambda: read_moment(proxy, "/user/ann") > anns, "the route was used", 10)
    assert read_moment(proxy, "/user/ben") == bens


def test_a_websocket_goes_through_and_what_it_says_counts_as_use(proxy, servers, wait_for):
    proxy.add("/user/ann", servers["one"])
    with closing(Echo(urlsplit(proxy.url).port, "/user/ann/socket")) as echo:
        before = read_moment(proxy, "/user/ann")

        def is_used() -> bool:
            return echo.ask("hello") == "hello" and read_moment(proxy, "/user/ann") > before

        wait_for(is_used, "the route is used", 10)


def test_a_websocket_ends_with_its_route_and_with_nothing_else(proxy, servers, wait_for):
    def add(name: str = "one", **data: object) -> None:
        proxy.add("/user/ann", servers[name], **data)

    add()
    proxy.add("/user/ben", servers["one"])
    anns, bens = (open_websocket(proxy.url, f"/user/{name}/socket") for name in ("ann", "ben"))
    add("two", user="ann")
    proxy.add("/user/cleo", servers["one"])
    proxy.api("DELETE", "/user/cleo")
    add(ends_websockets=False)
    assert is_open(anns)
    add(ends_websockets=True)
    wait_for(lambda: not is_open(anns), "it ends when the route is made anew so", 10)
    again = open_websocket(proxy.url, "/user/ann/socket")
    proxy.api("DELETE", "/user/ann")
    wait_for(lambda: not is_open(again), "it ends with its route", 10)
    assert is_open(bens)
    for connection in (anns, again, bens):
        connection.close()


def test_a_target_may_have_a_path(proxy, servers):
    proxy.add("/services/site", f"{servers['one']}/inner/")
    assert proxy.ask("/services/site/x?y=1").json()["path"] == "/inner/services/site/x?y=1"


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_connections_to_a_workspace_are_kept_for_looks_and_for_nothing_else(proxy, servers):
    proxy.add("/user/ann", servers["one"])

    def count_connections(method: str, **options: object) -> int:
        """Return over how many connections ten requests of ten clients came."""
        answers = [proxy.ask("/user/ann/x", method, **options) for _ in range(10)]
        return len({answer.json()["connection"] for answer in answers})

    # Each of the two workers has its own.
    assert count_connections("GET") <= 2
    assert count_connections("GET", data=b"12345") == 10
    assert count_connections("POST", data=b"12345") == 10


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_a_look_meets_no_end_of_a_connection_that_was_kept(proxy, servers):
    gateway = urlsplit(servers["one"]).hostname
    with answering_once(gateway) as (url, heard):
        proxy.add("/user/ann", url)
        assert {proxy.ask(f"/user/ann/{number}").status_code for number in range(20)} == {200}
        # Some came over connections that ended just then, and were sent once more.
        assert len(heard) > 20
        began = len(heard)
        for method in ("POST", "DELETE"):
            assert proxy.ask("/user/ann/x", method).status_code == 200
        assert len(heard) == began + 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_target_that_does_not_answer_gets_a_page_that_tries_again(proxy, method):
    proxy.add("/user/ann", "http://127.0.0.1:9")
    answer = proxy.ask("/user/ann/x", method)
    assert (answer.status_code, "does not answer yet" in answer.text) == (503, True)
    assert proxy.ask("/user/ben/x", method).status_code == 404


def test_a_body_arrives_once(proxy, servers):
    proxy.add("/user/ann", servers["one"])
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for body in (b"12345", iter([b"123", b"45"])):
            assert proxy.ask("/user/ann/x", method, data=body).json()["body"] == "12345"


@pytest.mark.parametrize(
    ("method", "path", "token", "body", "status"),
    [
        ("GET", "/api/routes", None, None, 403),
        ("GET", "/api/routes", "", None, 403),
        ("GET", "/api/routes", TOKEN[:-1], None, 403),
        ("GET", "/api/routes", TOKEN + "x", None, 403),
        ("POST", "/api/routes/user/ann", "wrong", '{"target": "http://127.0.0.1:1"}', 403),
        ("DELETE", "/api/routes/user/ann", "wrong", None, 403),
        ("POST", "/api/routes/user/ann", TOKEN, "{", 400),
        ("POST", "/api/routes/user/ann", TOKEN, '{"target": "x"} {}', 400),
        ("POST", "/api/routes/user/ann", TOKEN, "null", 400),
        ("POST", "/api/routes/user/ann", TOKEN, "[]", 400),
        ("POST", "/api/routes/user/ann", TOKEN, '{"target": 1}', 400),
        ("POST", "/api/routes/user/ann", TOKEN, '{"user": "ann"}', 400),
        ("PATCH", "/api/routes", TOKEN, None, 405),
        ("GET", "/api/routes/user/nobody", TOKEN, None, 404),
        ("GET", "/api/routesx", TOKEN, None, 404),
        ("GET", "/api", TOKEN, None, 404),
        ("GET", "/user/ann", TOKEN, None, 404),
    ],
)
def test_the_api_refuses_what_is_not_right(proxy, method, path, token, body, status):
    headers = {} if token is None else {"Authorization": f"token {token}"}
    answer = requests.request(method, proxy.api_url + path, data=body, headers=headers, timeout=20)
    assert answer.status_code == status
    assert proxy.api("GET").json() == {}


def test_jupyterhubs_own_client_is_understood(proxy, servers):
    client = ConfigurableHTTPProxy(
        should_start=False, api_url=proxy.api_url, auth_token=TOKEN, host_routing=False
    )
    specs = ["/", "/user/ann/", "/user/a@b/", "/user/zo%C3%A9%20%C3%BC/", "/services/x%25y/"]

    async def use() -> dict[str, dict[str, object]]:
        for spec in specs:
            await client.add_route(spec, servers["one"], {"user": spec, "server_name": ""})
        found = await client.get_all_routes()
        for spec in specs:
            await client.delete_route(spec)
        return dict(found)

    found = asyncio.run(use())
    assert found.keys() == set(specs)
    for spec, route in found.items():
        assert route["target"] == servers["one"]
        assert route["data"]["user"] == spec
        assert route["data"]["last_activity"]
    assert proxy.api("GET").json() == {}


@pytest.mark.parametrize("container", list(KINDS_OF_HOSTS), indirect=True)
def test_a_route_of_a_host_name_is_found_by_that_name_alone(proxy, servers):
    client = ConfigurableHTTPProxy(
        should_start=False, api_url=proxy.api_url, auth_token=TOKEN, host_routing=True
    )
    routes = {"hub.test/": "one", "ann.hub.test/user/ann/": "two"}

    async def use() -> set[str]:
        for spec, name in routes.items():
            await client.add_route(spec, servers[name], {"user": name})
        return set(await client.get_all_routes())

    assert asyncio.run(use()) == routes.keys()
    assert proxy.api("GET", "/ann.hub.test/user/ann").json()["host"] == "ann.hub.test"
    places = {
        ("hub.test", "/hub/login"): "one",
        ("hub.test", "/user/ann/lab"): "one",
        ("hub.test:8080", "/"): "one",
        ("ann.hub.test", "/user/ann/lab"): "two",
        ("ann.hub.test:8080", "/user/ann"): "two",
        ("ann.hub.test", "/hub/login"): None,
        ("ben.hub.test", "/user/ann/lab"): None,
        ("annhub.test", "/user/ann/lab"): None,
        ("ann.hub.test.evil.test", "/user/ann/lab"): None,
        ("x", "/ann.hub.test/user/ann/lab"): None,
    }
    found = {
        (host, path): read_server(proxy, path, headers={"Host": host}) for host, path in places
    }
    assert found == places


def test_the_health_of_the_proxy_is_asked_where_chp_answers_it(proxy):
    answer = proxy.ask("/_chp_healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})


@pytest.mark.parametrize("path", ["/user/mallory/x", "/%75ser/mallory", "/user/mallory/socket"])
def test_a_workspace_says_nothing_about_the_whole_origin(proxy, servers, path):
    proxy.add("/user/mallory", servers["one"])
    query = make_query(*ORIGIN_WIDE.items(), *OWN.items(), ("Set-Cookie", "a=b; Path=/"))
    shakes = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    shakes["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    headers = shakes if path.endswith("socket") else {}
    answer = proxy.ask(path + query, headers=headers, stream=True)
    assert answer.status_code == (101 if headers else 200)
    names = {name.lower() for name in answer.headers}
    assert names & {name.lower() for name in ORIGIN_WIDE} == set()
    assert {name.lower() for name in OWN} <= names
    assert answer.headers["Set-Cookie"] == "a=b; Path=/user/mallory/"
    answer.close()


def test_the_hub_and_the_sites_services_say_what_they_want(proxy, servers):
    ours = {name: value for name, value in ORIGIN_WIDE.items() if not name.startswith("X-Accel")}
    cookie = "jupyterhub-session-id=new; Path=/"
    for spec in ("/", "/services/user/x"):
        proxy.add(spec, servers["one"])
        answer = proxy.ask(spec + make_query(*ours.items(), ("Set-Cookie", cookie)))
        assert {name: answer.headers[name] for name in ours} == ours
        assert answer.headers["Set-Cookie"] == cookie


def test_a_workspace_sets_cookies_for_its_persons_paths_alone(proxy, servers):
    proxy.add("/user/mallory", servers["one"])
    last = "last=1; Path=/user/mallory/"
    for cookie, kept in COOKIES:
        query = make_query(("Set-Cookie", cookie), ("Set-Cookie", last))
        found = proxy.ask(f"/user/mallory/x{query}").raw.headers.getlist("set-cookie")
        assert [" ".join(one.split()) for one in found] == [*([kept] if kept else []), last]
    proxy.add("/user/a%40b", servers["one"])
    answer = proxy.ask(f"/user/a@b/x{make_query(('Set-Cookie', 'a=b; Path=/'))}")
    assert answer.headers["Set-Cookie"] == "a=b; Path=/user/a@b/"


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_no_body_becomes_a_request_to_a_workspace(proxy, servers):
    proxy.add("/user/mallory", servers["one"])
    framings = make_framings(b"GET /user/mallory/inner HTTP/1.1\r\nHost: x\r\n\r\n")
    cases = [(method, framing) for method in METHODS for framing in framings]
    address = urlsplit(proxy.url)

    def attack(number: int) -> str:
        method, framing = cases[number]
        connection = socket.create_connection((address.hostname, address.port), timeout=20)
        outer, following = f"/user/mallory/outer-{number}", f"/user/mallory/next-{number}"
        answers = send_with_next(connection, method, outer, framing, following)
        is_right = len(answers) < 2 or (
            len(answers) == 2 and json.loads(answers[1][1])["path"] == following
        )
        return "" if is_right else f"{method} with {framing.name}: {answers}"

    with ThreadPoolExecutor(16) as pool:
        assert list(filter(None, pool.map(attack, range(len(cases))))) == []
        paths = [f"/user/mallory/{number}" for number in range(50)]
        found = pool.map(lambda path: proxy.ask(path).json()["path"], paths)
        assert list(found) == paths


@pytest.mark.parametrize("container", ["router"], indirect=True)
@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "101 Switching Protocols"])
def test_an_answer_before_the_answer_leaves_no_client_waiting(proxy, servers, status):
    said = f"HTTP/1.1 {status}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"
    proxy.add("/user/ann", servers["one"])
    with (
        saying(urlsplit(servers["one"]).hostname, said.encode()) as url,
        requests.Session() as client,
    ):
        proxy.add("/user/mallory", url)
        upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
        answer = client.get(f"{proxy.url}/user/mallory/", headers=upgrade, timeout=20)
        assert answer.status_code == 502
        # Over the same connection.
        assert client.get(f"{proxy.url}/user/ann/", timeout=20).json()["server"] == "one"


@pytest.mark.parametrize("container", ["router"], indirect=True)
@pytest.mark.parametrize("hangs_up", [True, False], ids=["and hangs up", "and stays"])
def test_a_workspace_that_answers_raw_bytes_answers_for_nobody_else(proxy, servers, hangs_up):
    proxy.add("/user/ann", servers["one"])
    gateway, address = urlsplit(servers["one"]).hostname, urlsplit(proxy.url)

    def attack(name: str, said: str, method: str) -> str:
        spec = f"/user/mallory-{method.lower()}-{quote(name)}"
        with saying(gateway, said.encode(), hangs_up=hangs_up) as url:
            proxy.add(spec, url)
            connection = socket.create_connection((address.hostname, address.port), timeout=20)
            wrong = ask_twice(connection, method, spec, "/user/ann/next")
        return f"{method} {name}: {wrong}" if wrong else ""

    cases = [(*one, method) for one in RAW_ANSWERS.items() for method in ("GET", "HEAD", "POST")]
    with ThreadPoolExecutor(8) as pool:
        assert list(filter(None, pool.map(lambda case: attack(*case), cases))) == []
        # Over connections that are kept.
        paths = [f"/user/ann/{number}" for number in range(50)]
        assert [read_path(proxy, path) for path in paths] == paths


@pytest.mark.parametrize("before", ["x", "\r\n", "ICY ", "HTTP/1.1 200 OK\rX: y\r\n"])
def test_no_head_of_a_workspace_goes_by_unread(proxy, servers, before):
    said = f"{before}HTTP/1.1 200 OK\r\nSet-Cookie: jupyterhub-session-id=known\r\n\r\n"
    address = urlsplit(proxy.url)
    with saying(urlsplit(servers["one"]).hostname, said.encode()) as url:
        proxy.add("/user/mallory", url)
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(
                b"GET /user/mallory/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            answer = connection.makefile("rb").read()
    assert b"known" not in answer


@pytest.mark.parametrize("hangs_up", [True, False], ids=["that hangs up", "that stays"])
def test_what_may_not_be_repeated_is_sent_once(proxy, servers, hangs_up):
    heard: list[bytes] = []
    gateway = urlsplit(servers["one"]).hostname
    with saying(gateway, b"" if hangs_up else b"nonsense\r\n", heard, hangs_up) as url:
        proxy.add("/user/ann", url)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with suppress(requests.ConnectionError):
                answer = proxy.ask("/user/ann/x", method, data=b"12345")
                assert answer.status_code in (502, 503), answer.text
    assert [one.partition(b" ")[0] for one in heard] == [b"POST", b"PUT", b"PATCH", b"DELETE"]


def fill(connection: socket.socket, size: int) -> int:
    """Send so much, or what goes out while nobody takes it; return how much that was."""
    connection.settimeout(2)
    sent = 0
    with suppress(TimeoutError):
        while sent < size:
            sent += connection.send(bytes(min(65536, size - sent)))
    return sent


def test_what_a_workspace_is_sent_and_answers_touches_no_disk(container, proxy, servers, wait_for):
    gateway, address = urlsplit(servers["one"]).hostname, urlsplit(proxy.url)
    size = 100 << 20
    said = f"HTTP/1.1 200 OK\r\nX-Accel-Buffering: yes\r\nContent-Length: {size}\r\n\r\n"

    def begin(head: str) -> socket.socket:
        connection = socket.create_connection((address.hostname, address.port), timeout=20)
        connection.sendall(f"{head}\r\nHost: x\r\n".encode())
        return connection

    with (
        saying(gateway, b"", hangs_up=False) as deaf,
        saying(gateway, said.encode() + bytes(size), hangs_up=False) as endless,
        begin("POST /user/deaf/x HTTP/1.1") as upload,
        begin("GET /user/endless/x HTTP/1.1") as download,
        begin("POST /hub/api/x HTTP/1.1") as form,
    ):
        proxy.add("/user/deaf", deaf)
        proxy.add("/user/endless", endless)
        proxy.add("/", servers["one"])
        upload.sendall(f"Content-Length: {size}\r\n\r\n".encode())
        assert fill(upload, size) < size
        download.sendall(b"\r\n")
        assert download.recv(20).startswith(b"HTTP/1.1 200 ")
        assert list_files(container) == []
        # The twin: what the hub is sent is here as a whole before the hub hears of it.
        form.sendall(b"Content-Length: 900000\r\n\r\n")
        assert fill(form, 800_000) == 800_000
        wait_for(lambda: list_files(container), "a large call of the API is in a file", 10)


@pytest.mark.full
@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_an_upload_may_take_longer_than_five_minutes(proxy, servers):
    proxy.add("/user/ann", servers["one"])

    def trickle() -> Iterator[bytes]:
        for _ in range(31):
            yield b"x"
            PAUSE.wait(10)

    answer = requests.post(f"{proxy.url}/user/ann/x", data=trickle(), timeout=400)
    assert answer.json()["body"] == "x" * 31


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_routes_and_open_websockets_outlive_a_reload_and_routes_a_worker(
    container, proxy, servers, wait_for
):
    proxy.add("/user/ann", servers["one"], user="ann")
    with closing(open_websocket(proxy.url, "/user/ann/socket")) as opened:
        reload_nginx(container, wait_for)
        assert read_server(proxy, "/user/ann/x") == "one"
        assert is_open(opened)
        before = read_moment(proxy, "/user/ann")
        wait_for(lambda: read_moment(proxy, "/user/ann") > before, "it counts as use still", 10)
        # The worker that has it is one of before, and ends it all the same.
        proxy.api("DELETE", "/user/ann")
        wait_for(lambda: not is_open(opened), "it ends with its route", 10)
    proxy.add("/user/ann", servers["one"], user="ann")
    kill_nginx(container, "nginx: worker process")
    wait_for(lambda: read_server(proxy, "/user/ann/x") == "one", "it answers again", 20)
    assert proxy.api("GET", "/user/ann").json()["user"] == "ann"


# Runs inside the container: how many connections to the public port each worker holds.
COUNT_CONNECTIONS = """
import json, pathlib, sys
inodes = set()
for table in ("tcp", "tcp6"):
    for row in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
        words = row.split()
        if words[1].endswith(":1F90") and words[3] == "01":
            inodes.add(f"socket:[{words[9]}]")
print(json.dumps({
    pid: sum(str(one.readlink()) in inodes for one in pathlib.Path("/proc", pid, "fd").iterdir())
    for pid in sys.argv[1:]
}))
"""


def count_connections(container: Hub) -> dict[int, int]:
    """Return how many connections to the public port each of nginx's workers holds."""
    workers = map(str, list_nginx(container, "nginx: worker process"))
    counted = container.exec("python3", "-I", "-c", COUNT_CONNECTIONS, *workers, user="edge")
    return {int(pid): count for pid, count in json.loads(counted).items()}


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_a_killed_worker_ends_its_own_connections_and_no_others(
    container, proxy, servers, wait_for
):
    proxy.add("/user/ann", servers["one"])
    opened = [open_websocket(proxy.url, "/user/ann/socket") for _ in range(24)]
    held = count_connections(container)
    assert sum(held.values()) == len(opened)
    assert len(held) == 2
    killed = min(held, key=lambda pid: (held[pid] == 0, held[pid]))
    docker("exec", "--user", "root", container.name, "kill", "-KILL", str(killed))
    wait_for(
        lambda: sum(is_open(one) for one in opened) == len(opened) - held[killed],
        f"{held[killed]} of {held} end",
        10,
    )
    wait_for(
        lambda: set(list_nginx(container, "nginx: worker process")) - set(held),
        "there is a new worker",
        10,
    )
    assert {read_server(proxy, f"/user/ann/{number}") for number in range(10)} == {"one"}
    assert sum(is_open(one) for one in opened) == len(opened) - held[killed]
    for one in opened:
        one.close()


@pytest.mark.parametrize("container", ["router"], indirect=True)
def test_a_reload_ends_nobody_who_has_begun_to_speak(container, proxy, servers, wait_for):
    proxy.add("/user/ann", servers["one"])
    address = urlsplit(proxy.url)
    upload = (
        "POST /user/ann/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
    )
    ways = {
        "half a head": (upload[:20], upload[20:] + "12345"),
        "half a body": (upload + "12", "345"),
    }
    begun = []
    for name, (now, later) in ways.items():
        for _ in range(10):
            connection = socket.create_connection((address.hostname, address.port), timeout=20)
            connection.sendall(now.encode())
            begun.append((name, connection, later))
    reload_nginx(container, wait_for)
    for name, connection, later in begun:
        with connection, connection.makefile("rb") as file:
            connection.sendall(later.encode())
            answer = read_answer(file, "POST")
            assert answer is not None, name
            assert json.loads(answer[1])["body"] == "12345", name


def test_a_proxy_that_starts_anew_knows_no_route_but_that_to_the_hub(
    container, proxy, servers, wait_for
):
    proxy.add("/user/ann", servers["one"])
    for mark in ("nginx: master", "configurable-http-proxy "):
        kill_nginx(container, mark)

    def is_back() -> bool:
        try:
            return "/user/ann" not in proxy.api("GET").json()
        except (requests.RequestException, json.JSONDecodeError):
            return False

    wait_for(is_back, "it answers without the route", 30)
    container.wait_until_ready()
    routes = proxy.api("GET").json()
    hub = HUB if "START_CHP=true" in container.arguments else f"http://{container.name}:8083"
    assert {spec: route["target"] for spec, route in routes.items()} == {"/": hub}
    assert routes["/"].keys() == {"target", "last_activity"}
    proxy.add(quote("/user/ann"), servers["two"])
    assert read_server(proxy, "/user/ann/x") == "two"


def test_nginx_tells_its_numbers_to_who_knows_the_token_where_it_is_the_proxy(container, proxy):
    address = f"{proxy.api_url}/metrics"
    told = requests.get(address, headers={"Authorization": f"token {TOKEN}"}, timeout=20)
    is_router = "MLHUB_ROUTER=true" in container.arguments
    assert ("mlhub_front_open_websockets" in told.text) is is_router
    for headers in ({}, {"Authorization": "token of somebody else's"}):
        refused = requests.get(address, headers=headers, timeout=20)
        assert refused.status_code in (403, 404)
        assert "mlhub_front" not in refused.text
