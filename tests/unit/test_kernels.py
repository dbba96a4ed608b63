"""What a workspace is asked about kernels and terminals before it is stopped, and what counts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mlhub.backends.fake import FakeSpawner
from mlhub.cleanup import kernels
from mlhub.cleanup.kernels import ANSWER_BYTES, find_latest, find_use
from mlhub.options.images import WEB, ImageSettings
from tests.support.at_hand import HubAtHand
from tests.support.names import make_hub_name

OK = b"HTTP/1.1 200 OK\r\n"
PIECE = b" " * 65536
PIECES = 500 * 10**6 // len(PIECE)


class AskedSpawner(FakeSpawner):
    """A workspace that answers at a port of the test's."""

    port_asked = 0

    async def find_url(self):
        return f"http://127.0.0.1:{self.port_asked}/user/ann/" if self.port_asked else None


@pytest.fixture
def spawner():
    hub = HubAtHand("fake/workspace:1", make_hub_name(), AskedSpawner)
    made = hub.user("ann").get_or_create_spawner("", "")
    made.api_token = "t0ken"
    return made


@asynccontextmanager
async def answering(spawner, *pieces, holds=False):
    """Have a spawner's workspace answer so; yield what it is asked, and how many bytes it sent."""
    asked, sent, over = [], [0], asyncio.Event()

    async def answer(reader, writer):
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                sent[0] += len(piece)
            if holds:
                await over.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        spawner.port_asked = server.sockets[0].getsockname()[1]
        try:
            yield asked, sent
        finally:
            over.set()


def tell(*states):
    """Make the answer of a Jupyter server whose kernels are in these states."""
    found = [{"id": str(at), "execution_state": state} for at, state in enumerate(states)]
    body = json.dumps(found).encode()
    return OK + b"Content-Length: %d\r\n\r\n" % len(body), body


@pytest.mark.parametrize(
    ("states", "is_busy"),
    [(["idle", "busy"], True), (["idle", "starting"], False), ([], False), (["dead"], False)],
)
async def test_one_kernel_that_computes_is_enough(spawner, states, is_busy):
    async with answering(spawner, *tell(*states)) as (asked, _):
        use = await find_use(spawner)
    assert (use is not None and use.is_going_on) is is_busy
    lines = [each.decode().split("\r\n") for each in asked]
    # To be asked is no use: a Jupyter server leaves out what says so.
    whats = ["kernels"] if is_busy else ["kernels", "terminals"]
    assert [line for line, *_ in lines] == [
        f"GET /user/ann/api/{what}?no_track_activity=1 HTTP/1.1" for what in whats
    ]
    assert all("Authorization: token t0ken" in headers for _, *headers in lines)


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


async def test_a_terminal_is_used_when_something_was_written_there_last(spawner):
    told = [{"name": "1", "last_activity": "2026-01-02T11:00:00Z"}]
    told.append({"name": "2", "last_activity": "2026-01-02T12:00:00.000000Z"})
    body = json.dumps(told).encode()
    async with answering(spawner, OK, b"\r\n", body):
        use = await find_use(spawner)
    assert (use.at, use.is_going_on) == (NOON, False)


@pytest.mark.parametrize("at", ["2026-01-02T12:00:00", "2026-01-02T14:00:00+02:00"])
def test_a_time_is_read_in_each_of_its_forms(at):
    assert find_latest(json.dumps([{"last_activity": at}]).encode()) == NOON


@pytest.mark.parametrize(
    "at",
    [None, 7, "", "noon", [], {}, "0" * 5000, "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00"],
)
def test_what_is_no_time_is_no_use_and_hides_no_other_one(at):
    bad = {"last_activity": at}
    assert find_latest(json.dumps([bad, {}, "x", None]).encode()) is None
    good = {"last_activity": "2026-01-02T12:00:00Z"}
    assert find_latest(json.dumps([bad, good]).encode()) == NOON


def test_a_workspace_whose_clock_is_ahead_was_not_used_in_the_future():
    before = datetime.now(UTC)
    at = find_latest(json.dumps([{"last_activity": "9999-12-31T23:59:59Z"}]).encode())
    assert before <= at <= datetime.now(UTC)


BUSY = b'[{"execution_state": "busy"}]'


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\nno JSON",
        OK + b"\r\n" + b"[" * 100_000,
        OK + b'\r\n{"execution_state": "busy"}',
        OK + b'\r\n["busy", 7, null, {}]',
        OK + b'\r\n[{"execution_state": ["busy"]}]',
        OK + b"\r\n\xff\xfe\xfd",
        OK + b"Content-Length: 999999999999\r\n\r\n" + BUSY,
        OK + b"Content-Encoding: gzip\r\n\r\n" + BUSY[:-1],
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 403 Forbidden\r\n\r\n" + BUSY,
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n" + BUSY,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
        b"\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"",
    ],
)
async def test_what_is_no_answer_of_jupyter_is_no_computation(spawner, answer):
    async with answering(spawner, answer) as (asked, _):
        assert await find_use(spawner) is None
    assert asked


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        OK + b"Content-Length: 500000000\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1DCD6500\r\n",
        OK + b"X: ",
        b"HTTP/1.1 100 Continue\r\nX: ",
    ],
)
async def test_half_a_gigabyte_is_not_read(spawner, head):
    async with answering(spawner, head, *([PIECE] * PIECES)) as (_, sent):
        assert await find_use(spawner) is None
        # What is under way lies in the buffers of sockets.
        assert sent[0] < 40 * ANSWER_BYTES


async def test_a_workspace_that_says_nothing_or_ever_less_is_waited_for_no_longer(
    spawner, monkeypatch
):
    monkeypatch.setattr(kernels, "ANSWER_SECONDS", 0.2)
    for pieces in ((), (OK,), (OK + b"Content-Length: 9\r\n\r\n", b"[")):
        async with answering(spawner, *pieces, holds=True), asyncio.timeout(10):
            assert await find_use(spawner) is None


async def test_where_there_is_no_jupyter_nobody_is_asked_and_no_token_is_sent(spawner):
    assert await find_use(spawner) is None  # where it answers is not known
    async with answering(spawner, *tell("busy")) as (asked, _):
        assert (await find_use(spawner)).is_going_on
        spawner._image_settings = ImageSettings(kind=WEB)
        assert await find_use(spawner) is None
        spawner._image_settings, spawner.api_token = ImageSettings(), ""
        assert await find_use(spawner) is None
        assert await find_use(object()) is None  # a spawner of a site's own class
    assert len(asked) == 1
