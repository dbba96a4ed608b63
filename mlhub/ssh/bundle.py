"""The SSH server as a workspace in a pod fetches it: the bundle's files and a host identity of its
own, as one archive.

Invariants: only a running workspace gets one, with its own token, and one at a time: it can make
the hub send no more than one archive in ten seconds, and hold no more than one piece of it in
memory. Its private host key is made for this answer and kept nowhere.
"""

from __future__ import annotations

import asyncio
import tarfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from tornado import web
from tornado.iostream import StreamClosedError

from mlhub.identity import HostIdentity
from mlhub.ssh.authority import BUNDLE
from mlhub.ssh.handlers import SshAPIHandler
from mlhub.workspaces.port import SshAccess
from mlhub.workspaces.spawner import find_workspace

LAST = "start"
CHUNK_BYTES = 256 * 1024
ANSWER_SECONDS = 60.0  # a workspace that reads more slowly is cut off
PAUSE_SECONDS = 10.0  # between two archives for one workspace
TROUBLE_CHARACTERS = 200
TROUBLE_HEADER = "X-MLHub-Trouble"
SETTING = "mlhub_ssh_bundle"

Member = tuple[tarfile.TarInfo, Path | bytes]


def list_members(folder: Path, host: HostIdentity) -> list[Member]:
    """List what the archive holds: the host identity, the files of a folder, and ``start`` last,
    which says that all are there.
    """
    texts = (
        ("host/key", host.key),
        ("host/certificate", host.certificate),
        ("host/relay", host.relay),
    )
    members: list[Member] = []
    for name, text in texts:
        content = f"{text}\n".encode()
        members.append((_describe(name, 0o600, len(content)), content))
    files = [(str(path.relative_to(folder)), path) for path in folder.rglob("*") if path.is_file()]
    for name, path in sorted(files, key=lambda file: (file[0] == LAST, file[0])):
        facts = path.stat()
        members.append((_describe(name, facts.st_mode & 0o777, facts.st_size), path))
    return members


def measure(members: Iterable[Member]) -> int:
    """Return how many bytes the archive of these members has."""
    return (
        sum(tarfile.BLOCKSIZE + info.size + _count_padding(info.size) for info, _ in members)
        + 2 * tarfile.BLOCKSIZE
    )


def pack(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield the archive in pieces, none of them empty."""
    for info, source in members:
        yield info.tobuf(tarfile.USTAR_FORMAT)
        if isinstance(source, bytes):
            yield source
        else:
            with source.open("rb") as file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece
        if padding := _count_padding(info.size):
            yield bytes(padding)
    yield bytes(2 * tarfile.BLOCKSIZE)


async def read_in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces of an iterator that reads files, to its very end."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _describe(name: str, mode: int, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, size
    return info


def _count_padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


class BundleHandler(SshAPIHandler):
    """Hand a workspace its SSH server."""

    async def get(self) -> None:
        """Write the archive, a piece at a time: many workspaces may start at once."""
        spawner = find_workspace(self.require_own_spawner())
        ssh = spawner.ssh if spawner is not None else None
        if spawner is None or ssh is None or not ssh.wants_bundle:
            raise web.HTTPError(
                404, "SSH is off, or this workspace's image has a server of its own."
            )
        self._note_trouble(spawner.workspace_name, ssh)
        now = time.monotonic()
        if now < ssh.next_bundle_at:
            self.set_header("Retry-After", str(int(PAUSE_SECONDS)))
            raise web.HTTPError(
                429,
                f"A workspace gets one archive in {PAUSE_SECONDS:.0f} seconds, and one at a time.",
            )
        ssh.next_bundle_at = now + ANSWER_SECONDS + PAUSE_SECONDS
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._send(ssh)
        except StreamClosedError:
            return  # it has gone, and asks again
        except TimeoutError:
            self.log.warning(
                "%s read its SSH server too slowly and was cut off after %.0f s.",
                spawner.workspace_name,
                ANSWER_SECONDS,
            )
            self.request.connection.stream.close()
        finally:
            ssh.next_bundle_at = time.monotonic() + PAUSE_SECONDS

    async def _send(self, ssh: SshAccess) -> None:
        folder = Path(self.settings.get(SETTING, BUNDLE))
        members = await asyncio.to_thread(list_members, folder, await ssh.make_host())
        self.set_header("Content-Type", "application/x-tar")
        self.set_header("Content-Length", str(measure(members)))
        async for piece in read_in_threads(pack(members)):
            self.write(piece)
            await self.flush()

    def _note_trouble(self, name: str, ssh: SshAccess) -> None:
        """Remember what the workspace says went wrong the last time, for the log and for whoever
        wants to come in.
        """
        said = self.request.headers.get(TROUBLE_HEADER, "")[:TROUBLE_CHARACTERS]
        trouble = "".join(
            character if character.isprintable() else " " for character in said
        ).strip()
        if ssh.note_trouble(trouble) and trouble:
            self.log.warning(
                "%s has no SSH server yet, and tries again in growing pauses: %s", name, trouble
            )


HANDLERS: list[tuple[Any, ...]] = [(r"/api/ssh/bundle", BundleHandler)]
