"""A flood of the sign-in through the real front: whoever sends it waits, and nobody else."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.support.hub_container import Hub, HubMaker, find_bridge_gateway

# One a second, so five are answered at once, fifty wait, and the rest is refused.
RATE, AT_ONCE, WAITING = 1, 5, 50
MUX = """
import mux from "/resources/templates/mux.js";
for (const address of ["cb007105", "cb007106", "20010db8000100020000000000000001",
                       "20010db80001000200000000000000ff", "20010db8000100030000000000000001",
                       "00000000000000000000ffffcb007105", "00000000000000000000ffffcb007106"])
    console.log(mux.network({ rawVariables: { binary_remote_addr: Buffer.from(address, "hex") } }));
"""


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Hub:
    gateway = find_bridge_gateway()
    return make_hub(MLHUB_TRUSTED_PROXIES=f"{gateway}/32", MLHUB_SIGN_INS_PER_SECOND=str(RATE))


def send(hub: Hub, address: str, path: str = "/hub/login", cookie: str = "") -> socket.socket:
    """Ask for a page as somebody at an address."""
    connection = socket.create_connection((hub.host, hub.port), timeout=10)
    lines = [f"GET {path} HTTP/1.0", "Host: x", f"X-Forwarded-For: {address}", f"Cookie: {cookie}"]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def read(connection: socket.socket) -> bytes:
    """Return the answer; fails where none comes within ten seconds, long before a turn would."""
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def ask(hub: Hub, address: str, path: str = "/hub/login", cookie: str = "") -> int:
    with send(hub, address, path, cookie) as connection:
        return int(read(connection).split(b" ")[1])


def count_answered(flood: list[socket.socket]) -> int:
    """Return how many have got the page by now."""
    answered = 0
    for connection in flood:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            answered += connection.recv(20, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")
    return answered


@pytest.mark.parametrize("place", ["2001:db8:1:2::{}", "::ffff:203.0.113.6"])
def test_a_flood_of_the_sign_in_waits_and_nobody_at_another_address_does(hub, place):
    began = time.monotonic()
    with ExitStack() as stack:
        flood = [
            stack.enter_context(send(hub, place.format(number)))
            for number in range(1, AT_ONCE + WAITING + 30)
        ]
        refused = read(flood[-1])
        assert b" 429 " in refused.partition(b"\r\n")[0]
        assert b"\r\nRetry-After: " in refused
        assert b"Too many requests come in at this moment" in refused
        # Another network, other addresses, and the same one where somebody has signed in before.
        for other in ("2001:db8:1:3::1", "203.0.113.5", "::ffff:203.0.113.7"):
            assert ask(hub, other) == 200, other
        same = place.format("ffff")
        assert ask(hub, same, cookie="mlhub-known-browser=of-before") == 200
        # What is no sign-in costs the hub less, and is not held up.
        assert ask(hub, same, "/hub/health") == 200
        # The others of the flood come one after the other; a moment may have passed in between.
        answered = count_answered(flood)
        assert AT_ONCE <= answered <= AT_ONCE + 2 + RATE * (time.monotonic() - began)


def test_the_port_counts_connections_by_network(hub):
    # By this function, which no request shows where the engine's networks have no IPv6.
    names = hub.exec("node", "--input-type=module", "--eval", MUX).split()
    assert names == [
        "cb007105",
        "cb007106",
        "20010db800010002",
        "20010db800010002",
        "20010db800010003",
        "00000000000000000000ffffcb007105",
        "00000000000000000000ffffcb007106",
    ]
