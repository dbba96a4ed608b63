"""A hub is backed up while people work, and comes back on an engine that has nothing of it."""

from __future__ import annotations

import subprocess

from tests.support.hub_container import docker

CONTENT = (
    "cd /workspace && { find . -printf '%P %y %m %U %l %s\\n' | sort; "
    "find . -type f -exec sha256sum {} + | sort; }"
)
FILES = """
cd /workspace && mkdir -p notes/deep && head -c 20000000 /dev/urandom > notes/big
printf 'forty-two' > 'notes/deep/plän.txt' && ln -s ../big notes/deep/soft && ln notes/big hard
touch empty && chown -R 1000:1000 notes && chmod 700 notes && chmod 4755 empty
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
    assert docker("exec", find_container(hub), "sh", "-c", CONTENT) == before
