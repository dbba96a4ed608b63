"""One workspace as a pod: its start, what it holds, what ends it, and whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from tornado import web

from mlhub.backends.base import Kind
from mlhub.errors import ConfigurationError, WorkspaceError
from mlhub.workspace.identity import Identity
from tests.kube.conftest import WORKSPACE_IMAGE, KubernetesHub


def write(hub, pod: str, command: str) -> str:
    return hub.cluster.run("exec", "--namespace", hub.namespace, pod, "--container", "notebook", "--", "sh", "-c", command)


def read_pod(hub, name: str) -> dict:
    return hub.cluster.read("--namespace", hub.namespace, "pod", name)


async def fail_to_start(hub, *args, **kwargs) -> str:
    with pytest.raises(web.HTTPError) as caught:
        await hub.start(*args, **kwargs)
    return caught.value.jupyterhub_message


async def test_data_outlives_a_stop_and_the_next_start_finds_it(hub):
    spawner = await hub.start("alice")
    write(hub, spawner.pod_name, "echo kept >/workspace/file")
    await hub.stop("alice")
    assert hub.cluster.read("--namespace", hub.namespace, "pods")["items"] == []
    spawner = await hub.start("alice")
    assert write(hub, spawner.pod_name, "cat /workspace/file") == "kept"


async def test_a_workspace_without_a_volume_makes_no_claim(hub):
    await hub.start("alice", options={"is_mount_volume": False})
    assert hub.cluster.read("--namespace", hub.namespace, "persistentvolumeclaims")["items"] == []


async def test_every_container_of_the_pod_is_restricted(hub):
    spawner = await hub.start("alice")
    pod = read_pod(hub, spawner.pod_name)
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert write(hub, spawner.pod_name, "id -u") == "1000"
    assert "0000000000000000" in write(hub, spawner.pod_name, "grep CapEff /proc/self/status")


async def test_what_was_granted_is_what_the_pod_has(hub):
    options = {
        "cpu_limit": 0.5,
        "mem_limit": "256M",
        "shm_size": "32M",
        "env": {"PLAIN": "a b", "TOKEN_LIKE": "$(JUPYTERHUB_USER) {username}"},
    }
    spawner = await hub.start("alice", options=options)
    resources = read_pod(hub, spawner.pod_name)["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "500m", "memory": "268435456"}
    assert resources["requests"] == {"cpu": "0", "memory": "0"}
    assert write(hub, spawner.pod_name, "df -m /dev/shm | tail -1").split()[1] == "32"
    assert write(hub, spawner.pod_name, 'echo "$PLAIN|$TOKEN_LIKE"') == "a b|$(JUPYTERHUB_USER) {username}"


async def test_the_service_has_both_ports_and_selects_by_what_never_changes(hub):
    hub.spawner.image_settings = {"mlhub-test-*": {"uid": 1000, "ssh_port": 2200}}
    hub.spawner.ssh_folder = "/nowhere"
    spawner = await hub.start("alice", "work", options={"days_to_live": 3})
    await hub.settle()
    service = hub.cluster.read("--namespace", hub.namespace, "service", spawner.pod_name)
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {"http": 8080, "ssh": 2200}
    assert service["spec"]["selector"] == Identity(hub.hub_name, "alice", "work").safe_labels
    pod = read_pod(hub, spawner.pod_name)
    assert "expiration_timestamp_seconds" in pod["metadata"]["annotations"]
    assert "expiration_timestamp_seconds" not in pod["metadata"]["labels"]
    assert service["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]


async def test_a_stopped_workspace_is_still_known_with_image_and_expiry(hub):
    await hub.start("alice", options={"days_to_live": 3})
    await hub.settle()
    await hub.stop("alice")
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.image == WORKSPACE_IMAGE
    assert workspace.expires_at > time.time() + 2 * 86400


async def test_an_expiry_that_is_put_off_stands_on_the_pod_and_on_the_claim(hub):
    async def read_expiry(is_running: bool) -> int | None:
        (workspace,) = await hub.backend.list_workspaces()
        assert workspace.is_running == is_running
        return workspace.expires_at

    spawner = await hub.start("alice", options={"days_to_live": 1})
    await hub.settle()
    first = spawner.expires_at
    assert await read_expiry(is_running=True) == first
    later = spawner.extend(5)
    await spawner.note_expiry()
    assert await read_expiry(is_running=True) == later > first
    await hub.stop("alice")
    assert await read_expiry(is_running=False) == later
    # Also while nothing runs, and for what has neither pod nor claim.
    spawner = hub.user("alice").spawners[""]
    latest = spawner.extend(9)
    await spawner.note_expiry()
    assert await read_expiry(is_running=False) == latest > later
    await hub.user("bob").get_or_create_spawner("", "").note_expiry()


async def test_whether_there_is_a_newer_image_is_not_known(hub):
    spawner = await hub.start("alice", options={"is_mount_volume": False})
    assert await spawner.describe_image() == {"reference": WORKSPACE_IMAGE, "update_available": None}
    with pytest.raises(WorkspaceError, match="pullPolicy=Always"):
        await spawner.begin_update()


@pytest.mark.parametrize("user", ["jo@example.com", "Ärger Ö", "x" * 120])
async def test_names_that_are_no_label_values_stand_in_annotations(hub, user):
    spawner = await hub.start(user, "work")
    metadata = read_pod(hub, spawner.pod_name)["metadata"]
    assert metadata["annotations"]["mlhub.user"] == user
    assert metadata["labels"]["mlhub.user"] == Identity(hub.hub_name, user).safe_labels["mlhub.user"]


async def test_a_hub_that_lost_its_database_adopts_the_pod_that_runs(hub):
    spawner = await hub.start("alice")
    before = read_pod(hub, spawner.pod_name)["metadata"]["uid"]
    token = spawner.api_token
    await hub.close()
    hub.reset_database()
    spawner = await hub.start("alice")
    assert read_pod(hub, spawner.pod_name)["metadata"]["uid"] == before
    assert spawner.api_token == token


async def test_a_pod_of_somebody_elses_under_our_name_is_left_alone(hub):
    name = Identity(hub.hub_name, "alice").container
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": hub.namespace, "labels": {"component": "singleuser-server", "mlhub.origin": hub.hub_name}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "notebook",
                    "image": WORKSPACE_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    hub.cluster.apply(stranger)
    sentence = await fail_to_start(hub, "alice")
    assert name in sentence
    assert "does not belong" in sentence
    assert read_pod(hub, name)["metadata"].get("deletionTimestamp") is None
    assert await hub.backend.list_workspaces() == []


async def test_a_workspace_that_dies_is_a_sentence_with_its_last_lines(hub):
    hub.spawner.cmd = ["sh", "-c", "echo the disk is green; exit 3"]
    sentence = await fail_to_start(hub, "alice")
    assert "code 3" in sentence
    assert "the disk is green" in sentence


async def test_what_no_node_can_hold_is_told_while_waiting_and_ends_in_a_sentence(hub):
    hub.spawner.start_timeout = 8
    hub.spawner.node_selector = {"kubernetes.io/hostname": "nowhere"}
    spawner = hub.user("alice").spawners[""]  # the hub forgets it after a failed start
    sentence = await fail_to_start(hub, "alice")
    assert "no place" in sentence
    assert "didn't match" in sentence
    messages = [event["message"] for event in spawner.start_progress.events]
    assert any("didn't match" in message for message in messages)


@pytest.mark.parametrize(
    ("trait", "value", "cure"),
    [
        ("profile_list", [{"display_name": "Large", "kubespawner_override": {"mem_limit": "64G"}}], "catalogue"),
        ("enable_user_namespaces", True, "Remove the line"),
        ("pod_name_template", "ws-{username}", "{user_server}"),
    ],
)
async def test_what_the_site_may_not_say_is_refused_with_the_cure(hub, trait, value, cure):
    await hub.user("alice").get_or_create_spawner("", "").prepare_hub()
    hub.spawner[trait] = value
    with pytest.raises(ConfigurationError) as caught:
        await hub.user("bob").get_or_create_spawner("", "").prepare_hub()
    assert f"c.KubeSpawner.{trait}" in str(caught.value)
    assert cure in str(caught.value)


async def test_progress_tells_what_the_cluster_does(hub):
    spawner = await hub.start("alice")
    events = spawner.start_progress.events
    assert [event["progress"] for event in events] == sorted(event["progress"] for event in events)
    assert any("assigned" in event["message"] for event in events)


async def test_a_watch_that_has_stopped_is_started_anew_at_the_next_look(hub):
    spawner = await hub.start("alice")
    stopped = spawner.pod_reflector
    stopped.watch_task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped.watch_task
    assert await spawner.poll() is None
    assert spawner.pod_reflector is not stopped
    hub.cluster.run("delete", "--namespace", hub.namespace, "pod", spawner.pod_name, "--grace-period=1")
    for _ in range(100):
        if await spawner.poll() is not None:
            break
        await asyncio.sleep(0.1)
    assert await spawner.poll() is not None


async def test_a_pod_that_was_removed_by_hand_is_noticed_and_starts_again(hub):
    spawner = await hub.start("alice")
    hub.cluster.run("delete", "--namespace", hub.namespace, "pod", spawner.pod_name, "--grace-period=1")
    for _ in range(100):
        if await spawner.poll() is not None:
            break
        await asyncio.sleep(0.1)
    await hub.stop("alice")
    again = await hub.start("alice")
    assert await again.poll() is None


async def test_two_hubs_in_one_namespace_do_not_see_each_other(hub, cluster, namespace):
    await hub.start("alice")
    other = KubernetesHub(cluster, namespace, "other")
    assert await other.backend.list_workspaces() == []
    await other.start("alice")
    assert {resource.kind for resource in await other.backend.list_resources()} == {Kind.WORKSPACE, Kind.VOLUME, Kind.NETWORK}
    assert len(await hub.backend.list_workspaces()) == 1
