"""What ends an open SSH session and refuses the next, what an open one counts as, and
what a login leaves in the log.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, Hub, HubMaker
from tests.support.ssh_client import Person, count_seconds_until_end, read_audit, take_best_of_three

SHARING = CONFIG.replace('"tokens"]', '"tokens", "shares", "groups", "admin:groups"]')
OPEN_TO_ALL = "everyone: {}\ngroups:\n  no-ssh: {ssh: false}\n"
# People who help others: by a group with a role, or as administrators, whom only an administrator
# makes.
HELPING = SHARING.replace(
    "load_roles = [",
    'load_roles = [{"name": "helpers", "groups": ["helpers"], "scopes": ["access:servers"]}, ',
)
HELPING = (
    HELPING.replace('"name": "tests", "api', '"name": "tests", "admin": True, "api')
    + '\nc.JupyterHub.load_groups = {"helpers": {"users": []}}\n'
)
# A look every second instead of every minute, so that a test sees several.
OFTEN = "import mlhub.ssh.startup\nmlhub.ssh.startup.ACTIVITY_SECONDS = 1.0\n"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the hub's policy file."""
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.parent.chmod(0o755)
    write(file, OPEN_TO_ALL)
    return file


def write(policy: Path, text: str) -> None:
    """Write the policy at once; a hub never sees half of it."""
    fresh = policy.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(policy)


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker, policy: Path) -> Hub:
    mounts = (f"{policy.parent}:/etc/mlhub:ro",)
    return make_hub(HELPING + OFTEN, mounts=mounts, POLICY_FILE="/etc/mlhub/policy.yaml")


@pytest.fixture
def make_person(hub: Hub, tmp_path: Path) -> Callable[..., Person]:
    """Return a function that makes people with a registered key and a running workspace."""

    def make(name: str, *, runs: bool = True) -> Person:
        person = Person(hub, name, tmp_path / name).join()
        if runs:
            hub.start_workspace(name)
        return person

    return make


@pytest.fixture
def open_session() -> Iterator[Callable[..., subprocess.Popen]]:
    """Return a function that opens sessions, by the set-up's way or by a plain jump; they are gone
    after the test.
    """
    opened: list[subprocess.Popen] = []

    def enter(person: Person, to: str = "", *, jump: bool = False) -> subprocess.Popen:
        words = [to or person.alias]
        if jump:
            words = [
                "-J",
                person.bastion,
                "-p",
                "2222",
                "-o",
                "User=workspace",
                f"ws-{person.hub.name}--{person.name}",
            ]
            words[:0] = ["-o", f"UserKnownHostsFile={person.folder}/known_hosts"]
        command = ["ssh", "-F", str(person.config), *words, "echo in; exec sleep 600"]
        session = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SSH_AUTH_SOCK": ""},
        )
        opened.append(session)
        assert session.stdout.readline() == "in\n"
        return session

    yield enter
    for session in opened:
        session.kill()
        session.wait()


def is_refused(person: Person, to: str = "") -> bool:
    return person.run(to or person.alias, "true").returncode == 255


def test_a_policy_that_switches_ssh_off_ends_sessions_and_refuses_new_ones(
    hub, policy, make_person, open_session
):
    ann, bob = make_person("ann"), make_person("bob")
    others = open_session(bob)

    def switch_off() -> float:
        write(policy, OPEN_TO_ALL)
        sessions = [open_session(ann), open_session(ann, jump=True)]
        write(policy, OPEN_TO_ALL + "users:\n  ann: {ssh: false}\n")
        return count_seconds_until_end(*sessions)

    assert take_best_of_three(switch_off) < 1
    assert is_refused(ann)
    assert "administratively prohibited" in ann.knock(f"ws-{hub.name}--ann:2222").stderr
    assert bob.ask("echo in") == "in\n"
    assert others.poll() is None
    write(policy, OPEN_TO_ALL)
    assert ann.ask("echo in") == "in\n"


def test_joining_a_group_without_ssh_does_the_same(hub, make_person, open_session):
    carl = make_person("carl")
    hub.request("POST", "/hub/api/groups/no-ssh", b"")

    def join() -> float:
        hub.api("DELETE", "groups/no-ssh/users", {"users": ["carl"]})
        session = open_session(carl)
        hub.api("POST", "groups/no-ssh/users", {"users": ["carl"]})
        return count_seconds_until_end(session)

    assert take_best_of_three(join) < 1
    assert is_refused(carl)
    hub.api("DELETE", "groups/no-ssh/users", {"users": ["carl"]})
    assert carl.ask("echo in") == "in\n"


@pytest.mark.parametrize("given", ["group", "administrators"])
def test_a_role_that_is_taken_away_ends_sessions_in_others_workspaces(
    hub, make_person, open_session, given
):
    """By a group that has the role, or by being an administrator."""
    owner, helper, other = (
        make_person(f"{given}-owner"),
        make_person(f"{given}-helper", runs=False),
        make_person(f"{given}-other", runs=False),
    )

    def give(person: Person) -> None:
        if given == "group":
            hub.api("POST", "groups/helpers/users", {"users": [person.name]})
        else:
            hub.api("PATCH", f"users/{person.name}", {"admin": True})

    def take_away(person: Person) -> None:
        if given == "group":
            hub.api("DELETE", "groups/helpers/users", {"users": [person.name]})
        else:
            hub.api("PATCH", f"users/{person.name}", {"admin": False})

    assert is_refused(helper, owner.alias)
    give(other)
    stay = [open_session(owner), open_session(other, owner.alias)]

    def lose() -> float:
        give(helper)
        session = open_session(helper, owner.alias)
        take_away(helper)
        return count_seconds_until_end(session)

    assert take_best_of_three(lose) < 1
    assert is_refused(helper, owner.alias)
    assert [session.poll() for session in stay] == [None, None]


def test_a_policy_without_ssh_holds_after_a_restart_of_the_hub(hub, policy, make_person):
    write(policy, OPEN_TO_ALL + "users:\n  dora: {ssh: false}\n")
    dora, ede = make_person("dora"), make_person("ede")
    known = (ede.folder / "known_hosts").read_text()
    hub.recreate()
    for person in (dora, ede):
        person.set_up()
        assert hub.is_workspace_ready(person.name)
    assert (
        ede.folder / "known_hosts"
    ).read_text() == known  # the authority is kept, so nobody is asked again
    assert is_refused(dora)
    assert ede.ask("echo in") == "in\n"
    write(policy, OPEN_TO_ALL)


def test_what_the_policy_does_not_let_start_is_not_started_by_connecting_either(
    hub, policy, make_person
):
    nina = make_person("nina", runs=False)
    write(policy, OPEN_TO_ALL + "users:\n  nina: {total: {servers: 0}}\n")
    refused = nina.run(nina.alias, "true")
    assert refused.returncode == 255
    assert "You may run no workspace here" in refused.stderr
    assert not hub.is_workspace_ready("nina")
    write(policy, OPEN_TO_ALL)
    assert nina.ask("echo in") == "in\n"


def test_the_sessions_in_a_stopped_workspace_end_and_the_next_jump_is_refused(
    hub, make_person, open_session
):
    gina = make_person("gina")

    def stop() -> float:
        hub.start_workspace("gina")
        sessions = [open_session(gina), open_session(gina, jump=True)]
        assert "SSH-2.0-OpenSSH" in gina.knock(f"ws-{hub.name}--gina:2222").stdout
        hub.stop_workspace("gina")
        return count_seconds_until_end(*sessions)

    assert take_best_of_three(stop) < 1
    assert "administratively prohibited" in gina.knock(f"ws-{hub.name}--gina:2222").stderr
    # The other way in starts it again.
    assert gina.ask("echo in") == "in\n"


def test_the_sessions_of_a_deleted_user_end_in_all_workspaces(hub, make_person, open_session):
    host, leavers = make_person("host"), iter([f"leaver-{number}" for number in range(3)])
    stays = open_session(host)

    def leave() -> float:
        leaver = make_person(next(leavers))
        hub.api(
            "POST", "shares/host/", {"user": leaver.name, "scopes": ["access:servers!server=host/"]}
        )
        sessions = [open_session(leaver), open_session(leaver, host.alias)]
        hub.api("DELETE", f"users/{leaver.name}")  # it stops the workspace first
        seconds = count_seconds_until_end(*sessions)
        assert is_refused(leaver, host.alias)
        return seconds

    assert take_best_of_three(leave) < 1
    assert stays.poll() is None
    assert host.ask("echo in") == "in\n"


@pytest.mark.parametrize("kind", ["one share", "all shares"])
def test_withdrawn_sharing_ends_sessions_and_refuses_new_ones(hub, make_person, open_session, kind):
    owner, guest = make_person("owner"), make_person("guest", runs=False)
    own = open_session(owner)

    def withdraw() -> float:
        hub.api(
            "POST", "shares/owner/", {"user": "guest", "scopes": ["access:servers!server=owner/"]}
        )
        session = open_session(guest, owner.alias)
        hub.api(
            *(
                ("PATCH", "shares/owner/", {"user": "guest"})
                if kind == "one share"
                else ("DELETE", "shares/owner/")
            )
        )
        return count_seconds_until_end(session)

    assert take_best_of_three(withdraw) < 1
    assert is_refused(guest, owner.alias)
    assert own.poll() is None
    for person in (owner, guest):
        for key in hub.api("GET", f"users/{person.name}/ssh-keys"):
            hub.api("DELETE", f"users/{person.name}/ssh-keys/{key['id']}")


def test_an_idle_session_keeps_its_workspace_from_being_culled(
    hub, make_person, open_session, wait_for
):
    busy, idle = make_person("busy"), make_person("idle")
    session = open_session(busy)

    def read(name: str) -> str:
        return hub.api("GET", f"users/{name}")["servers"][""]["last_activity"]

    # Until the workspaces have told of their own start, which is activity too.
    seen = {name: read(name) for name in ("busy", "idle")}
    for _ in range(3):
        seen["busy"] = wait_for(
            lambda: (now := read("busy")) > seen["busy"] and now, "the open session counts", 10
        )
    # What a culler compares: the one with the session is newer than any look, the other stays
    # behind.
    before = {name: read(name) for name in ("busy", "idle")}
    wait_for(lambda: read("busy") > before["busy"], "it goes on counting", 10)
    assert read(idle.name) == before["idle"]
    session.kill()
    session.wait()
    # The twin: after the session it stays where it is, over several looks.
    reads: list[str] = []
    wait_for(
        lambda: reads.append(read("busy")) or reads[-4:] == [reads[-1]] * 4,
        "it counts no longer",
        20,
        every=1,
    )


def test_a_login_is_one_line_of_the_log(hub, make_person):
    fred = make_person("fred")
    fred.ask("true")
    before = len(hub.logs().splitlines())
    fred.ask("true")
    fred.ask("true")
    lines = [line for line in hub.logs().splitlines()[before:] if "/hub/api/users" not in line]
    assert len(lines) == 2, lines
    assert all("Accepted publickey" in line for line in lines), lines
    # With the client's own address, not the one that sshd knows it by.
    address = read_audit(hub)[-1]["address"]
    assert not address.startswith("127.")
    assert all(f" from {address} port " in line for line in lines), lines
