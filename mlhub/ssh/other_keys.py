"""Keys that nobody registered in the hub: those that workspaces bring along, and those of a file
kept by hand. Off by default.

Invariants: what a workspace says of itself opens that workspace alone; what it sends is parsed as
one plain key, or dropped; no look-up waits for a workspace, they are asked in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.iostream import UnsatisfiableReadError

from mlhub.errors import MLHubError
from mlhub.ssh.public_keys import PublicKey, parse_public_key
from mlhub.workspaces.port import WorkspaceSpawner
from mlhub.workspaces.spawner import find_workspace

ASK_SECONDS = 15.0
LEARN_SECONDS = 1.0  # while it is not known yet what runs
ANSWER_SECONDS = 5.0
ANSWER_BYTES = 16 * 1024
FILE_BYTES = 4 * 2**20
DEFAULT_FILE = "/etc/ssh/authorized_keys_cache"
log = logging.getLogger(__name__)


def parse_labels(text: str) -> dict[str, str]:
    """Read ``name=value,…``; an empty text selects nothing."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def find_key_file(value: str) -> Path | None:
    """Return the hand-kept file that MANUAL_AUTH_FILE means: ``false`` none, ``true`` the
    original's, else a path.
    """
    if value.strip().lower() in ("", "false", "0", "no", "off"):
        return None
    return Path(
        DEFAULT_FILE if value.strip().lower() in ("true", "1", "yes", "on") else value.strip()
    )


class KeyFile:
    """A file of public keys, one a line, read again when it changes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._mark: tuple[int, int] | None = None
        self._keys: dict[str, PublicKey] = {}

    def find(self, fingerprint: str) -> PublicKey | None:
        """Return the key of a fingerprint."""
        try:
            status = self.file.stat()
            mark = (status.st_mtime_ns, status.st_size)
            if mark != self._mark:
                self._keys, self._mark = self._read(), mark
        except OSError as error:
            log.warning("MANUAL_AUTH_FILE cannot be read: %s", error)
            self._keys, self._mark = {}, None
        return self._keys.get(fingerprint)

    def _read(self) -> dict[str, PublicKey]:
        with self.file.open("rb") as opened:
            lines = opened.read(FILE_BYTES).decode("utf-8", "replace").splitlines()
        keys = [
            _parse(line, f"{self.file}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()[:1] not in ("", "#")
        ]
        return {key.fingerprint: key for key in keys if key}


class WorkspaceKeys:
    """The public keys that workspaces with certain labels have of their own."""

    def __init__(
        self, users: Mapping[Any, Any], labels: Mapping[str, str], port: int, path: str
    ) -> None:
        self.users, self.labels, self.port, self.path = users, labels, port, path
        # By spawner: it is one as long as the workspace runs.
        self._keys: dict[Any, PublicKey] = {}
        self.has_asked = False  # each workspace that ran when the hub was started

    def find(self, fingerprint: str) -> tuple[PublicKey, list[Any]] | None:
        """Return the key of a fingerprint, and the spawners of running workspaces that have it."""
        found = [
            (key, spawner)
            for spawner, key in self._keys.items()
            if key.fingerprint == fingerprint and spawner.ready
        ]
        return (found[0][0], [spawner for _, spawner in found]) if found else None

    async def keep_asking(self) -> None:
        """Ask new workspaces for their keys, and forget those that stopped, as long as the hub
        runs.
        """
        while True:
            spawners = [
                spawner
                for user in list(self.users.values())
                for spawner in list(user.spawners.values())
            ]
            running = [
                workspace
                for spawner in spawners
                if (workspace := find_workspace(spawner)) and self._is_meant(workspace)
            ]
            is_known = not any(spawner.pending == "check" for spawner in spawners)
            self._keys = {spawner: key for spawner, key in self._keys.items() if spawner in running}
            await asyncio.gather(
                *(self._ask(spawner) for spawner in running if spawner not in self._keys)
            )
            self.has_asked = self.has_asked or is_known
            await asyncio.sleep(ASK_SECONDS if self.has_asked else LEARN_SECONDS)

    def _is_meant(self, spawner: WorkspaceSpawner) -> bool:
        if not spawner.ready or spawner.ssh is None or spawner.ssh.address is None:
            return False
        labels = spawner.make_labels()
        return all(labels.get(name) == value for name, value in self.labels.items())

    async def _ask(self, spawner: WorkspaceSpawner) -> None:
        ssh, name = spawner.ssh, spawner.workspace_name
        if ssh is None or (address := ssh.address) is None:
            return
        try:
            text = await _fetch(f"http://{address.host}:{self.port}/publickey")
            if text is None:
                text = await ssh.read_file(self.path, ANSWER_BYTES)
        # Whatever a workspace brings about: the others are asked all the same.
        except Exception as error:  # noqa: BLE001
            log.info("%s was asked for its SSH key and did not answer: %s", name, error)
            return
        if key := _parse(next(iter((text or "").splitlines()), ""), name):
            self._keys[spawner] = key


async def _fetch(url: str) -> str | None:
    request = HTTPRequest(
        url,
        request_timeout=ANSWER_SECONDS,
        connect_timeout=ANSWER_SECONDS,
        follow_redirects=False,
        decompress_response=False,
    )
    client = AsyncHTTPClient(force_instance=True, max_body_size=ANSWER_BYTES)
    try:
        return (await client.fetch(request)).body.decode("utf-8", "replace")
    except (HTTPClientError, UnsatisfiableReadError, OSError, ValueError):
        return None
    finally:
        client.close()


def _parse(line: str, place: str) -> PublicKey | None:
    try:
        return parse_public_key(line)
    except MLHubError as error:
        log.warning("The key of %s is not used: %s", place, error)
        return None


def list_ready(users: Mapping[Any, Any]) -> Iterable[Any]:
    """List the spawners of all running workspaces of this hub."""
    return (
        spawner
        for user in list(users.values())
        for spawner in list(user.spawners.values())
        if spawner.ready
    )
