"""A release comes back in an empty namespace, people's files too, before its hub's first start."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.helm_release import pod, wait_for_hub

FILL = "mkdir -p /workspace/notes && head -c 5000000 /dev/urandom >/workspace/notes/big"
READ = "sha256sum /workspace/notes/big"


def run_in_hub(release, container, *command, **streams):
    """Run a command in the hub's pod, with files of ours as its streams."""
    words = ["kubectl", "--namespace", release.namespace, "exec", "--stdin"]
    place = [f"deployment/{release.name}-hub", "--container", container]
    subprocess.run([*words, *place, "--", *command], timeout=180, check=True, **streams)


def is_waiting(release) -> bool:
    return any(
        each["name"] == "restore" and "running" in each["state"]
        for hub in release.list_pods("hub")
        for each in hub["status"].get("initContainerStatuses") or []
    )


@pytest.mark.full
def test_people_and_their_files_come_back_in_an_empty_namespace(make_release, tmp_path):
    release = make_release()
    release.install()
    release.start_workspace("alice")
    release.execute(pod(release, "alice"), "sh", "-c", FILL)
    files = release.execute(pod(release, "alice"), "sh", "-c", READ)
    release.api("POST", "users/bert")
    archive = tmp_path / "backup.tar"
    with archive.open("wb") as output:
        run_in_hub(release, "hub", "mlhub", "backup", "--volumes", "-", stdout=output)
    assert release.is_workspace_ready("alice")
    release.helm("uninstall", release.name)
    release.kubectl("delete", "pods,persistentvolumeclaims", "--all", "--timeout=120s")

    release.install({"hub": {"restore": True}}, wait=False)
    release.wait_for(lambda: is_waiting(release), "the hub waits for its backup", 60)
    with archive.open("rb") as source:
        run_in_hub(release, "restore", "mlhub", "restore", "-", stdin=source)
    wait_for_hub(release)
    assert {user["name"] for user in release.api("GET", "users")} >= {"alice", "bert"}
    # The database of before says that it runs; the hub looks, and here nothing does.
    release.wait_for(lambda: not release.api("GET", "users/alice")["servers"], "it is seen", 60)
    release.start_workspace("alice")
    assert release.execute(pod(release, "alice"), "sh", "-c", READ) == files
