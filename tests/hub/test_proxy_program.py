"""The proxy's program as the image starts it, with what is loaded before it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from mlhub.boot.programs import PROXY_MODULES
from mlhub.errors import EXIT_CONFIGURATION

# TEST-NET-3 (RFC 5737): no address of this machine. Nothing is sent there; it can only not be
# bound.
NOBODYS = "203.0.113.1"


@pytest.fixture
def start(proxy_program: Path, root: Path):
    """Return a function that starts the proxy with these words."""
    started: list[subprocess.Popen] = []
    environment = {
        **os.environ,
        "NODE_OPTIONS": " ".join(
            f"--require {root}/docker/proxy/{module}" for module in PROXY_MODULES
        ),
        "NODE_ENV": "production",
        "CONFIGPROXY_AUTH_TOKEN": "secret",
    }

    def run(*words: str) -> subprocess.Popen:
        command = ["node", str(proxy_program), "--log-level", "warn", *words]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def assert_ended(process: subprocess.Popen, code: int, *parts: str) -> None:
    """Check that it ended by itself, with this code and one sentence."""
    output = process.communicate(timeout=30)[0]
    assert process.returncode == code, output
    (line,) = output.splitlines()
    assert line.startswith("[MLHub] Error: the proxy cannot listen (")
    assert line.endswith("Correct the addresses and ports in ADDITIONAL_ARGS.")
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--ip={NOBODYS}", "--port={port}", "--api-ip=127.0.0.1"], ["EADDRNOTAVAIL", NOBODYS]),
        (["--ip=127.0.0.1", "--port={port}", "--api-ip={NOBODYS}"], ["EADDRNOTAVAIL", NOBODYS]),
        (["--ip=127.0.0.1", "--port=99999", "--api-ip=127.0.0.1"], ["99999"]),
        (
            ["--socket", "/nonexistent/public.sock", "--api-socket", "{folder}/api.sock"],
            ["/nonexistent/public.sock"],
        ),
    ],
    ids=["public address", "api address", "no port", "socket"],
)
def test_a_proxy_that_can_never_listen_says_so_and_ends(start, tmp_path, pick_port, words, parts):
    process = start(
        *(word.format(NOBODYS=NOBODYS, port=pick_port(), folder=tmp_path) for word in words)
    )
    assert_ended(process, EXIT_CONFIGURATION, *parts)


def test_a_port_that_somebody_has_may_be_free_again_later(start, pick_port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (
            "--ip=127.0.0.1",
            f"--port={port}",
            "--api-ip=127.0.0.1",
            f"--api-port={pick_port()}",
        )
        assert_ended(start(*words), 1, "EADDRINUSE", str(port))


def test_one_port_for_both_sides_is_one_too_many(start, pick_port):
    port = pick_port()
    assert_ended(
        start("--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={port}"),
        1,
        "EADDRINUSE",
        str(port),
    )


def test_a_proxy_that_listens_stays_whatever_becomes_of_single_connections(
    start, pick_port, wait_for: Callable[..., object]
):
    port, api_port = pick_port(), pick_port()
    process = start(
        "--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={api_port}"
    )

    def answers(number: int, path: str) -> int:
        try:
            return requests.get(f"http://127.0.0.1:{number}{path}", timeout=5).status_code
        except requests.RequestException:
            return 0

    wait_for(lambda: answers(port, "/_chp_healthz") == 200, "the public side answers", 30)
    assert answers(api_port, "/api/routes") == 403
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert b" 400 " in connection.recv(100)
    assert answers(port, "/_chp_healthz") == 200
    assert process.poll() is None
