"""The way to the API goes silent: connections stay, and nothing comes through them any more, as
behind a firewall that forgot them.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time

import pytest
from kubespawner.clients import load_config

from mlhub.backends.kubernetes import watch


class Link:
    """One connection through the relay."""

    def __init__(self) -> None:
        self.watches, self.is_silent = False, False


class Relay:
    """Pass bytes on between the hub and ``kubectl proxy``, and keep back those of watches when it
    is told so.
    """

    def __init__(self, port: int) -> None:
        self.port, self.links = port, []

    def silence_watches(self) -> int:
        """Let nothing through the connections on which a watch is open now; tell how many those
        are.
        """
        watches = [link for link in self.links if link.watches]
        for link in watches:
            link.is_silent = True
        return len(watches)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.links.append(link := Link())
        try:
            await asyncio.gather(
                self._ask(reader, far_writer, link), self._answer(far_reader, writer, link)
            )
        finally:
            self.links.remove(link)
            writer.close()

    async def _ask(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                link.watches = b"watch=True" in data.partition(b"\r\n")[0]
                sink.write(data)
        sink.close()

    async def _answer(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not link.is_silent:
                    sink.write(data)
                    link.watches = link.watches and not data.endswith(
                        b"0\r\n\r\n"
                    )  # the end of an answer
        if not link.is_silent:
            sink.close()


@pytest.fixture
async def relay():
    """A relay to the API through ``kubectl proxy``, which speaks plain HTTP, so that a watch can be
    told from anything else.
    """
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    server = None
    try:
        made = Relay(int(proxy.stdout.readline().rpartition(":")[2]))
        server = await asyncio.start_server(made.connect, "127.0.0.1", 0)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
    finally:
        if server is not None:
            server.close()
        proxy.terminate()
        proxy.wait()
        proxy.stdout.close()
        load_config.cache_clear()  # the next hub goes straight to the API again


async def test_a_watch_that_says_nothing_any_more_is_replaced(hub, relay, monkeypatch):
    monkeypatch.setattr(watch, "FROZEN_SECONDS", 6.0)
    hub.spawner.k8s_api_host, hub.config.WatchedPods.timeout_seconds = relay.url, 1
    load_config.cache_clear()
    spawner = await hub.start("alice", options={"is_mount_volume": False})
    silent = spawner.pod_reflector
    for _ in range(200):
        if relay.silence_watches():
            break
        await asyncio.sleep(0.01)
    hub.cluster.run(
        "delete",
        "--namespace",
        hub.namespace,
        "pod",
        spawner.pod_name,
        "--grace-period=0",
        "--force",
    )
    # Nobody has told the hub, and its watch has neither ended nor failed.
    assert await spawner.poll() is None
    assert not silent.watch_task.done()
    deadline = time.monotonic() + 20
    while await spawner.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert await spawner.poll() is not None
    assert spawner.pod_reflector is not silent
    # And the new watch hears what happens.
    await hub.stop("alice")
    spawner = await hub.start("alice", options={"is_mount_volume": False})
    assert await spawner.poll() is None
