"""A bastion in a container of its own, as the chart starts it: it knows its hub by a token, and its
sessions outlive the hub.
"""

from __future__ import annotations

import itertools
import time

import pytest

from mlhub.ssh.hub_link import PORT
from tests.support.container_release import BASTION_TOKEN, Client
from tests.support.hub_container import docker
from tests.support.ssh_client import read_audit
from tests.support.wire import Echo


def test_ssh_comes_through_the_public_port_and_the_hub_knows_from_where(release, ann, wait_for):
    assert release.reads_banner()
    for port, to in ((8080, release.proxy.name), (2222, release.containers["ssh"].name)):
        before = len(read_audit(release.hub))
        assert "This bastion only leads into workspaces" in ann.connect(port=port, to=to).stderr
        opened = wait_for(
            lambda seen=before: [
                r for r in read_audit(release.hub)[seen:] if r["event"] == "opened"
            ],
            "opened",
            5,
        )
        assert [(record["user"], record["address"]) for record in opened] == [
            ("ann", ann.address)
        ], to


def test_who_has_no_key_that_opens_is_refused_with_one_line(release, ann, wait_for):
    stranger = Client(release, "stranger")
    before, log = len(read_audit(release.hub)), release.containers["ssh"].logs()
    result = stranger.connect()
    assert result.returncode == 255
    assert result.stderr.splitlines()[-1].endswith("Permission denied (publickey).")
    refused = wait_for(lambda: read_audit(release.hub)[before:], "a record", 5)
    assert [(record["event"], record["address"]) for record in refused] == [
        ("refused", stranger.address)
    ]
    assert len(release.containers["ssh"].logs().removeprefix(log).strip().splitlines()) <= 1
    assert "This bastion only leads into workspaces" in ann.connect().stderr


def test_only_what_comes_to_the_proxys_own_port_may_say_whose_connection_it_is(
    release, ann, wait_for
):
    """Which is open to the proxy's pod alone, by the chart's NetworkPolicy."""
    before = len(read_audit(release.hub))
    for container, port in ((release.proxy, 8080), (release.containers["ssh"], 2222)):
        assert (
            "This bastion"
            not in ann.connect(port=port, to=container.name, claim="203.0.113.7").stderr
        )
    assert (
        "This bastion"
        in ann.connect(port=2223, to=release.containers["ssh"].name, claim="203.0.113.7").stderr
    )
    opened = wait_for(
        lambda: [r for r in read_audit(release.hub)[before:] if r["event"] == "opened"], "opened", 5
    )
    assert [record["address"] for record in opened] == ["203.0.113.7"]


def test_the_door_asks_the_hub_which_starts_what_is_asked_for(release, ann):
    answer = ann.connect(f"connect ann.{release.name} {release.name}").stderr
    assert "does not run yet; it is started" in answer
    assert "cannot be entered by SSH" in answer  # workspaces of the fake backend have no sshd
    assert release.proxy.is_workspace_ready("ann")


def test_open_connections_live_on_while_the_hub_alone_is_started_again(release, ann, wait_for):
    before = len(read_audit(release.hub))
    echo, session = Echo(release.proxy.port, "/services/echo/socket"), ann.hold()
    name = wait_for(lambda: read_audit(release.hub)[before:], "opened", 10)[0]["session"]
    pid = name.partition(":")[2]
    docker("restart", "--time", "20", release.hub.name)
    assert echo.is_alive()
    release.hub.wait_until_ready()
    assert echo.is_alive()
    assert (
        release.containers["ssh"].exec("cat", f"/proc/{pid}/comm", user="61003").startswith("sshd")
    )
    wait_for(
        lambda: "This bastion only leads into workspaces" in ann.connect().stderr,
        "people come in again",
        10,
    )
    # The hub that came after knows of the session, and can end it.
    key = release.proxy.api("GET", "users/ann/ssh-keys")
    number = (key if isinstance(key, list) else key["keys"])[0]["id"]
    release.proxy.api("DELETE", f"users/ann/ssh-keys/{number}")
    session.wait(10)
    closed = wait_for(
        lambda: [
            r for r in read_audit(release.hub) if r["event"] == "closed" and r["session"] == name
        ],
        "closed",
        5,
    )
    assert closed[0]["address"] == ann.address
    ann.register()
    echo.close()


def test_a_bastion_that_is_started_again_finds_its_hub_at_once(release, ann, wait_for):
    bastion = release.containers["ssh"]
    before = bastion.logs().count("Waiting for the hub")
    assert before  # it came before its hub
    docker("restart", "--time", "20", bastion.name)
    bastion.wait_until_ready()
    wait_for(
        lambda: "This bastion only leads into workspaces" in ann.connect().stderr,
        "ann comes in",
        10,
    )
    assert (
        wait_for(
            lambda: [r for r in read_audit(release.hub) if r["event"] == "opened"], "opened", 5
        )[-1]["address"]
        == ann.address
    )
    assert bastion.logs().count("Waiting for the hub") == before


# That it is missed in time: tests/unit/test_bastion_line.py.
@pytest.mark.full
def test_a_hub_that_is_gone_without_a_word_is_missed_and_learns_later_what_happened(
    release, ann, wait_for
):
    def list_lines() -> list[list[str]]:
        rows = [
            row.split()
            for row in (
                release.containers["ssh"]
                .exec("cat", "/proc/net/tcp", user="61003")
                .splitlines()[1:]
            )
        ]
        return [row for row in rows if row[2].endswith(f":{PORT:04X}") and row[3] == "01"]

    before, session = len(read_audit(release.hub)), ann.hold()
    name = wait_for(lambda: read_audit(release.hub)[before:], "opened", 10)[0]["session"]
    assert list_lines()
    docker("network", "disconnect", release.name, release.hub.name)
    try:
        # What the bastion says now is never acknowledged, and the connection is not idle.
        release.containers["ssh"].exec("kill", name.partition(":")[2], user="61003")
        session.wait(10)
        wait_for(lambda: not list_lines(), "the bastion takes the hub for gone", 40)
    finally:
        docker("network", "connect", "--alias", release.name, release.name, release.hub.name)
    closed = wait_for(
        lambda: [
            r for r in read_audit(release.hub) if r["event"] == "closed" and r["session"] == name
        ],
        "closed",
        20,
    )
    assert len(closed) == 1
    wait_for(
        lambda: "This bastion only leads into workspaces" in ann.connect().stderr,
        "people come in again",
        10,
    )


def test_a_bastion_waits_for_its_hub_with_one_line_and_can_be_ended_meanwhile(
    brief_release, wait_for
):
    bastion = brief_release.start("ssh", ready=False)
    wait_for(lambda: "Waiting for the hub, for 120 s at most: " in bastion.logs(), "it says so", 20)
    assert (
        docker("exec", bastion.name, "python", "-I", "-m", "mlhub.boot.health", check=False)
        == "still booting"
    )
    began = time.monotonic()
    docker("stop", "--time", "30", bastion.name)
    assert time.monotonic() - began < 20
    assert docker("inspect", "--format", "{{.State.ExitCode}}", bastion.name) == "0", bastion.logs()
    docker("start", bastion.name)
    brief_release.start("hub")
    bastion.wait_until_ready()
    # JupyterHub waits for a service that does not answer; SSH does not.
    assert "JupyterHub is now running" not in brief_release.hub.logs()
    # One line for each reason, not for each try: first the hub has no name, then it does not answer
    # yet.
    said = [
        line.partition("at most: ")[2]
        for line in bastion.logs().splitlines()
        if "Waiting for the hub" in line
    ]
    assert 2 <= len(said) <= 5
    assert not [
        line for line, next_line in itertools.pairwise(said[1:]) if line == next_line
    ]  # the first is of the first start


def test_a_bastion_without_the_hubs_token_learns_nothing_and_both_say_why(brief_release, wait_for):
    brief_release.bastion_token = "a-token-that-somebody-made-up"
    brief_release.start_echo()
    brief_release.start("hub")
    bastion = brief_release.start("ssh", ready=False)
    hangs_up = (
        f"{brief_release.name}:8082 hangs up; MLHUB_BASTION_TOKEN must be the same for hub and"
        " bastion"
    )
    wait_for(lambda: hangs_up in bastion.logs(), "the bastion says so", 20)
    wait_for(
        lambda: "does not know the token of this hub's bastions" in brief_release.hub.logs(),
        "the hub says so",
        5,
    )
    ask = (
        "import socket,sys; c = socket.create_connection((sys.argv[1], 8082), 5);"
        " c.sendall(sys.argv[2].encode()); print(c.recv(100))"
    )
    # A key that is not registered: who may ask gets an empty answer, so the twin is the
    # certificate.
    for first, answer in (
        ("", "b''"),
        (f"bastion {brief_release.bastion_token} x\n", "b''"),
        (f"bastion {BASTION_TOKEN} x\n", "b'ssh-ed25519-cert"),
    ):
        question = (
            f"{first}certify {(brief_release.folder / 'keys' / 'host_key.pub').read_text()}\n"
        )
        said = bastion.exec("python3", "-c", ask, brief_release.name, question, user="61003")
        assert said.startswith(answer), (first, said)
    assert brief_release.hub.logs().count("does not know the token") <= 6  # three a minute
    for log in (brief_release.hub.logs(), bastion.logs()):
        assert BASTION_TOKEN not in log
        assert brief_release.bastion_token not in log
        assert "Traceback" not in log


def test_an_ssh_session_lives_on_while_hub_and_bastion_are_replaced(brief_release, wait_for):
    """As a chart upgrade replaces them: the new bastion first, the old one drains."""
    brief_release.drain_seconds, brief_release.bastion_has_key = 60, False
    brief_release.start_echo()
    for role in ("proxy", "hub", "ssh"):
        brief_release.start(role)
    wait_for(brief_release.reads_banner, "SSH goes through the proxy", 10)
    ann = Client(brief_release, "ann")
    ann.register()
    before = len(read_audit(brief_release.hub))
    session = ann.hold()
    try:
        name = wait_for(lambda: read_audit(brief_release.hub)[before:], "opened", 10)[0]["session"]
        former = brief_release.replace("ssh")
        docker("kill", "--signal", "TERM", former.name)
        wait_for(
            lambda: "takes no new connections" in former.logs(), "the former bastion drains", 10
        )
        brief_release.start("hub", again=True)
        # New ones come in by the new bastion, whose key is another one with the same name.
        wait_for(
            lambda: "This bastion only leads into workspaces" in ann.connect().stderr,
            "people come in",
            20,
        )
        assert session.poll() is None

        def list_bastions() -> set[str]:
            records = read_audit(brief_release.hub)
            opened = [record for record in records if record["event"] == "opened"]
            return {record["session"].partition(":")[0] for record in opened}

        # The new hub hears of the former bastion's session by the next line from there.
        wait_for(lambda: len(list_bastions()) == 2, "sessions of both bastions are on record", 10)
        # The hub that came after ends it, when its key goes.
        keys = brief_release.proxy.api("GET", "users/ann/ssh-keys")
        number = (keys if isinstance(keys, list) else keys["keys"])[0]["id"]
        brief_release.proxy.api("DELETE", f"users/ann/ssh-keys/{number}")
        session.wait(10)
        closed = wait_for(
            lambda: [
                r
                for r in read_audit(brief_release.hub)
                if r["event"] == "closed" and r["session"] == name
            ],
            "closed",
            5,
        )
        assert closed[0]["address"] == ann.address
        wait_for(
            lambda: (
                docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", former.name)
                == "exited 0"
            ),
            "it ends",
            15,
        )
    finally:
        session.kill()
