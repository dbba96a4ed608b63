"""The hub's answer to sshd: as quick for a large site as for a small one."""

from __future__ import annotations

import base64
import os
import re
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from jupyterhub import orm

from mlhub.ssh.keys import SshKey
from mlhub.ssh.public_keys import make_fingerprint
from tests.support.hub_process import WorkspaceHub

CONFIG = """
c.FakeSpawner.ssh_folder = "/where no workspace of this test looks"
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
    server: WorkspaceHub

    def ask(self, fingerprint: str) -> str:
        """Ask as sshd's command does, a connection for each question."""
        return self.send(f"keys {fingerprint}")

    def send(self, question: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(f"{question}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def make_key() -> tuple[str, str]:
    """Make the body of a key that nobody has the private half of, and its fingerprint."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (KIND, os.urandom(32)))
    return base64.b64encode(blob).decode(), make_fingerprint(blob)


def fill(server, people: int) -> str:
    """Give a stopped hub's database so many people with a key each; return the fingerprint of the
    first.
    """
    db = orm.new_session_factory(f"sqlite:///{server.directory}/jupyterhub.sqlite")()
    role = orm.Role.find(db, "user")
    users = [orm.User(name=f"p{number}", roles=[role]) for number in range(people)]
    db.add_all(users)
    db.flush()
    keys = [make_key() for _ in users]
    now = datetime.now(UTC).replace(tzinfo=None)
    db.add_all(
        SshKey(
            user_id=user.id,
            name="laptop",
            kind=KIND.decode(),
            bits=256,
            body=body,
            fingerprint=fingerprint,
            created_at=now,
        )
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
        codes = set(
            pool.map(lambda number: service.start(f"p{number}").status_code, range(running))
        )
    assert codes <= {201, 202}
    path = str(server.directory / "bastion" / "lookup.sock")
    site = Site(path, fingerprint, make_key()[1], server)
    server.wait_until(
        lambda: "permitopen" in site.ask(fingerprint), "the first workspace to be entered"
    )
    return site


def test_a_login_is_led_to_where_the_sshd_has_just_answered_and_a_jump_to_the_name(workspace_hub):
    site = make_site(workspace_hub, 1, 1)
    name = "mlhub"
    permitted = re.search(r'permitopen="localhost:(\d+)"', site.ask(site.fingerprint))
    question = f"connect {site.fingerprint} 127.0.0.1 40000 p0.{name} {name}"
    assert site.send(question) == f"open 127.0.0.1 {permitted[1]}\n"
    # The workspace's page tells its owner and administrators that name.
    page = site.server.admin().get("/hub/workspace/p0").text
    assert f'value="ssh p0.{name}"' in page
    assert f'href="vscode://vscode-remote/ssh-remote+p0.{name}/' in page
    assert f"deploy=true&amp;host=p0.{name}&amp;port=22&amp;user=workspace" in page


def test_a_link_lets_somebody_without_an_account_into_one_workspace_and_no_other(workspace_hub):
    site = make_site(workspace_hub, 1, 1)
    server, service, name = site.server, site.server.service(), "mlhub"
    (server.directory / "ssh").mkdir(exist_ok=True)
    (server.directory / "ssh" / "ca.pub").write_text(f"{KIND.decode()} {make_key()[0]} ca\n")
    assert service.start("p0", {}, "thesis").status_code in (201, 202)
    server.wait_until(lambda: site.ask(site.fingerprint).count("permitopen") == 2, "both are open")

    admin, page = server.admin(), "/hub/ssh-access/p0/thesis"
    eve = server.person("eve", "correct horse 42", admin)
    assert eve.get(page).status_code == 403
    found = re.search(
        r'id="key-link"[^>]* value="[^"]*(/hub/ssh-key\?code=([^"]+))"',
        admin.submit(page, {"action": "link", "days": "1"}).text,
    )
    path, code = found.groups()
    stranger, (body, fingerprint) = server.browser(), make_key()
    assert "Enter “thesis” of p0 by SSH" in stranger.get(path).text
    assert (
        stranger.submit(path, {"code": code, "key": "no key"}, to="/hub/ssh-key").status_code == 400
    )
    fields = {"code": code, "key": f"{KIND.decode()} {body}", "name": "visitor"}
    answer = stranger.submit(path, fields, to="/hub/ssh-key")
    assert f'value="ssh thesis.p0.{name}"' in answer.text
    assert stranger.get(path).status_code == 410, "it works once"

    permitted = re.findall(r'permitopen="localhost:(\d+)"', site.ask(fingerprint))
    assert len(permitted) == 1
    enter = f"connect {fingerprint} 127.0.0.1 40001"
    assert site.send(f"{enter} thesis.p0.{name} {name}") == f"open 127.0.0.1 {permitted[0]}\n"
    assert site.send(f"{enter} p0.{name} {name}").startswith("refuse ")
    (key,) = [each for each in service.get("users/p0/ssh-keys").json() if each["name"] == "visitor"]
    assert key["only_server"] == "thesis"
    assert 'class="guest-key"' in admin.get(page).text
    # A later workspace of that name is not theirs.
    removed = service.delete("users/p0/servers/thesis", json={"remove": True})
    assert removed.status_code in (202, 204)
    server.wait_until(lambda: site.ask(fingerprint) == "", "the key is gone with its workspace")
    assert service.start("p0", {}, "thesis").status_code in (201, 202)
    assert site.ask(fingerprint) == ""


def test_an_administrator_registers_a_key_for_one_workspace_or_for_all_and_takes_it_back(
    workspace_hub,
):
    site = make_site(workspace_hub, 1, 1)
    assert site.server.service().start("p0", {}, "thesis").status_code in (201, 202)
    admin, page = site.server.admin(), "/hub/ssh-access/p0"
    for choice, count in (("one", 1), ("all", 2)):
        body, fingerprint = make_key()
        fields = {"action": "key", "key": f"{KIND.decode()} {body}", "name": choice, "for": choice}
        assert "The key is registered." in admin.submit(page, fields).text
        site.server.wait_until(
            lambda fingerprint=fingerprint, count=count: (
                site.ask(fingerprint).count("permitopen") == count
            ),
            f"{choice} opens {count}",
        )
    keys = {each["name"]: each for each in site.server.service().get("users/p0/ssh-keys").json()}
    for name, message in (("all", "There is no such key."), ("one", "The key is removed")):
        fields = {"action": "remove", "number": str(keys[name]["id"])}
        assert message in admin.submit(page, fields).text, name
    assert site.ask(keys["one"]["fingerprint"]) == ""
    link = admin.submit(page, {"action": "link", "days": "1"}).text
    (path,) = re.findall(r'value="[^"]*(/hub/ssh-key\?code=[^"]+)"', link)
    (number,) = re.findall(r'value="unlink"><input type="hidden" name="number" value="(\d+)"', link)
    admin.submit(page, {"action": "unlink", "number": number})
    assert site.server.browser().get(path).status_code == 410


@pytest.mark.full
def test_a_look_up_costs_the_same_among_five_people_and_among_five_thousand(workspace_hub):
    sites = {"small": make_site(workspace_hub, 5, 2), "large": make_site(workspace_hub, 5000, 500)}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for name, site in sites.items():
            for who in (site.fingerprint, site.stranger):
                began = time.perf_counter()
                line = site.ask(who)
                seconds.setdefault((name, "known" if line else "unknown"), []).append(
                    time.perf_counter() - began
                )
    assert 'permitopen="localhost:' in sites["large"].ask(sites["large"].fingerprint)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    assert len(medians) == 4
    for who in ("known", "unknown"):
        assert medians["large", who] <= 1.25 * medians["small", who], medians
