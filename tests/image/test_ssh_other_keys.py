"""Workspaces that bring sshd and keys of their own, as the original's images do: off by default,
and each key opens one workspace.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, HubMaker, docker
from tests.support.names import make_hub_name
from tests.support.ssh_client import KEYED, Person, ensure_images, read_audit

KEYED_CONFIG = CONFIG + f"""
c.Spawner.workspace_images = ["{KEYED}", "{TEST_IMAGE}"]
c.Spawner.image_settings = {{"{KEYED}": {{"ssh_port": 2200, "cmd": ["/start"]}}}}
"""  # fmt: skip


# Some workspaces do not serve their key; the hub asks every second instead of every fifteen.
LABELED_CONFIG = (
    KEYED_CONFIG
    + """
import mlhub.ssh.other_keys
mlhub.ssh.other_keys.ASK_SECONDS = 1.0

def hide(spawner):
    if spawner.user.name.startswith("file-"):
        spawner.environment["NO_ENDPOINT"] = "1"

c.Spawner.pre_spawn_hook = hide
"""
)


@pytest.fixture(scope="module")
def off_hub(make_hub: HubMaker) -> Hub:
    ensure_images()
    return make_hub(KEYED_CONFIG)


@pytest.fixture(scope="module")
def kept_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of keys that somebody keeps by hand."""
    file = tmp_path_factory.mktemp("kept") / "keys"
    file.write_text("# kept by hand\n")
    return file


@pytest.fixture(scope="module")
def on_hub(make_hub: HubMaker, kept_file: Path) -> Hub:
    """Return a hub where the site has switched both kinds of other keys on."""
    ensure_images()
    name = make_hub_name()
    return make_hub(
        LABELED_CONFIG,
        mounts=(f"{kept_file}:/etc/ssh/authorized_keys_cache:ro",),
        HUB_NAME=name,
        SSH_TARGET_LABELS=f"mlhub.origin={name}",
        SSH_TARGET_PUBLICKEY_API_PORT="8080",
        MANUAL_AUTH_FILE="true",
    )


def make_holder(hub: Hub, owner: str, folder: Path) -> Person:
    """Return somebody who holds the private key that lies in a workspace, and has registered
    nothing.
    """
    workspace = f"ws-{hub.name}--{owner}"
    holder = Person(hub, owner, folder)
    holder.key.write_text(docker("exec", workspace, "cat", "/root/.ssh/id_ed25519") + "\n")
    holder.key.with_suffix(".pub").write_text(
        docker("exec", workspace, "cat", "/root/.ssh/id_ed25519.pub") + "\n"
    )
    holder.set_up()
    return holder


def enter(holder: Person, owner: str) -> bool:
    """Return True if somebody gets into the workspace's own sshd, through the bastion."""
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ClearAllForwardings=no",
    ]
    result = holder.run(
        "-J",
        holder.bastion,
        *options,
        "-p",
        "2200",
        f"root@ws-{holder.hub.name}--{owner}",
        "echo in",
    )
    return result.returncode == 0 and result.stdout.strip() == "in"


def test_a_workspaces_own_key_opens_nothing_unless_the_site_says_so(off_hub, tmp_path):
    off_hub.start_workspace("ann", options={"image": KEYED})
    holder = make_holder(off_hub, "ann", tmp_path / "ann")
    assert not enter(holder, "ann")
    # The twin: registered in the hub, the same key opens the same sshd.
    holder.register()
    assert enter(holder, "ann")


def test_an_image_with_an_sshd_of_its_own_gets_no_bundle(off_hub):
    off_hub.start_workspace("ann", options={"image": KEYED})
    off_hub.start_workspace("bob")
    assert "/.mlhub" not in docker("inspect", "--format", "{{.Mounts}}", f"ws-{off_hub.name}--ann")
    assert "/.mlhub" in docker("inspect", "--format", "{{.Mounts}}", f"ws-{off_hub.name}--bob")


@pytest.mark.parametrize("kind", ["", "file-"], ids=["by /publickey", "by the file"])
def test_keys_of_labeled_workspaces_open_just_their_own(on_hub, tmp_path, wait_for, kind):
    ann, bob = f"{kind}ann", f"{kind}bob"
    for owner in (ann, bob):
        on_hub.start_workspace(owner, options={"image": KEYED})
    anns, bobs = (make_holder(on_hub, owner, tmp_path / owner) for owner in (ann, bob))
    wait_for(lambda: enter(anns, ann), "the workspace was asked for its key", 40, every=1)
    assert wait_for(lambda: enter(bobs, bob), "bob's too", 40, every=1)
    assert not enter(anns, bob)
    assert any(
        record["event"] == "opened"
        and record["user"] == ann
        and record["key_name"] == "the workspace's own"
        for record in read_audit(on_hub)
    )
    on_hub.stop_workspace(ann)
    assert not enter(anns, ann)


def test_a_hand_kept_file_lets_its_keys_in(on_hub, kept_file, tmp_path):
    somebody = Person(on_hub, "somebody", tmp_path / "somebody")
    with kept_file.open("a") as opened:
        opened.write(somebody.key.with_suffix(".pub").read_text())
    on_hub.start_workspace("dan", options={"image": KEYED})
    somebody.set_up_for("dan")
    name = f"ws-{on_hub.name}--dan"
    assert "SSH-2.0-OpenSSH" in somebody.knock(f"{name}:2200").stdout
    assert "administratively prohibited" in somebody.knock(f"{name}:8080").stderr
    refused = somebody.run(somebody.bastion, f"connect dan.{on_hub.name} {on_hub.name}")
    assert refused.returncode != 0
