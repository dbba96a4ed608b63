"""A real registry on loopback, and a slow, counting line to it."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.ports import find_free_port

CONFIG = """
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
"""


class Registry:
    """Run Debian's docker-registry.

    The engine takes any registry on a loopback address as it is. ``within`` are words before the
    command, such as those that run it in another network.
    """

    def __init__(self, folder: Path, within: tuple[str, ...] = ()):
        sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
        from tools.engine import install_packages

        install_packages("docker-registry", why="the tests pull from a real registry")
        self.folder, self.port = folder, find_free_port()
        (folder / "config.yml").write_text(CONFIG.format(folder=folder / "data", port=self.port))
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*within, "docker-registry", "serve", str(folder / "config.yml")],
                stdout=log,
                stderr=log,
            )

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2) as answer,
        ):
            return json.load(answer) == {}

    def end(self):
        self.process.terminate()
        self.process.wait(10)


def build(client, tag, base="scratch", layers=1, size=2_000_000, lines=(), label=None):
    """Build an image of random layers, which nobody can compress or has already."""
    import io
    import tarfile

    text = [
        f"FROM {base}",
        *(f"COPY layer{index} /layer{index}" for index in range(layers)),
        *lines,
    ]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in {
            "Dockerfile": "\n".join(text).encode(),
            **{f"layer{index}": os.urandom(size) for index in range(layers)},
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    context.seek(0)
    image, _ = client.images.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, labels=label or {}
    )
    return image


def push(client, tag):
    for event in client.images.push(tag, stream=True, decode=True):
        assert "error" not in event, event


class Line:
    """Stand between the engine and a registry: pass at most so many bytes per second, and count
    what is asked for.
    """

    def __init__(self, registry, bytes_per_second=None):
        self.registry, self.rate, self.port = registry, bytes_per_second, find_free_port()
        self.requests = []
        self._tasks = set()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def count(self, part):
        return sum(part in request for request in self.requests)

    async def serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            upstream_reader, upstream = await asyncio.open_connection(
                "127.0.0.1", self.registry.port
            )
            await asyncio.gather(
                self._pass_on(reader, upstream, self._note),
                self._pass_on(upstream_reader, writer, slowly=True),
            )
        writer.close()

    def _note(self, chunk):
        self.requests += [
            line.decode() for line in chunk.split(b"\r\n") if line.endswith(b"HTTP/1.1")
        ]

    async def _pass_on(self, reader, writer, note=lambda chunk: None, *, slowly=False):
        while chunk := await reader.read(65536):
            note(chunk)
            writer.write(chunk)
            await writer.drain()
            if slowly and self.rate:
                await asyncio.sleep(len(chunk) / self.rate)
        writer.close()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self._tasks:
            task.cancel()
