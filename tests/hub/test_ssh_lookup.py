"""The hub's answer to sshd: as quick for a large site as for a small one."""

from __future__ import annotations

import base64
import os
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from jupyterhub import orm

from mlhub.auth.public_keys import make_fingerprint
from mlhub.auth.ssh_keys import SshKey

# Workspaces of the fake backend have no sshd; each gets an address as the Docker backend would give it.
CONFIG = """
from mlhub.backends.base import Address
def give_address(spawner):
    spawner.ssh_address = Address(f"ws-{spawner.user.name}", 2222)
c.Spawner.pre_spawn_hook = give_address
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
"""
ROUNDS = 400
KIND = b"ssh-ed25519"


@dataclass
class Site:
    """A hub, its lookup socket, and the fingerprint of somebody with a running workspace."""

    path: str
    fingerprint: str
    stranger: str

    def ask(self, fingerprint: str) -> str:
        """Ask as sshd's command does, a connection for each question."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(f"keys {fingerprint}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def make_key() -> tuple[str, str]:
    """Make the body of a key that nobody has the private half of, and its fingerprint."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (KIND, os.urandom(32)))
    return base64.b64encode(blob).decode(), make_fingerprint(blob)


def fill(server, people: int) -> str:
    """Give a stopped hub's database so many people with a key each; return the fingerprint of the first."""
    db = orm.new_session_factory(f"sqlite:///{server.directory}/jupyterhub.sqlite")()
    role = orm.Role.find(db, "user")
    users = [orm.User(name=f"p{number}", roles=[role]) for number in range(people)]
    db.add_all(users)
    db.flush()
    keys = [make_key() for _ in users]
    now = datetime.now(UTC).replace(tzinfo=None)
    db.add_all(
        SshKey(user_id=user.id, name="laptop", kind=KIND.decode(), bits=256, body=body, fingerprint=fingerprint, created_at=now)
        for user, (body, fingerprint) in zip(users, keys, strict=True)
    )
    db.commit()
    db.close()
    return keys[0][1]


def make_site(workspace_hub, people: int, running: int) -> Site:
    server = workspace_hub(CONFIG)
    server.stop()
    (server.directory / "bastion").mkdir()
    fingerprint = fill(server, people)
    server.start()
    service = server.service()
    with ThreadPoolExecutor(4) as pool:
        codes = set(pool.map(lambda number: service.start(f"p{number}").status_code, range(running)))
    assert codes <= {201, 202}
    path = str(server.directory / "bastion" / "lookup.sock")
    site = Site(path, fingerprint, make_key()[1])
    server.wait_until(lambda: "permitopen" in site.ask(fingerprint), "the first workspace to be entered")
    return site


@pytest.mark.deep
def test_a_look_up_costs_the_same_among_five_people_and_among_five_thousand(workspace_hub):
    sites = {"small": make_site(workspace_hub, 5, 2), "large": make_site(workspace_hub, 5000, 500)}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for name, site in sites.items():
            for who in (site.fingerprint, site.stranger):
                began = time.perf_counter()
                line = site.ask(who)
                seconds.setdefault((name, "known" if line else "unknown"), []).append(time.perf_counter() - began)
    assert 'permitopen="ws-p0:2222"' in sites["large"].ask(sites["large"].fingerprint)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    assert len(medians) == 4
    for who in ("known", "unknown"):
        assert medians["large", who] <= 1.25 * medians["small", who], medians
