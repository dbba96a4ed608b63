"""The SSH server as a workspace in a pod fetches it: the bundle's files and a host identity of its own, as one archive.

Promise: only a running workspace gets one, with its own token. Its private host key is made for this answer and kept nowhere.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tornado import web

from mlhub.pages.ssh_keys import SshAPIHandler
from mlhub.workspace.ssh import BUNDLE, HostIdentity

LAST = "start"
CHUNK_BYTES = 256 * 1024
SETTING = "mlhub_ssh_bundle"


def pack(folder: Path, host: HostIdentity) -> Iterator[bytes]:
    """Yield a tar archive in pieces: the host identity, the files of a folder, and ``start`` last, which says that all are there."""
    for name, text in (("host/key", host.key), ("host/certificate", host.certificate)):
        content = f"{text}\n".encode()
        yield _make_header(name, 0o600, len(content)) + content + _pad(len(content))
    names = sorted((str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()), key=lambda name: (name == LAST, name))
    for name in names:
        with (folder / name).open("rb") as file:
            facts = os.fstat(file.fileno())
            yield _make_header(name, facts.st_mode & 0o777, facts.st_size)
            while piece := file.read(CHUNK_BYTES):
                yield piece
            yield _pad(facts.st_size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _make_header(name: str, mode: int, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _pad(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class BundleHandler(SshAPIHandler):
    """Hand a workspace its SSH server."""

    async def get(self) -> None:
        """Write the archive, a piece at a time: many workspaces may start at once."""
        spawner = self.require_own_spawner()
        if not getattr(spawner, "wants_bundle", False):
            raise web.HTTPError(404, "SSH is off, or this workspace's image has a server of its own.")
        pieces = pack(Path(self.settings.get(SETTING, BUNDLE)), await spawner.make_host())
        self.set_header("Content-Type", "application/x-tar")
        while piece := await asyncio.to_thread(next, pieces, b""):
            self.write(piece)
            await self.flush()


HANDLERS: list[tuple[Any, ...]] = [(r"/api/ssh/bundle", BundleHandler)]
