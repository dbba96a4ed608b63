"""One public port speaks HTTP, HTTPS and SSH.

With real client addresses and streams that stream.
"""

from __future__ import annotations

import html
import http.client
import json
import re
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from tests.support.hub_container import CONFIG, RUN, TEST_IMAGE, Hub, HubMaker, docker

# One person's workspace takes its time before it starts.
LINGER_SECONDS = 3
LINGERING = f"""
import asyncio


async def linger(spawner):
    if spawner.user.name == "prog":
        await asyncio.sleep({LINGER_SECONDS})


c.Spawner.pre_spawn_hook = linger
"""
# Everything by which a client could say who it is and how it came, all of it untrue.
CLAIMS = {
    "X-Forwarded-For": "203.0.113.77",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "203.0.113.78",
    "X-Scheme": "ftp",
    "Forwarded": "for=203.0.113.79;proto=ftp",
}


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Hub:
    """Return one running hub over plain HTTP where one person's workspace starts slowly."""
    return make_hub(CONFIG + LINGERING)


@dataclass(frozen=True)
class Visitor:
    """A container with an address that is known: what it asks comes from there."""

    name: str
    address: str

    def ask(self, hub: Hub, path: str, headers: dict[str, str], *more: str) -> str:
        """Ask a hub through its public port by curl; return what it prints, which is the body."""
        options = [
            word for name, value in headers.items() for word in ("--header", f"{name}: {value}")
        ]
        url = f"{hub.scheme}://{find_address(hub)}{path}"
        return docker(
            "exec",
            self.name,
            "curl",
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            *options,
            *more,
            url,
        )


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    """Return a plain container beside the hub's."""
    name = f"mlhub-test-{secrets.token_hex(4)}"
    docker("run", "--detach", "--name", name, "--label", f"mlhub.test={RUN}", TEST_IMAGE)
    yield Visitor(name, docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name))
    docker("rm", "--force", "--volumes", name)


def find_address(hub: Hub) -> str:
    """Return where a container beside it finds a hub's public port."""
    return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", hub.name) + ":8080"


def read_forwarded(echoed: str | bytes) -> dict[str, str]:
    """Return what a workspace was told of its client, by whatever header."""
    headers = json.loads(echoed)["headers"]
    return {
        name: value
        for name, value in headers.items()
        if name.startswith("x-forwarded") or name in ("x-real-ip", "x-scheme", "forwarded")
    }


def read_logged_client(hub: Hub, mark: str) -> str:
    """Wait until a request is in the hub's log; return the address that it has there."""
    line = hub.wait_for(
        lambda: next((line for line in hub.logs().splitlines() if mark in line), None),
        "the request is logged",
        10,
    )
    found = re.search(r"\(\S*@([^)]+)\)", line)
    assert found, line
    return found[1]


def read_banner(hub) -> bytes:
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        return connection.recv(64)


def raw(hub, request: bytes, tls: bool = False) -> bytes:
    connection = socket.create_connection(("127.0.0.1", hub.port), timeout=10)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    with connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_the_port_answers_http_with_the_sign_in_page(hub):
    status, headers, body = hub.request("GET", "/hub/login", headers={})
    assert status == 200
    assert b"MLHub" in body or b"Sign" in body
    assert headers["server"] == "nginx"


@pytest.mark.parametrize("fixture", ["hub", "tls_hub"])
def test_the_same_port_shows_an_ssh_banner(fixture, request):
    assert read_banner(request.getfixturevalue(fixture)).startswith(b"SSH-2.0-OpenSSH")


@pytest.mark.parametrize("pause", [0, 0.3], ids=["at once", "slowly"])
def test_an_ssh_banner_that_comes_in_pieces_is_still_ssh(hub, pause):
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"S", b"SH", b"-2.0-test\r\n"):
            connection.sendall(piece)
            time.sleep(pause)  # nginx must read the pieces one by one
        assert connection.recv(64).startswith(b"SSH-2.0-OpenSSH")


def test_sshd_lets_nobody_in_without_a_key_and_names_the_client_by_its_own_address(hub, wait_for):
    result = subprocess.run(
        [
            "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
            "-p", str(hub.port), "limited-user@127.0.0.1", "true",
        ],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr
    line = wait_for(
        lambda: re.search(r"Connection closed by .*limited-user (\S+) port \d+", hub.logs()),
        "sshd logs the client",
        10,
    )
    # Where clients on this machine come from in the container's network; sshd itself is told an
    # address of its own for each.
    assert line[1] == docker("inspect", "--format", "{{.NetworkSettings.Gateway}}", hub.name)


def test_https_is_served_with_the_generated_certificate(tls_hub):
    certificate = tls_hub.exec("cat", "/data/ssl/cert.crt")
    context = ssl.create_default_context(cadata=certificate)
    with (
        socket.create_connection(("127.0.0.1", tls_hub.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    status, _, _ = tls_hub.request("GET", "/hub/login", headers={})
    assert status == 200


def test_old_tls_versions_are_refused(tls_hub):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", tls_hub.port), timeout=10) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain)


def test_plain_http_on_a_tls_hub_is_sent_to_https_on_the_same_port(tls_hub):
    answer = raw(
        tls_hub,
        f"GET /hub/login?next=%2Fx HTTP/1.1\r\nHost: localhost:{tls_hub.port}\r\nConnection:"
        " close\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 308")
    assert f"Location: https://localhost:{tls_hub.port}/hub/login?next=%2Fx".encode() in answer


def test_a_tls_hello_on_a_plain_hub_is_closed_with_one_line_in_the_log(hub):
    context = ssl.create_default_context()
    before = hub.logs().count("SSL_ENABLED is not set")
    with (
        socket.create_connection(("127.0.0.1", hub.port), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="localhost")
    assert hub.logs().count("SSL_ENABLED is not set") == before + 1


def test_the_hub_logs_the_real_client_and_not_what_the_client_claims(hub, visitor):
    mark = "/hub/does-not-exist-a1"
    visitor.ask(hub, mark, CLAIMS)
    assert read_logged_client(hub, mark) == visitor.address


@pytest.mark.parametrize(("fixture", "claimed"), [("hub", "https"), ("tls_hub", "http")])
def test_forwarded_headers_of_a_client_are_replaced_before_a_workspace_sees_them(
    fixture, claimed, request, visitor
):
    hub = request.getfixturevalue(fixture)
    hub.start_workspace("fwd")
    echoed = visitor.ask(
        hub, "/user/fwd/echo", {**hub.headers, **CLAIMS, "X-Forwarded-Proto": claimed}
    )
    assert read_forwarded(echoed) == {
        "x-forwarded-for": visitor.address,
        "x-forwarded-proto": hub.scheme,
        "x-forwarded-host": find_address(hub),
    }


def test_a_named_proxy_in_front_is_believed_and_nobody_else(make_hub, visitor):
    hub = make_hub(MLHUB_TRUSTED_PROXIES=f"192.0.2.0/24,{visitor.address}/32")
    hub.start_workspace("fwd")
    told = {
        **CLAIMS,
        "X-Forwarded-For": "203.0.113.88",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "hub.example",
    }
    visitor.ask(hub, "/hub/does-not-exist-b2", told)
    assert read_logged_client(hub, "/hub/does-not-exist-b2") == "203.0.113.88"
    assert read_forwarded(visitor.ask(hub, "/user/fwd/echo", {**hub.headers, **told})) == {
        "x-forwarded-for": "203.0.113.88",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "hub.example",
    }
    assert "; Secure" in visitor.ask(hub, "/hub/login", told, "--dump-header", "-")
    # Of a list the first one saw the browser, as JupyterHub reads it.
    for protocols, is_secure in (
        ("https,http", True),
        (" HTTPS , http", True),
        ("http,https", False),
    ):
        page = visitor.ask(
            hub, "/hub/login", {**told, "X-Forwarded-Proto": protocols}, "--dump-header", "-"
        )
        assert ("; secure" in page.lower()) is is_secure, protocols
    # Behind two proxies in a row the client is whom the outer one saw, whatever that client
    # claimed.
    visitor.ask(
        hub, "/hub/does-not-exist-b4", {"X-Forwarded-For": "203.0.113.66, 203.0.113.88, 192.0.2.7"}
    )
    assert read_logged_client(hub, "/hub/does-not-exist-b4") == "203.0.113.88"
    # What comes through the published port has the address of the engine's bridge, which is
    # nobody's proxy.
    hub.request("GET", "/hub/does-not-exist-b3", headers=told)
    bridge = docker("inspect", "--format", "{{.NetworkSettings.Gateway}}", hub.name)
    assert read_logged_client(hub, "/hub/does-not-exist-b3") == bridge
    assert read_forwarded(
        hub.request("GET", "/user/fwd/echo", headers={**hub.headers, **told})[2]
    ) == {
        "x-forwarded-for": bridge,
        "x-forwarded-proto": "http",
        "x-forwarded-host": f"{hub.host}:{hub.port}",
    }


def test_a_whole_school_behind_one_address_signs_in_within_a_minute(hub):
    with requests.Session() as form:
        form.trust_env = False
        url = f"http://{hub.host}:{hub.port}/hub/login"
        token = re.search(r'name="_xsrf" value="([^"]*)"', form.get(url, timeout=30).text)[1]
        fields = {"_xsrf": html.unescape(token), "username": "pupil", "password": "whatever"}

        def sign_in(_: int) -> int:
            return requests.post(
                url, data=fields, cookies=form.cookies.copy(), allow_redirects=False, timeout=60
            ).status_code

        with ThreadPoolExecutor(50) as pool:
            assert Counter(pool.map(sign_in, range(300))) == {302: 300}


@pytest.mark.parametrize(("fixture", "flags"), [("hub", []), ("tls_hub", ["secure"])])
def test_a_cookie_that_came_over_https_never_goes_back_over_http(fixture, flags, request):
    hub = request.getfixturevalue(fixture)
    # What strangers say about the scheme counts for nothing.
    _, headers, _ = hub.request(
        "GET", "/hub/login", headers={"X-Forwarded-Proto": "http" if flags else "https"}
    )
    name, *rest = [part.strip() for part in headers["set-cookie"].split(";")]
    assert name.startswith("_xsrf=")
    assert [part.lower() for part in rest if part.lower() == "secure"] == flags
    assert any(part == "Path=/hub/" for part in rest)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "HTTP://LOCALHOST"]
)
def test_no_origin_is_granted_anything(hub, origin):
    for method in ("GET", "OPTIONS"):
        _, headers, _ = hub.request(method, "/hub/api/user", headers={"Origin": origin})
        assert "access-control-allow-origin" not in headers
        assert "access-control-allow-credentials" not in headers


def test_a_flood_in_a_sign_in_form_is_refused_at_the_door(hub):
    status, _, _ = hub.request(
        "POST",
        "/hub/login",
        b"username=" + b"x" * 200_000,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 413


def test_a_large_upload_reaches_the_workspace(hub):
    hub.start_workspace("upl")
    body = b"\0" * (64 * 1024 * 1024)
    status, _, _ = hub.request(
        "POST",
        "/user/upl/upload",
        body,
        headers={**hub.headers, "Content-Type": "application/octet-stream"},
        timeout=120,
    )
    assert status == 200


def test_progress_is_streamed_while_the_workspace_starts(hub):
    hub.api("POST", "users/prog", b"")
    # The request for a start is answered when the workspace is ready: others watch meanwhile.
    starting = threading.Thread(
        target=hub.request, args=("POST", "/hub/api/users/prog/server", b"{}")
    )
    starting.start()
    hub.wait_for(
        lambda: hub.api("GET", "users/prog")["pending"] == "spawn",
        "the workspace is starting",
        10,
        0.05,
    )
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=30)
    connection.request("GET", "/hub/api/users/prog/server/progress", headers=hub.headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    arrived = [
        (time.monotonic(), json.loads(line[len(b"data: ") :]))
        for line in answer
        if line.startswith(b"data: ")
    ]
    connection.close()
    starting.join()
    (first_at, first), (ready_at, ready) = arrived[0], arrived[-1]
    assert "ready" not in first
    assert ready["ready"] is True
    assert ready_at - first_at > 1, arrived


def test_an_unknown_workspace_is_the_hubs_to_answer(hub):
    status, headers, _ = hub.request("GET", "/user/nobody-here/lab", headers={})
    assert (status, headers["location"]) == (302, "/hub/user/nobody-here/lab")
    assert headers["server"] == "nginx"
