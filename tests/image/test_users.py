"""Whose the hub's programs and files are: nobody's that a workspace is, because the kernel counts
much per user, over all containers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.container_release import read_banner
from tests.support.hub_container import CONFIG, IMAGE, Hub, HubMaker, docker
from tests.support.wire import is_answered, list_own_processes, list_processes

WORKSPACES = "1000"
ACCOUNTS = ("hub", "chp", "edge", "limited-user")
# Takes so many of a kind, or all that its user may have, says how many, and holds them until its
# input ends.
TAKE = """
import ctypes, os, resource, signal, sys
libc, kind, most = ctypes.CDLL(None), sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, 2 * resource.getrlimit(resource.RLIMIT_NOFILE)[1:])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
takes = {"inotify": lambda: libc.inotify_init1(0), \
"signals": lambda: libc.sigqueue(os.getpid(), signal.SIGRTMIN, None)}
print(next((count for count in range(most) if takes[kind]() < 0), most), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Hub:
    """Return a hub with all of its programs, and a workspace of the default image, as its owner
    has it.
    """
    config = CONFIG + 'c.Spawner.image = "mltooling/mlhub-workspace:latest"\n'
    hub = make_hub(config, START_CHP="true")
    hub.start_workspace("ann")
    return hub


@contextmanager
def taken_by(user: str, container: str, kind: str, most: int) -> Iterator[int]:
    """Hold what a user takes in a container; yield how many that is."""
    command = [
        "docker",
        "exec",
        "--interactive",
        "--user",
        user,
        container,
        "python3",
        "-c",
        TAKE,
        kind,
        str(most),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield int(process.stdout.readline())
        process.stdin.close()


def take_one(user: str, container: str, kind: str) -> bool:
    """Return True if a user may take one in a container."""
    with taken_by(user, container, kind, 1) as count:
        return count == 1


@pytest.mark.parametrize("kind", ["inotify", "signals"])
def test_a_workspace_that_takes_all_that_its_user_may_have_takes_nothing_from_the_hub(
    hub, kind, wait_for
):
    with taken_by(WORKSPACES, f"ws-{hub.name}--ann", kind, 200_000) as count:
        assert count > 64
        # The twin: it is used up for that user in every other container, the hub's own too.
        assert not take_one(WORKSPACES, hub.name, kind)
        assert {
            account: take_one(account, hub.name, kind) for account in ACCOUNTS
        } == dict.fromkeys(ACCOUNTS, True)
        nginx = next(
            entry["pid"] for entry in list_processes(hub) if "nginx: master" in entry["command"]
        )
        hub.exec("sh", "-c", f"kill -9 {nginx}")
        wait_for(
            lambda: is_answered(hub.port, "/hub/login"),
            "nginx is started again, and the hub answers",
            20,
        )
        assert read_banner("127.0.0.1", hub.port).startswith(b"SSH-2.0-OpenSSH")


def test_each_program_runs_as_a_user_of_its_own_that_no_workspace_is(hub):
    numbers = dict(
        zip(ACCOUNTS, (int(hub.exec("id", "-u", account)) for account in ACCOUNTS), strict=True)
    )
    assert len({*numbers.values()}) == 4
    assert {entry["user"] for entry in list_own_processes(hub)} - {0} == {*numbers.values()}
    # Neither Debian nor systemd hands these numbers out, and a user namespace of 65,536 has them.
    assert all(60578 <= number <= 61183 for number in numbers.values())


# Becomes what a running program of an account is, groups included, and prints what it may open of
# the engine, of the hub's data, and of others' programs.
OPEN = """
import glob, os, socket, sys
account, files = int(sys.argv[1]), sys.argv[2:]
folders = glob.glob("/proc/[0-9]*")
def read_ids(folder, name):
    try:
        lines = open(folder + "/status").read().splitlines()
    except OSError:
        return []
    return [int(word) for line in lines if line.startswith(name + ":") for word in line.split()[1:]]
own = next(folder for folder in folders if read_ids(folder, "Uid")[:1] == [account])
others = [folder for folder in folders if read_ids(folder, "Uid")[:1] not in ([], [account])]
os.setgroups(read_ids(own, "Groups"))
os.setgid(read_ids(own, "Gid")[0])
os.setuid(account)
def opens(path):
    try:
        if path.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
        else:
            open(path, "rb").read(1)
        return True
    except OSError:
        return False
print(*filter(opens, [*files, *(folder + "/environ" for folder in others)]))
"""
KEPT = (
    "/var/run/docker.sock",
    "/data/jupyterhub.sqlite",
    "/data/jupyterhub_cookie_secret",
    "/data/proxy_auth_token",
    "/data/ssh/ca",
)


def test_no_program_that_strangers_speak_to_opens_the_engine_or_the_hubs_data(hub):
    opened = {
        account: hub.exec("python3", "-I", "-c", OPEN, hub.exec("id", "-u", account), *KEPT).split()
        for account in ACCOUNTS
    }
    assert opened == {"hub": [*KEPT], "chp": [], "edge": [], "limited-user": []}


# As a hub that was user 1000 left it: its own files, the site's own beside them, somebody else's,
# and links out of the volume.
AGE = """
chown -R 1000:1000 /data && cd /data && mkdir -p homes/ann && echo x > homes/ann/table \
 && echo x > list && ln -s /etc/shadow link
ln -s /etc ssh/folder && chown -hR 1000:1000 homes ssh list link && chmod 0640 list \
 && echo x > other && chown 4242:4242 other
"""
LIST = "cd /data && find . -not -name 'jupyterhub.sqlite-*' -printf '%p %u %g %m\\n'"
TOLD = "user 61000 now and was 1000"


def list_data(hub: Hub) -> dict[str, list[str]]:
    """Return user, group and mode of all in the data directory, by path."""
    return {name: rest for name, *rest in map(str.split, hub.exec("sh", "-c", LIST).splitlines())}


def read_kept(hub: Hub) -> str:
    """Return what must never change: the secrets, and the key that people's SSH clients know."""
    return hub.exec(
        "sh",
        "-c",
        "cat /data/jupyterhub_cookie_secret /data/proxy_auth_token /data/ssh/ca | sha256sum",
    )


def check(hub: Hub) -> str:
    """Let a container prepare the hub's data without running the hub; return what it says."""
    return docker("run", "--rm", *hub.arguments, IMAGE, "--check")


def test_the_data_of_a_hub_that_was_user_1000_is_the_hubs_again_and_nothing_else_is(hub):
    kept, made = read_kept(hub), list_data(hub)
    assert TOLD not in hub.logs()
    hub.exec("sh", "-c", AGE)
    hub.recreate()
    found = list_data(hub)
    assert TOLD in hub.logs()
    assert found.pop("./other") == ["4242", "4242", "644"]
    # People's own, who have the same number in their workspaces.
    homes = {name: found.pop(name) for name in list(found) if name.startswith("./homes")}
    assert {tuple(entry[:2]) for entry in homes.values()} == {("1000", "1000")}
    assert "these folders in /data stay with user 1000: homes" in hub.logs()
    assert {(user, group) for user, group, _ in found.values()} == {("hub", "hub")}
    assert {name: entry for name, entry in found.items() if name in made} == made
    assert found["./jupyterhub_cookie_secret"][2] == found["./ssh/ca"][2] == "600"
    assert found["./list"][2] == "640"
    assert (
        hub.exec("stat", "-c", "%U", "/etc/shadow", "/etc", "/etc/passwd").split() == ["root"] * 3
    )
    assert read_kept(hub) == kept
    assert hub.api("GET", "users/ann")["name"] == "ann"
    # Once: what somebody puts there later is theirs.
    hub.exec("sh", "-c", "echo x > /data/later && chown 1000:1000 /data/later")
    assert TOLD not in check(hub)
    assert hub.exec("stat", "-c", "%u", "/data/later") == "1000"


def test_a_folder_that_no_hub_has_kept_stays_whose_it_is_but_for_its_own_mode(
    make_brief_hub, tmp_path: Path
):
    (tmp_path / "policy.yaml").write_text("everyone: {}")
    docker(
        "run",
        "--rm",
        "--entrypoint",
        "chown",
        "--volume",
        f"{tmp_path}:/data",
        IMAGE,
        "-R",
        "1000:1000",
        "/data",
    )
    hub = make_brief_hub(CONFIG, start=False, data=("--volume", f"{tmp_path}:/data"))
    assert TOLD not in check(hub)
    assert (tmp_path / "policy.yaml").stat().st_uid == 1000
    assert (tmp_path / "proxy_auth_token").stat().st_uid == tmp_path.stat().st_uid == 61000
