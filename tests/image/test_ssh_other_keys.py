"""Workspaces that bring sshd and keys of their own, as the original's images do: off by default, and each key opens one workspace."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.image.conftest import CONFIG, TEST_IMAGE, Hub, HubMaker, docker
from tests.image.ssh_client import KEYED, Person, ensure_images, read_audit

KEYED_CONFIG = CONFIG + f"""
c.Spawner.workspace_images = ["{KEYED}", "{TEST_IMAGE}"]
c.Spawner.image_settings = {{"{KEYED}": {{"ssh_port": 2200, "cmd": ["/start"]}}}}
"""  # fmt: skip


@pytest.fixture(scope="module")
def off_hub(make_hub: HubMaker) -> Hub:
    ensure_images()
    return make_hub(KEYED_CONFIG)


def make_holder(hub: Hub, owner: str, folder: Path) -> Person:
    """Return somebody who holds the private key that lies in a workspace, and has registered nothing."""
    workspace = f"ws-{hub.name}--{owner}"
    holder = Person(hub, owner, folder)
    holder.key.write_text(docker("exec", workspace, "cat", "/root/.ssh/id_ed25519") + "\n")
    holder.key.with_suffix(".pub").write_text(docker("exec", workspace, "cat", "/root/.ssh/id_ed25519.pub") + "\n")
    holder.set_up()
    return holder


def enter(holder: Person, owner: str) -> bool:
    """Tell whether somebody gets into the workspace's own sshd, through the bastion."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ClearAllForwardings=no"]
    result = holder.run("-J", holder.bastion, *options, "-p", "2200", f"root@ws-{holder.hub.name}--{owner}", "echo in")
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


@pytest.mark.parametrize("extra", ["", '\nc.Spawner.environment = {"NO_ENDPOINT": "1"}\n'], ids=["by /publickey", "by the file"])
def test_keys_of_labelled_workspaces_open_just_their_own(make_brief_hub, tmp_path, wait_for, extra):
    ensure_images()
    name = "t" + secrets.token_hex(2)
    hub = make_brief_hub(
        KEYED_CONFIG + extra, HUB_NAME=name, SSH_TARGET_LABELS=f"mlhub.origin={name}", SSH_TARGET_PUBLICKEY_API_PORT="8080"
    )
    for owner in ("ann", "bob"):
        hub.start_workspace(owner, options={"image": KEYED})
    ann, bob = (make_holder(hub, owner, tmp_path / owner) for owner in ("ann", "bob"))
    wait_for(lambda: enter(ann, "ann"), "the workspace was asked for its key", 40, every=1)
    assert wait_for(lambda: enter(bob, "bob"), "bob's too", 40, every=1)
    assert not enter(ann, "bob")
    assert any(record["event"] == "opened" and record["key_name"] == "the workspace's own" for record in read_audit(hub))
    hub.stop_workspace("ann")
    assert not enter(ann, "ann")


def test_a_hand_kept_file_lets_its_keys_in(make_brief_hub, tmp_path):
    ensure_images()
    somebody = Person(Hub("x", [], None), "somebody", tmp_path / "somebody")
    (tmp_path / "kept").write_text("# kept by hand\n" + somebody.key.with_suffix(".pub").read_text())
    hub = make_brief_hub(KEYED_CONFIG, mounts=(f"{tmp_path / 'kept'}:/etc/ssh/authorized_keys_cache:ro",), MANUAL_AUTH_FILE="true")
    hub.start_workspace("ann", options={"image": KEYED})
    somebody.hub = hub
    somebody.set_up_for("ann")
    name = f"ws-{hub.name}--ann"
    assert "SSH-2.0-OpenSSH" in somebody.knock(f"{name}:2200").stdout
    assert "administratively prohibited" in somebody.knock(f"{name}:8080").stderr
    assert somebody.run(somebody.bastion, f"connect ann.{hub.name} {hub.name}").returncode != 0
