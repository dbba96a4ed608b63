"""One public port speaks HTTP, HTTPS and SSH, with real client addresses and streams that stream."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time

import pytest


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


def test_sshd_lets_nobody_in_without_a_key_and_names_the_client_by_an_address_of_its_own(hub, wait_for):
    result = subprocess.run(
        ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-p", str(hub.port), "limited-user@127.0.0.1", "true"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr
    wait_for(lambda: re.search(r"Connection closed by.* 127\.\d+\.\d+\.\d+ port", hub.logs()), "sshd logs the client", 10)
    sources = set(re.findall(r"Connection closed by.* (127\.\d+\.\d+\.\d+) port", hub.logs()))
    assert sources
    assert "127.0.0.1" not in sources


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
    with socket.create_connection(("127.0.0.1", tls_hub.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_plain_http_on_a_tls_hub_is_sent_to_https_on_the_same_port(tls_hub):
    answer = raw(tls_hub, f"GET /hub/login?next=%2Fx HTTP/1.1\r\nHost: localhost:{tls_hub.port}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 308")
    assert f"Location: https://localhost:{tls_hub.port}/hub/login?next=%2Fx".encode() in answer


def test_a_tls_hello_on_a_plain_hub_is_closed_with_one_line_in_the_log(hub):
    context = ssl.create_default_context()
    before = hub.logs().count("SSL_ENABLED is not set")
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="localhost")
    assert hub.logs().count("SSL_ENABLED is not set") == before + 1


def test_the_hub_logs_the_real_client_and_not_what_the_client_claims(hub, wait_for):
    mark = "/hub/does-not-exist-a1"
    hub.request("GET", mark, headers={"X-Forwarded-For": "203.0.113.77", "X-Real-IP": "203.0.113.78", "Forwarded": "for=203.0.113.79"})
    line = wait_for(lambda: next((line for line in hub.logs().splitlines() if mark in line), None), "the request is logged", 10)
    assert "203.0.113" not in line
    assert re.search(r"@(172|10|192)\.\d+\.\d+\.\d+", line) or "@127.0.0.1" not in line


def test_forwarded_headers_of_a_client_are_replaced_before_a_workspace_sees_them(hub):
    hub.start_workspace("fwd")
    claimed = {
        "X-Forwarded-For": "203.0.113.77",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Scheme": "https",
        "Forwarded": "for=1",
    }
    status, _, body = hub.request("GET", "/user/fwd/echo", headers={**hub.headers, **claimed})
    assert status == 200
    assert b"203.0.113.77" not in body
    assert b"evil.example" not in body


def test_a_named_proxy_in_front_is_believed(make_hub, wait_for):
    hub = make_hub(MLHUB_TRUSTED_PROXIES="172.16.0.0/12,10.0.0.0/8,192.168.0.0/16")
    mark = "/hub/does-not-exist-b2"
    hub.request("GET", mark, headers={"X-Forwarded-For": "203.0.113.88", "X-Forwarded-Proto": "https"})
    line = wait_for(lambda: next((line for line in hub.logs().splitlines() if mark in line), None), "the request is logged", 10)
    assert "203.0.113.88" in line


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "HTTP://LOCALHOST"])
def test_no_origin_is_granted_anything(hub, origin):
    for method in ("GET", "OPTIONS"):
        _, headers, _ = hub.request(method, "/hub/api/user", headers={"Origin": origin})
        assert "access-control-allow-origin" not in headers
        assert "access-control-allow-credentials" not in headers


def test_a_flood_in_a_sign_in_form_is_refused_at_the_door(hub):
    status, _, _ = hub.request(
        "POST", "/hub/login", b"username=" + b"x" * 200_000, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert status == 413


def test_a_large_upload_reaches_the_workspace(hub):
    hub.start_workspace("upl")
    body = b"\0" * (64 * 1024 * 1024)
    status, _, _ = hub.request(
        "POST", "/user/upl/upload", body, headers={**hub.headers, "Content-Type": "application/octet-stream"}, timeout=120
    )
    assert status == 200


def test_progress_is_streamed_while_the_workspace_starts(hub):
    hub.request("POST", "/hub/api/users/prog", b"")
    hub.request("POST", "/hub/api/users/prog/server", b"{}")
    status, headers, body = hub.request("GET", "/hub/api/users/prog/server/progress")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert b'"ready": true' in body


def test_an_unknown_workspace_is_the_hubs_own_page(hub):
    status, headers, _ = hub.request("GET", "/user/nobody-here/lab", headers={})
    assert status in (302, 403, 404)
    assert headers["server"] == "nginx"
