"""An engine that hangs, is gone, refuses or is too old: sentences, and no live workspace reported
dead.

A relay stands between the hub and the real engine; it can be told to hang or to answer with errors.
"""

import asyncio
import contextlib
import os
import time

import pytest
from tornado import web

from mlhub.backends.docker.engine import Engine, make_error
from mlhub.errors import CapacityError, EngineUnreachableError
from mlhub.identity import Identity
from tests.support.engine import LABEL

SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


class Relay:
    """Pass connections on to the real engine, or do what ``mode`` says: pass, hang, fail, close."""

    def __init__(self, path):
        self.path, self.mode = str(path), "pass"
        self._tasks = set()

    async def serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while head := await self._read_head(reader):
                await self._answer(head, reader, writer)
        writer.close()

    async def _read_head(self, reader):
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""

    async def _answer(self, head, reader, writer):
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ),
            0,
        )
        body = await reader.readexactly(length)
        if self.mode == "hang":
            await asyncio.sleep(3600)
        if self.mode == "fail":
            text = b'{"message": "the engine has a bad day"}'
            writer.write(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Type:"
                b" application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            )
            return
        upstream_reader, upstream = await asyncio.open_unix_connection(SOCKET)
        upstream.write(head.replace(b"Connection: keep-alive", b"Connection: close") + body)
        while chunk := await upstream_reader.read(65536):
            writer.write(chunk)
        upstream.close()
        await writer.drain()
        writer.close()

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self._tasks:
            task.cancel()


@pytest.fixture
async def relay(hub, tmp_path):
    async with Relay(tmp_path / "engine.sock") as relay:
        hub.spawner.client_kwargs = {"base_url": f"unix://{relay.path}", "timeout": 3}
        yield relay


@pytest.mark.parametrize("mode", ["hang", "fail"])
async def test_a_hiccup_of_the_engine_does_not_report_a_live_workspace_as_dead(
    hub, relay, client, mode
):
    spawner = await hub.start("alice")
    relay.mode = mode
    assert await spawner.poll() is None
    relay.mode = "pass"
    assert await spawner.poll() is None
    client.containers.get(Identity(hub.hub_name, "alice").container).stop(timeout=1)
    assert await spawner.poll() is not None


async def test_an_engine_that_hangs_fails_the_start_with_a_sentence_and_blocks_nothing_else(
    hub, relay
):
    await hub.start("alice")
    relay.mode = "hang"
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    watcher = asyncio.create_task(watch())
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("bob")
    watcher.cancel()
    assert caught.value.status_code == 503
    assert "did not answer in time" in caught.value.jupyterhub_message
    assert longest < 0.25
    relay.mode = "pass"
    await hub.start("bob")


async def test_a_deletion_that_failed_is_made_up_for_before_the_name_is_used_again(
    hub, relay, run_in, client
):
    identity = Identity(hub.hub_name, "alice")
    spawner = await hub.start("alice")
    run_in(identity.container, "sh", "-c", "echo secret > /workspace/old")
    await hub.stop("alice")
    relay.mode = "fail"
    with pytest.raises(web.HTTPError):
        await spawner.delete_forever()
    relay.mode = "pass"
    await hub.start("alice")
    assert "old" not in run_in(identity.container, "ls", "/workspace")[1]


async def test_one_slow_stop_holds_up_nobody(hub, client):
    hub.spawner.environment = {"IGNORE_TERM": "1"}
    hub.spawner.stop_seconds = 8
    users = [f"user{index}" for index in range(6)]
    await asyncio.gather(*(hub.start(user) for user in users))
    stops = asyncio.gather(*(hub.stop(user) for user in users))
    await asyncio.sleep(0.2)
    hub.user("zoe")
    await hub.start("zoe")
    assert not stops.done()
    await stops


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("unix:///nowhere/docker.sock", "There is no such socket"),
        ("tcp://127.0.0.1:9", "Nothing listens there"),
    ],
)
async def test_an_engine_that_is_not_there_is_a_sentence(hub, address, sentence):
    hub.spawner.client_kwargs = {"base_url": address}
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 503
    assert sentence in caught.value.jupyterhub_message


async def test_an_engine_that_is_too_old_is_a_sentence(tmp_path):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        text = b'{"ApiVersion": "1.18", "Version": "1.6.2"}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection:"
            b" close\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
        )
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "old.sock"))
    engine = Engine({"base_url": f"unix://{tmp_path}/old.sock"})
    with pytest.raises(EngineUnreachableError, match="is too old"), engine.friendly_errors():
        await engine.call("version")
    engine.close()
    server.close()


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (
            (
                "Error while fetching server API version: ('Connection aborted.',"
                " PermissionError(13, 'Permission denied'))"
            ),
            EngineUnreachableError,
            "group of the socket",
        ),
        (
            "write /var/lib/docker/volumes/x: no space left on device",
            CapacityError,
            "no disk space left",
        ),
        (
            "HTTPConnectionPool: Read timed out. (read timeout=60)",
            EngineUnreachableError,
            "did not answer in time",
        ),
    ],
)
def test_what_can_not_be_brought_about_here_has_a_sentence_too(text, kind, sentence):
    error = make_error(RuntimeError(text), "unix:///var/run/docker.sock")
    assert isinstance(error, kind)
    assert sentence in str(error)


async def test_a_full_disk_is_a_sentence(hub, client, image):
    """A tiny tmpfs as the data of a local volume stands for the full disk: Docker copies the
    image's files into it.
    """
    hub.spawner.http_timeout = 3
    volume = f"{hub.hub_name}-tiny"
    client.volumes.create(
        volume,
        labels=LABEL,
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=4k,nr_inodes=2"},
    )
    hub.spawner.volumes = {volume: "/usr"}
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert "no disk space left" in caught.value.jupyterhub_message
