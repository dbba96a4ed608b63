"""What the hub reads of containers, on a real engine: files of every kind, last words, answers that
are too long.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from docker.errors import NotFound
from requests import RequestException

from mlhub.backends.docker import client as client_module
from mlhub.backends.docker.container import Container
from mlhub.backends.docker.engine import THREADS
from mlhub.errors import BackendError, EngineUnreachableError, ImageError
from mlhub.identity import Identity
from tests.support.engine import IMAGE, LABEL

FILES = """
printf 'ssh-ed25519 AAAA' >/key; mkfifo /pipe; \
ln -s /key /link; ln -s /pipe /to-pipe; mkdir /folder; truncate -s 1T /huge
dd if=/dev/zero bs=1M count=3 2>/dev/null | tr '\\0' y >/long; \
mknod /zero c 1 5; echo x >"/$(printf 'n%.0s' $(seq 200))"; \
echo ready; exec sleep 600
"""


@pytest.fixture(scope="module")
def files(client):
    """A container that holds what somebody with root inside may put in place of a small file."""
    client.images.build(
        path=str(Path(__file__).parent / "image"), tag=IMAGE, network_mode="host", rm=True
    )
    container = client.containers.run(
        IMAGE,
        ["-c", FILES],
        entrypoint=["sh"],
        user="root",
        detach=True,
        network_mode="none",
        labels={"mlhub.test.bounds": "1"},
    )
    yield container
    container.remove(force=True, v=True)


@pytest.fixture
async def read(files, engine, wait_for):
    wait_for(lambda: b"ready" in files.logs(), "the files are there")

    async def read(path: str, size: int = 16_384) -> bytes:
        began = time.monotonic()
        try:
            return await engine.call("read_file", files.id, path, size)
        finally:
            assert time.monotonic() - began < 10

    return read


async def test_a_small_file_is_read_and_of_a_large_one_the_beginning(read):
    assert await read("/key") == b"ssh-ed25519 AAAA"
    assert await read("/key", 3) == b"ssh"
    assert await read("/long") == b"y" * 16_384
    assert await read("/huge") == bytes(16_384)
    assert await read("/" + "n" * 200) == b"x\n"


@pytest.mark.parametrize("path", ["/pipe", "/to-pipe", "/link", "/folder", "/zero"])
async def test_what_is_no_plain_file_is_not_read_and_holds_nothing_up(read, path):
    with pytest.raises(BackendError, match="no plain file"):
        await read(path)
    assert await read("/key") == b"ssh-ed25519 AAAA"


async def test_a_path_leads_out_of_no_container(read):
    for path in ("/../../../../etc/shadow-of-the-host", "/nothing"):
        with pytest.raises(NotFound):
            await read(path)


async def test_an_answer_longer_than_the_limit_is_refused_with_a_sentence(engine, monkeypatch):
    assert await engine.call("version")
    monkeypatch.setattr(client_module, "ANSWER_BYTES", 100)
    with (
        pytest.raises(EngineUnreachableError, match="answers with more than"),
        engine.friendly_errors(),
    ):
        await engine.call("info")
    monkeypatch.undo()
    assert await engine.call("info")


async def test_of_last_words_without_end_the_last_are_kept(engine, client, hub_name):
    shout = "head -c 30000000 /dev/zero | tr '\\0' a; printf 'the end'; exit 3"
    identity = Identity(hub_name, "loud", "")
    container = client.containers.create(
        IMAGE,
        ["-c", shout],
        entrypoint=["sh"],
        labels={**LABEL, **identity.labels},
        network_mode="none",
    )
    container.start()
    container.wait(timeout=60)
    error = await Container(engine, identity, container.name).make_death_error(container.id)
    assert str(error).endswith("athe end")
    assert len(str(error)) < 4200


async def test_pulls_from_a_registry_that_says_nothing_hold_up_no_stop_and_have_an_end(
    engine, monkeypatch
):
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        images = [f"127.0.0.1:{silent.getsockname()[1]}/x:{number}" for number in range(THREADS)]
        began = time.monotonic()
        pulls = [asyncio.create_task(engine.pull(image)) for image in images]
        await asyncio.sleep(0.5)
        with pytest.raises(NotFound):
            await asyncio.wait_for(engine.call("stop", "no-such-container"), 2)
        ended = await asyncio.wait_for(asyncio.gather(*pulls, return_exceptions=True), 15)
        assert time.monotonic() - began > 3
    assert all(isinstance(error, RequestException | ImageError) for error in ended), ended
