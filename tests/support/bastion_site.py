"""A hub's side of the line to its bastions, on real sockets over a real database, in which nobody's
workspace runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jupyterhub import orm
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.user import UserDict

from mlhub.audit import AuditLog
from mlhub.backends.registry import read_settings
from mlhub.boot.accounts import Account
from mlhub.boot.ssh import ensure_key
from mlhub.settings import Settings
from mlhub.ssh import lookup_server
from mlhub.ssh.authority import make_public_line
from mlhub.ssh.grants import Filter, Grants
from mlhub.ssh.host import certify
from mlhub.ssh.keys import SshKeys
from mlhub.ssh.public_keys import parse_public_key
from mlhub.ssh.session_registry import Journal
from tests.support.ports import find_free_port

ME = Account("hub", os.getuid(), os.getgid())
TOKEN = "the-token-of-hub-and-bastion"
HOST = "127.0.0.1"
SECONDS = 10


async def wait_until(question: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true, while the hub's side works on."""
    for _ in range(SECONDS * 50):
        if answer := question():
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {SECONDS} s: {what}")


@dataclass
class Site:
    """A hub that listens on ``port``; ``now`` is its clock."""

    folder: Path
    port: int
    settings: Settings
    grants: Grants
    journal: Journal
    server: lookup_server.LookupServer
    now: list[float]
    fingerprints: list[str] = field(default_factory=list)

    def register(self, user: str) -> str:
        """Register a new key of somebody; return its fingerprint."""
        db = self.grants.keys._db
        person = orm.User.find(db, user) or orm.User(name=user)
        db.add(person)
        db.commit()
        key = parse_public_key(make_public_line(Ed25519PrivateKey.generate()))
        self.grants.keys.add(person, "notebook", key, datetime(2026, 11, 21))
        return key.fingerprint

    def read_audit(self, event: str = "") -> list[dict[str, Any]]:
        file = self.folder / "audit" / "ssh.jsonl"
        records = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
        return [record for record in records if event in ("", record["event"])]

    async def ask(self, text: str | bytes, source: str = HOST) -> bytes:
        """Send something from an address; return all that comes until the hub hangs up."""
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(HOST, self.port, local_addr=(source, 0))
            answer = b""
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                writer.write(text.encode() if isinstance(text, str) else text)
                answer = await reader.read()
            return answer

    async def connect(self, name: str) -> Bastion:
        """Be the program beside the sshd of a bastion."""
        bastion = Bastion(*await asyncio.open_connection(HOST, self.port, limit=2**20))
        bastion.writer.write(f"bastion {TOKEN} {name}\nsessions\n".encode())
        return bastion


@dataclass
class Bastion:
    """A line to the hub over which a bastion tells of its sessions."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def tell(self, **event: Any) -> None:
        self.writer.write(json.dumps(event).encode() + b"\n")

    def tell_session(
        self, pid: int, fingerprint: str, event: str = "opened", **fields: Any
    ) -> None:
        where = {"source": "127.9.9.9", "port": 40000 + pid, "address": "192.0.2.7"}
        self.tell(
            **{"event": event, "pid": pid, "fingerprint": fingerprint, "at": 1e9, **where, **fields}
        )

    async def read_wish(self) -> dict[str, Any]:
        """Return what the hub wants next, beside that it has heard."""
        async with asyncio.timeout(SECONDS):
            while "known" in (wish := json.loads(await self.reader.readline())):
                pass
            return wish

    def hang_up(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """Open a hub's port for bastions, as mlhub.ssh.startup does."""
    (folder / "ssh").mkdir()
    ensure_key(folder / "ssh" / "ca", ME)
    settings = read_settings(
        {
            "DATA_VOLUME_CONTAINER": str(folder),
            "MLHUB_RUN_DIR": str(folder / "run"),
            "EXECUTION_MODE": "k8s",
            "HUB_NAME": "localhost",
            "MLHUB_HOSTNAMES": "hub.example",
            "START_NGINX": "false",
            "START_SSH": "false",
            "MLHUB_BASTION_TOKEN": TOKEN,
        }
    )
    db = orm.new_session_factory(f"sqlite:///{folder}/hub.sqlite")()
    grants = Grants(
        UserDict(lambda: db, {}),
        DummyAuthenticator(),
        SshKeys(db),
        Filter(),
        "/run/mlhub/bastion/lookup.sock",
    )
    now = [1e9]
    audit = AuditLog(folder / "audit" / "ssh.jsonl", lambda: now[0])
    journal = Journal(grants, audit, lambda: now[0])
    server = lookup_server.LookupServer(grants, journal, "", functools.partial(certify, settings))
    # Each hub of a cluster has an address of its own for the one port; those of tests share this
    # machine's.
    port, usual = find_free_port(), lookup_server.PORT
    lookup_server.PORT = port
    try:
        await server.open_port(TOKEN)
    finally:
        lookup_server.PORT = usual
    try:
        yield Site(folder, port, settings, grants, journal, server, now)
    finally:
        server.close()
        audit.close()
        db.close()
