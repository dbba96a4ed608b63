"""What a workspace may answer while the hub waits for it to come up, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
import tracemalloc

import pytest
from jupyterhub.httpclient import JupyterHubHTTPClient
from traitlets.config import Config

from mlhub.backends import readiness
from mlhub.backends.readiness import answers, wait_until_ready
from mlhub.hub.layers.proxy import wire_client
from mlhub.settings import Settings
from mlhub.ssh import other_keys


@pytest.fixture
def traced():
    """Return a function that tells how many bytes of memory the test has had at most."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@contextlib.asynccontextmanager
async def serving(first: bytes, then: bytes = b"", every: float = 0.0, forever: bool = False):
    """Serve what a workspace may: some bytes at once, then more for as long as somebody listens."""
    sent = [0]

    async def serve(reader, writer):
        with contextlib.suppress(
            OSError, asyncio.CancelledError
        ):  # the listener has gone, or the test is over
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            while then or forever:
                writer.write(then)
                await writer.drain()
                sent[0] += len(then)
                await asyncio.sleep(every)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], sent
    finally:
        server.close()


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 404\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 " + b"9" * 5000 + b"\r\n", False),
        (b"HTTP/1.1 " + b"2" * 3000 + b"\r\n", False),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"\x00" * 100_000, False),
        (b"", False),
    ],
)
async def test_an_answer_is_judged_by_its_first_line_whatever_that_is(first, expected):
    async with serving(first) as (port, _):
        assert await answers("127.0.0.1", port, "/api") is expected


async def test_an_answer_without_end_is_read_no_further_than_its_first_line(traced):
    async with serving(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 8000 + b"\r\n") as (port, _):
        assert await answers("127.0.0.1", port, "/api")
    async with serving(b"HTTP/1.1 200 ", b"x" * 65536) as (port, sent):
        began = time.monotonic()
        assert not await answers("127.0.0.1", port, "/api")
        assert time.monotonic() - began < 1
        assert traced() < 2_000_000
        assert sent[0] < 20_000_000


@pytest.mark.parametrize("drip", [b"", b"x"])
async def test_an_answer_that_drips_is_waited_for_no_longer_than_for_one_attempt_and_the_start_ends_in_time(  # noqa: E501
    monkeypatch, drip
):
    monkeypatch.setattr(readiness, "ATTEMPT_SECONDS", 0.5)
    async with serving(b"HTTP", drip, every=0.05, forever=True) as (port, _):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await wait_until_ready("127.0.0.1", port, "/api", 1.0, lives)
        assert time.monotonic() - began < 2.5


BOMB = gzip.compress(bytes(50_000_000))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 8000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
            % (len(BOMB), BOMB),
            b"",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"x"),
    ],
    ids=[
        "a large body",
        "a body without end",
        "headers without end",
        "interim answers without end",
        "a bomb",
        "a way elsewhere",
        "a drip",
    ],
)
async def test_what_a_workspace_answers_about_its_key_is_short_and_soon_or_nothing(
    monkeypatch, traced, first, then
):
    monkeypatch.setattr(other_keys, "ANSWER_SECONDS", 1.0)
    began = time.monotonic()
    async with serving(first, then, every=0.5 if then == b"x" else 0, forever=bool(then)) as (
        port,
        _,
    ):
        assert await other_keys._fetch(f"http://127.0.0.1:{port}/publickey") is None
    assert time.monotonic() - began < 3
    assert traced() < 8_000_000
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nssh-ed25519 AAAA") as (
        port,
        _,
    ):
        assert await other_keys._fetch(f"http://127.0.0.1:{port}/publickey") == "ssh-ed25519 AAA"


async def lives() -> bool:
    return False


async def test_a_hundred_and_fifty_workspaces_that_say_nothing_leave_the_hub_a_connection_to_its_proxy():  # noqa: E501
    c = Config()
    wire_client(c, Settings())
    options = c.JupyterHubHTTPClient.session_options
    assert 30 <= options["timeout"].total <= 60
    client = JupyterHubHTTPClient(config=c)
    JupyterHubHTTPClient._instance, kept = client, JupyterHubHTTPClient._instance
    try:
        async with (
            serving(b"", forever=True, every=1.0) as (stalled, _),
            serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, _),
        ):
            waiting = [
                asyncio.create_task(client.fetch(f"http://127.0.0.1:{stalled}/api"))
                for _ in range(150)
            ]
            await asyncio.sleep(0)
            # Those that stall end after 30 s at the earliest: none of them has made room by then.
            answer = await asyncio.wait_for(client.fetch(f"http://127.0.0.1:{port}/api"), 25)
            assert answer.status == 200
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        await client._session.close()
        JupyterHubHTTPClient._instance = kept


def test_a_workspace_that_ended_without_a_word_is_told_what_an_image_needs():
    assert readiness.quote_last_words("").startswith("It printed nothing. An image without")
    words = readiness.quote_last_words("x" * 5_000 + "\nModuleNotFoundError: jupyterhub")
    assert words.startswith("Its last lines were:\nxxx")
    assert words.endswith("\nModuleNotFoundError: jupyterhub")
    assert len(words) < 4_100
