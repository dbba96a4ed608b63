"""A hub is backed up while people work, and comes back on an engine that has nothing of it."""

from __future__ import annotations

import subprocess

from tests.support.hub_container import docker

CONTENT = (
    "cd /workspace && { find . -printf '%P %y %m %U %l %s\\n' | sort; "
    "find . -type f -exec sha256sum {} + | sort; } | cat -v"
)
FILES = """
cd /workspace && mkdir -p notes/deep && head -c 20000000 /dev/urandom > notes/big
printf 'forty-two' > 'notes/deep/plän.txt' && ln -s ../big notes/deep/soft && ln notes/big hard
touch empty && chown -R 1000:1000 notes && chmod 700 notes && chmod 4755 empty
mkfifo notes/pipe && touch "notes/$(printf 'no\\377text\\nline')" && truncate -s 5M notes/hole
echo locked > notes/locked && chown 1000:1000 notes/locked && chmod 000 notes/locked
"""


BROKEN = ["volume", "create", "--opt", "type=nfs", "--opt", "device=:/none"]
BROKEN += ["--opt", "o=addr=127.0.0.1,soft,timeo=1,retrans=0"]


# What is written in this order is in a backup in this order, because a workspace is held still.
WRITE_ON = """
mkdir -p /workspace/load && cd /workspace/load && n=0
while :; do n=$((n+1)); for each in one two; do echo $n > new && mv new $each; done; done
"""


def find_container(hub) -> str:
    return next(name for name in hub.containers() if name.endswith("--work"))


def run_restore(hub, archive) -> subprocess.CompletedProcess[str]:
    """Restore as documented: the hub's own command line, with another entry point."""
    publish = hub.arguments.index("--publish")
    arguments = hub.arguments[:publish] + hub.arguments[publish + 2 :]
    command = ["docker", "run", "--rm", "--interactive", "--entrypoint", "mlhub", *arguments]
    with archive.open("rb") as source:
        return subprocess.run(
            [*command, hub.image, "restore", "-"], stdin=source, capture_output=True, text=True
        )


def test_people_files_keys_and_names_come_back_on_an_empty_engine(make_hub, tmp_path):
    hub = make_hub()
    hub.start_workspace("ann", "work")
    docker("exec", find_container(hub), "sh", "-ec", FILES)
    before = docker("exec", find_container(hub), "sh", "-c", CONTENT)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    line = key.with_suffix(".pub").read_text()
    hub.api("POST", "users/ann/ssh-keys", {"name": "laptop", "key": line})
    docker("exec", "--detach", find_container(hub), "sh", "-c", WRITE_ON)
    # Of the hub by its labels, and of a storage that does not answer.
    lost = docker(*BROKEN, "--label", f"mlhub.origin={hub.name}", f"{hub.name}-lost")
    incomplete = subprocess.run(
        ["docker", "exec", hub.name, "mlhub", "backup", "--volumes", "/data/incomplete.tar"],
        capture_output=True,
        text=True,
    )
    assert incomplete.returncode == 3, incomplete.stderr
    assert f"{lost}, MISSING: " in incomplete.stderr
    assert f"LACKS something of 1 volume: {lost}." in incomplete.stderr
    docker("volume", "rm", lost)
    archive = tmp_path / "backup.tar"
    with archive.open("wb") as output:
        command = ["docker", "exec", hub.name, "mlhub", "backup", "--volumes", "-"]
        subprocess.run(command, stdout=output, check=True)
    state = docker("inspect", "--format", "{{.State.Status}}", find_container(hub))
    assert state == "running", "the workspace goes on"
    assert docker("ps", "--all", "--quiet", "--filter", f"name={hub.name}-backup-") == ""

    refused = run_restore(hub, archive)
    assert refused.returncode == 1
    assert "belongs to a hub already" in refused.stderr

    hub.remove()
    docker("volume", "rm", f"mlhub-test-{hub.name}")
    docker("volume", "create", f"mlhub-test-{hub.name}")
    restored = run_restore(hub, archive)
    assert restored.returncode == 0, restored.stderr
    hub.start()
    hub.wait_until_ready()
    servers = hub.api("GET", "users/ann?include_stopped_servers")["servers"]
    assert "work" in servers
    assert [key["name"] for key in hub.api("GET", "users/ann/ssh-keys")] == ["laptop"]
    hub.start_workspace("ann", "work")
    loaded = docker("exec", find_container(hub), "sh", "-c", "cd /workspace/load && cat one two")
    first, second = map(int, loaded.split())
    assert first - second in (0, 1)
    docker("exec", find_container(hub), "rm", "-r", "/workspace/load")
    assert docker("exec", find_container(hub), "sh", "-c", CONTENT) == before
