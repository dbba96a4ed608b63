"""Into workspaces of any image by SSH, through the one public port, with real clients."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, IMAGE, TEST_IMAGE, Hub, HubMaker, docker
from tests.support.ports import find_free_port
from tests.support.ssh_client import (
    MINIMAL,
    OTHER,
    OWN,
    STACKS,
    Person,
    count_seconds_until_end,
    ensure_images,
    read_audit,
    take_best_of_three,
)
from tests.support.wire import list_own_processes, list_processes

# Workspaces of the field: kind → image, and the account that people find themselves as.
KINDS = {
    "own": (OWN, "mlhub"),
    "stacks": (STACKS, "jovyan"),
    "other": (OTHER, "ada"),
    "minimal": (MINIMAL, "workspace"),
    "root": (TEST_IMAGE, "root"),
}
SSH_CONFIG = (
    CONFIG.replace('"tokens"]', '"tokens", "shares"]')
    + f"""
c.Spawner.workspace_images = {sorted({image for image, _ in KINDS.values()})!r}
c.Spawner.image_settings = {{\
"mlhub-test-stacks*": {{"port": 8888, "mount_point": "/home/jovyan"}}, \
"{MINIMAL}": {{"cmd": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www", "-v"]}}, \
"{OTHER}": {{"cmd": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www", "-v"]}}}}

def shut_the_disk(spawner):
    if spawner.user.name == "ro":
        spawner.extra_host_config = {{"read_only": True}}

c.Spawner.pre_spawn_hook = shut_the_disk
"""
)


@pytest.fixture(scope="module", params=["http", pytest.param("https", marks=pytest.mark.full)])
def hub(request: pytest.FixtureRequest, make_hub: HubMaker) -> Hub:
    """Return a hub; the long tier asks all of it once more with TLS on the port, of which the gate
    has one canary.
    """
    ensure_images()
    return (
        make_hub(SSH_CONFIG)
        if request.param == "http"
        else make_hub(SSH_CONFIG, SSL_ENABLED="true")
    )


@pytest.fixture
def make_person(tmp_path: Path) -> Callable[..., Person]:
    """Return a function that makes people with keys."""
    return lambda hub, name, kind="ed25519": Person(hub, name, tmp_path / name, kind)


@pytest.fixture
def person(hub: Hub, make_person: Callable[..., Person]) -> Iterator[Person]:
    """Return somebody whose key is registered and whose workspace runs; the key is removed
    afterwards.
    """
    somebody = make_person(hub, "ann")
    number = somebody.register()
    somebody.set_up()
    hub.start_workspace("ann")
    yield somebody
    hub.request("DELETE", f"/hub/api/users/ann/ssh-keys/{number}")


def test_what_workspaces_get_holds_all_that_it_loads_and_is_less_than_twelve_megabytes():
    # Every library of every program, as the loader of the bundle finds it.
    ask = (
        "du -sb /.mlhub; cd /.mlhub/bin; for file in *; do LD_TRACE_LOADED_OBJECTS=1 LD_WARN=1 "
        "LD_BIND_NOW=1 ./$file; done 2>&1"
    )
    size, *loaded = docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", ask).splitlines()
    assert [line for line in loaded if "/.mlhub/" not in line and "linux-vdso" not in line] == []
    assert len(loaded) > 20
    # Where the mirror that the image was built from has no packages of Debian's installer, sshd is
    # the one with Kerberos.
    limit = 18_000_000 if any("libkrb5" in line for line in loaded) else 12_000_000
    assert int(size.split()[0]) < limit


@pytest.mark.parametrize("kind", KINDS)
def test_any_image_is_entered_with_a_terminal_files_and_tunnels(
    hub, make_person, kind, tmp_path, wait_for
):
    image, account = KINDS[kind]
    somebody = make_person(hub, f"k-{kind}").join()
    hub.start_workspace(somebody.name, options={"image": image})
    assert "on a terminal" in somebody.ask("[ -t 0 ] && echo on a terminal", "-tt")
    assert somebody.ask('echo "$USER $HOME"').split()[0] == account
    assert somebody.ask("echo $JUPYTERHUB_USER").strip() == somebody.name
    payload = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(payload)
    where = somebody.ask("cd /dev/shm && pwd").strip()
    copied = somebody.run(
        "-q", str(tmp_path / "there"), f"{somebody.alias}:{where}/copy", program="scp"
    )
    assert copied.returncode == 0, copied.stderr
    fetched = somebody.run(f"{somebody.alias}:{where}/copy", str(tmp_path / "back"), program="sftp")
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / "back").read_bytes() == payload
    assert tunnel_answers(somebody, wait_for)


def test_ssh_comes_in_beside_tls_on_the_same_port(make_brief_hub, make_person, wait_for):
    ensure_images()
    hub = make_brief_hub(SSH_CONFIG, SSL_ENABLED="true")
    somebody = make_person(hub, "secure").join()
    hub.start_workspace(somebody.name)
    assert somebody.ask("echo in").strip() == "in"
    jump = (
        "-J",
        somebody.bastion,
        "-o",
        "User=workspace",
        "-o",
        f"UserKnownHostsFile={somebody.folder}/known_hosts",
        "-p",
        "2222",
    )
    assert somebody.run(*jump, f"ws-{hub.name}--{somebody.name}", "echo in").stdout.strip() == "in"
    assert tunnel_answers(somebody, wait_for)


def tunnel_answers(somebody: Person, wait_for: Callable) -> bool:
    """Return True if the workspace's own web server answers through ``-L``."""
    port = find_free_port()
    inside = 8888 if somebody.name.endswith("stacks") else 8080
    tunnel = subprocess.Popen(
        [
            "ssh", "-F", str(somebody.config), "-N", "-o", "ExitOnForwardFailure=yes",
            "-L", f"127.0.0.1:{port}:127.0.0.1:{inside}", somebody.alias,
        ],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: is_open(port), "the tunnel is open", 20)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.")
    finally:
        tunnel.terminate()
        tunnel.wait()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_read_only_root_is_entered_too(hub, make_person):
    somebody = make_person(hub, "ro").join()
    hub.start_workspace("ro", options={"image": MINIMAL})
    assert somebody.ask("echo in").strip() == "in"
    assert (
        docker(
            "inspect",
            "--format",
            "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}",
            f"ws-{hub.name}--ro",
        )
        == "true [ALL]"
    )


def test_a_jump_by_the_containers_name_leads_in(person):
    name = f"ws-{person.hub.name}--ann"
    # By its SSH name one waits until the workspace's sshd is there, by a jump one does not.
    assert person.run(person.alias, "true").returncode == 0
    result = person.run(
        "-J",
        person.bastion,
        "-o",
        "User=workspace",
        "-o",
        f"UserKnownHostsFile={person.folder}/known_hosts",
        "-p",
        "2222",
        name,
        "echo in",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "in"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_each_kind_of_key_opens(hub, make_person, kind):
    somebody = make_person(hub, "keyring", kind).join()
    hub.start_workspace(somebody.name)
    assert somebody.ask("echo in").strip() == "in"


def test_a_hundred_megabytes_arrive_as_they_were(person, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1_000_000) * 100)
    result = person.run("-q", str(file), f"{person.alias}:/dev/shm/large", program="scp")
    assert result.returncode == 0, result.stderr
    assert (
        person.ask("sha256sum /dev/shm/large").split()[0]
        == hashlib.sha256(file.read_bytes()).hexdigest()
    )
    person.ask("rm /dev/shm/large")


@pytest.mark.full
def test_a_gigabyte_arrives_as_it_was(person, tmp_path):
    file, part, digest = tmp_path / "large", os.urandom(1_000_000), hashlib.sha256()
    with file.open("wb") as opened:
        for number in range(1000):
            block = number.to_bytes(4, "big") + part[4:]
            opened.write(block)
            digest.update(block)
    result = person.run("-q", str(file), f"{person.alias}:large", program="scp", timeout=300)
    assert result.returncode == 0, result.stderr
    assert person.ask("sha256sum large; rm large").split()[0] == digest.hexdigest()


def test_rsync_and_the_old_scp_work_without_either_in_the_image(person, tmp_path):
    assert person.ask("command -v rsync scp").splitlines() == [
        "/.mlhub/bin/rsync",
        "/.mlhub/bin/scp",
    ]
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("content")
    result = subprocess.run(
        [
            "rsync",
            "-a",
            "-e",
            f"ssh -F {person.config}",
            f"{tmp_path}/tree",
            f"{person.alias}:/dev/shm/",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert person.ask("cat /dev/shm/tree/deep/file") == "content"
    # Clients of old ask for an scp on the other side.
    result = person.run(
        "-O", "-q", f"{person.alias}:/dev/shm/tree/deep/file", str(tmp_path / "back"), program="scp"
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "back").read_text() == "content"


def test_a_repository_of_the_workspace_is_cloned_and_pushed_to(hub, make_person, tmp_path):
    somebody = make_person(hub, "coder").join()
    hub.start_workspace("coder", options={"image": OWN})
    somebody.ask("git init --quiet --bare /dev/shm/project")

    def git(*words: str) -> str:
        names = [
            "-c",
            "user.name=Coder",
            "-c",
            "user.email=coder@example.org",
            "-c",
            f"core.sshCommand=ssh -F {somebody.config}",
        ]
        result = subprocess.run(
            ["git", *names, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    git("clone", "--quiet", f"{somebody.alias}:/dev/shm/project", "mine")
    git("-C", "mine", "commit", "--quiet", "--allow-empty", "--message", "by the tunnel")
    git("-C", "mine", "push", "--quiet", "origin", "HEAD:main")
    assert "by the tunnel" in somebody.ask("git -C /dev/shm/project log --oneline main")


def test_an_open_session_costs_no_python_process(person, wait_for):
    def list_python() -> list[int]:
        # Not the engine's probes of the container's health, which are Python as well.
        own = list_own_processes(person.hub)
        return [entry["pid"] for entry in own if "python" in entry["command"]]

    before = list_python()
    sessions = [
        subprocess.Popen(
            ["ssh", "-F", str(person.config), person.alias, "echo in; sleep 600"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        assert [session.stdout.readline() for session in sessions] == ["in\n"] * 3
        assert before
        wait_for(lambda: list_python() == before, "what let them in has ended", 10)
    finally:
        for session in sessions:
            session.kill()
            session.wait()


def test_twenty_sessions_at_once(person):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: person.ask(f"echo {number}").strip(), range(20)))
    assert answers == [str(number) for number in range(20)]


def test_an_editors_server_is_brought_up_over_one_session(person, wait_for):
    """VS Code's way: a shell on an exec channel starts a server on a port of 127.0.0.1, reached by
    dynamic forwarding.
    """
    port = find_free_port()
    session = subprocess.Popen(
        ["ssh", "-F", str(person.config), "-T", "-D", f"127.0.0.1:{port}", person.alias, "sh"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        session.stdin.write(
            "uname -m; mkdir -p ~/.editor-server && echo ready $HOME; exec sleep 60\n"
        )
        session.stdin.flush()
        assert session.stdout.readline().strip()
        assert session.stdout.readline().startswith("ready /")
        wait_for(lambda: is_open(port), "the dynamic forwarding listens", 10)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"\x05\x01\x00")
            assert connection.recv(2) == b"\x05\x00"
            connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + (8080).to_bytes(2, "big"))
            assert connection.recv(10)[1] == 0
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(16).startswith(b"HTTP/1.")
    finally:
        session.kill()
        session.wait()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run an agent without keys; return the environment by which it is found."""
    place = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not place.exists():
            assert process.poll() is None
        yield {**os.environ, "SSH_AUTH_SOCK": str(place)}
    finally:
        process.terminate()
        process.wait()


def run_with(agent: dict[str, str], config: Path, *words: str) -> str:
    """Run ssh with an agent's keys; return what it printed."""
    result = subprocess.run(
        ["ssh", "-F", str(config), *words],
        env=agent, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_an_agent_reaches_the_own_workspace_and_not_the_bastion(person, agent):
    subprocess.run(["ssh-add", "-q", str(person.key)], env=agent, check=True)
    inside = "test -S $SSH_AUTH_SOCK && echo forwarded"
    assert run_with(agent, person.config, "-A", person.alias, inside) == "forwarded"


def test_the_last_of_an_agents_ten_keys_opens_as_the_first_does(person, agent, tmp_path):
    for number in range(9):
        key = tmp_path / f"other{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        subprocess.run(["ssh-add", "-q", str(key)], env=agent, check=True)
    subprocess.run(["ssh-add", "-q", str(person.key)], env=agent, check=True)
    file = tmp_path / "without-a-file"
    lines = person.config.read_text().replace(str(person.config), str(file)).splitlines()
    file.write_text("\n".join(line for line in lines if "Identit" not in line))
    assert run_with(agent, file, person.alias, "echo in") == "in"


def test_thirty_sessions_share_one_connection(person, tmp_path):
    """As editors and build tools do, by ControlMaster."""
    shared = ("-o", "ControlPath=" + str(tmp_path / "shared"))
    master = subprocess.Popen(
        ["ssh", "-F", str(person.config), "-M", "-N", *shared, person.alias],
        stdin=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "shared").exists():
            assert master.poll() is None
        sessions = [
            subprocess.Popen(
                ["ssh", "-F", "none", *shared, person.alias, f"echo {number}; read line"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(30)
        ]  # fmt: skip
        assert [each.stdout.readline().strip() for each in sessions] == [*map(str, range(30))]
        for each in sessions:  # all of them were there at once
            each.communicate("\n", timeout=30)
    finally:
        master.terminate()
        master.wait()


def test_a_refusal_reaches_clients_that_look_at_the_connection_alone(person):
    """The protocol's own message, without a key: what paramiko and others print or raise."""
    words = ("-F", str(person.config), person.bastion, "connect", "no", person.hub.name)

    def answer(client: bytes) -> tuple[bytes, bytes]:
        result = subprocess.run(["ssh", *words], input=client, capture_output=True, timeout=30)
        assert result.returncode == 1
        return result.stdout, result.stderr.strip()

    banner, _, packet = answer(b"SSH-2.0-paramiko_3.5.1\r\n")[0].partition(b"\r\n")
    assert banner == b"SSH-2.0-MLHub"
    length, padding, message = int.from_bytes(packet[:4]), packet[4], packet[5]
    assert (len(packet), len(packet) % 8, message) == (4 + length, 0, 1)  # SSH_MSG_DISCONNECT
    size = int.from_bytes(packet[10:14])
    assert b"does not name a workspace" in packet[14 : 14 + size]
    assert packet[14 + size :] == bytes(4 + padding)
    # OpenSSH's prints what its ProxyCommand says, and needs nothing besides.
    printed, said = answer(b"SSH-2.0-OpenSSH_9.9\r\n")
    assert printed == b""
    assert b"does not name a workspace" in said


def test_another_implementation_comes_in(person, root, tmp_path):
    """Dropbear's client, tunnelled through itself, by the command of the page about SSH."""
    key = tmp_path / "dropbear"
    subprocess.run(
        ["dropbearconvert", "openssh", "dropbear", str(person.key), str(key)],
        check=True,
        capture_output=True,
    )
    command = re.search(r"`(dbclient .*?)`", (root / "docs/howto/ssh.md").read_text())[1]
    for shown, here in (
        ("dbclient ", "dbclient -y -y "),  # nobody is here to be asked
        ("~/.ssh/id_dropbear", str(key)),
        ("8080", str(person.hub.port)),
        ("hub.example.org", person.hub.host),
        ("gpu.alice.mlhub mlhub", f"{person.alias} {person.hub.name}"),
    ):
        assert shown in command
        command = command.replace(shown, here)
    result = subprocess.run(
        [*shlex.split(command), "echo in"], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "in"


def test_connecting_to_a_stopped_workspace_starts_it_and_tells_how_far_it_is(hub, make_person):
    somebody = make_person(hub, "sleeper").join()
    assert not hub.is_workspace_ready("sleeper")
    result = somebody.run(somebody.alias, "echo in")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "in"
    assert "does not run yet; it is started" in result.stderr
    assert hub.is_workspace_ready("sleeper")
    hub.stop_workspace("sleeper")
    assert somebody.ask("echo again").strip() == "again"


def test_a_new_key_opens_and_a_removed_one_ends_what_it_opened_within_a_second(
    hub, make_person, wait_for
):
    somebody = make_person(hub, "mover")
    hub.request("POST", "/hub/api/users/mover", b"")
    somebody.set_up()
    hub.start_workspace("mover")
    jump = [
        "-J",
        somebody.bastion,
        "-o",
        "User=workspace",
        "-o",
        f"UserKnownHostsFile={somebody.folder}/known_hosts",
        "-p",
        "2222",
    ]
    ways = ([somebody.alias], [*jump, f"ws-{hub.name}--mover"])
    numbers: list[int] = []

    def enter() -> float:
        for number in numbers:
            hub.api("DELETE", f"users/mover/ssh-keys/{number}")
        assert somebody.run(somebody.alias, "true").returncode == 255
        numbers[:] = [somebody.register()]
        # The first login there is, over one with a key that has been there: what a login takes is
        # not the key's.
        began = time.monotonic()
        assert somebody.ask("echo in") == "in\n"
        first = time.monotonic()
        assert somebody.ask("echo in") == "in\n"
        return first - began - (time.monotonic() - first)

    def remove() -> float:
        number = numbers.pop() if numbers else somebody.register()
        command = ["ssh", "-F", str(somebody.config)]
        sessions = [
            subprocess.Popen(
                [*command, *words, "echo in; sleep 600"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
            for words in ways
        ]
        assert [session.stdout.readline().strip() for session in sessions] == ["in", "in"]
        hub.api("DELETE", f"users/mover/ssh-keys/{number}")
        return count_seconds_until_end(*sessions)

    assert take_best_of_three(enter) < 1
    assert take_best_of_three(remove) < 1
    assert somebody.run(somebody.alias, "true").returncode == 255
    wait_for(
        lambda: [
            record
            for record in read_audit(hub)
            if record["event"] == "closed" and record["user"] == "mover"
        ],
        "closed",
        5,
    )


def test_a_stopped_workspace_is_refused_at_once_to_a_jump(hub, make_person):
    somebody = make_person(hub, "stopper").join()
    hub.start_workspace("stopper")
    assert "SSH-2.0-OpenSSH" in somebody.knock(f"ws-{hub.name}--stopper:2222").stdout
    hub.stop_workspace("stopper")
    assert "administratively prohibited" in somebody.knock(f"ws-{hub.name}--stopper:2222").stderr


def test_shared_workspaces_are_entered_and_others_are_not(hub, make_person):
    owner, guest, stranger = (
        make_person(hub, name).join() for name in ("owner", "guest", "stranger")
    )
    hub.start_workspace("owner")
    assert guest.run(owner.alias, "true").returncode == 255
    hub.api("POST", "shares/owner/", {"user": "guest", "scopes": ["access:servers!server=owner/"]})
    assert guest.ask("echo $JUPYTERHUB_USER", to=owner.alias).strip() == "owner"
    refused = stranger.run(owner.alias, "true")
    assert refused.returncode == 255
    assert f"There is no workspace {owner.alias} that you may enter" in refused.stderr


def test_who_came_from_where_to_which_workspace_is_on_record(person, wait_for):
    person.ask("true")
    line = wait_for(
        lambda: next(
            (
                r
                for r in reversed(read_audit(person.hub))
                if r["event"] == "closed" and r["user"] == "ann"
            ),
            None,
        ),
        "closed",
        5,
    )
    records = [
        record for record in read_audit(person.hub) if record.get("session") == line["session"]
    ]
    assert [record["event"] for record in records] == ["opened", "entered", "closed"]
    assert records[1]["workspace"] == "ann/"
    assert all(re.match(r"(172|10|192)\.", record["address"]) for record in records), records
    keys = person.hub.api("GET", "users/ann/ssh-keys")
    keys = keys if isinstance(keys, list) else keys["keys"]
    assert keys[-1]["last_used_at"]


def test_an_open_session_counts_as_activity(person):
    before = person.hub.api("GET", "users/ann")["servers"][""]["last_activity"]
    person.ask("sleep 1.1")
    assert person.hub.api("GET", "users/ann")["servers"][""]["last_activity"] > before


def test_open_sessions_live_on_while_the_hub_is_away_and_nobody_new_comes_in(
    hub, make_person, wait_for
):
    somebody = make_person(hub, "stayer")
    number = somebody.register()
    somebody.set_up()
    hub.start_workspace("stayer")
    session = subprocess.Popen(
        ["ssh", "-F", str(somebody.config), somebody.alias, "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def echo(word: str) -> str:
        session.stdin.write(f"echo {word}\n")
        return session.stdout.readline().strip()

    assert echo("one") == "one"
    (pid,) = [
        str(entry["pid"])
        for entry in list_processes(hub)
        if entry["command"].startswith("python -m mlhub.hub ")
    ]
    hub.exec("kill", "-STOP", pid)  # it does not answer, and is not started again either
    try:
        assert somebody.run(somebody.alias, "true", timeout=60).returncode == 255
        assert echo("two") == "two"
    finally:
        hub.exec("kill", "-KILL", pid)
    hub.wait_until_ready()
    assert echo("three") == "three"
    wait_for(
        lambda: somebody.run(somebody.alias, "true").returncode == 0,
        "the bastion lets in again",
        20,
    )
    # The hub that came back knows whose session that is.
    hub.api("DELETE", f"users/stayer/ssh-keys/{number}")
    session.wait(5)


def test_a_killed_sshd_ends_nobodys_session(hub, make_person, wait_for):
    somebody = make_person(hub, "sitter").join()
    hub.start_workspace("sitter")
    session = subprocess.Popen(
        ["ssh", "-F", str(somebody.config), somebody.alias, "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    session.stdin.write("echo one\n")
    assert session.stdout.readline().strip() == "one"
    hub.exec(
        "sh",
        "-c",
        r"for p in /proc/[0-9]*; do grep -q 'sshd: .*\[listener\]' $p/cmdline 2>/dev/null && "
        r"kill -KILL ${p#/proc/}; done; true",
    )
    wait_for(lambda: somebody.run(somebody.alias, "true").returncode == 0, "a new session", 20)
    session.stdin.write("echo two\n")
    assert session.stdout.readline().strip() == "two"
    session.kill()
    session.wait()


def test_a_workspaces_sshd_that_died_is_started_again_by_the_next_login(person, wait_for):
    name = f"ws-{person.hub.name}--ann"
    docker(
        "exec",
        "--user",
        "root",
        name,
        "sh",
        "-c",
        "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */sshd) kill -9 ${p#/proc/};; esac; "
        "done; true",
    )
    wait_for(
        lambda: person.run(person.alias, "true").returncode == 0,
        "the workspace is entered again",
        60,
        every=1,
    )
