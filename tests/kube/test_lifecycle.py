"""One workspace as a pod: its start, what it holds, what ends it, and whose it is."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from mlhub.errors import ConfigurationError, WorkspaceError
from mlhub.identity import Identity
from mlhub.workspaces.holder import DatabaseKey, PersonKey
from mlhub.workspaces.port import Kind
from tests.support.cluster import WORKSPACE_IMAGE, KubernetesHub, fail_to_start, read_pod, write


async def test_data_outlives_a_stop_and_the_next_start_finds_it(hub):
    spawner = await hub.start("alice")
    write(hub, spawner.pod_name, "echo kept >/workspace/file")
    await hub.stop("alice")
    assert hub.list("pods") == []
    spawner = await hub.start("alice")
    assert write(hub, spawner.pod_name, "cat /workspace/file") == "kept"


async def test_an_expiry_that_is_put_off_stands_on_the_pod_and_on_the_claim_beside_the_image(hub):
    async def read_expiry(is_running: bool) -> int | None:
        (workspace,) = await hub.backend.list_workspaces()
        assert workspace.is_running == is_running
        assert workspace.image == WORKSPACE_IMAGE
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
    spawner = hub.user("alice").get_or_create_spawner("", "")
    assert await spawner.describe_image() == {
        "reference": WORKSPACE_IMAGE,
        "update_available": None,
    }
    with pytest.raises(WorkspaceError, match="pullPolicy=Always"):
        await spawner.begin_update()


async def test_a_pod_of_somebody_elses_under_our_name_is_left_alone(hub):
    name = Identity(hub.hub_name, "alice").container
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": hub.namespace,
            "labels": {"component": "singleuser-server", "mlhub.origin": hub.hub_name},
        },
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "notebook",
                    "image": WORKSPACE_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
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
    hub.spawner.start_timeout = 5
    hub.spawner.node_selector = {"kubernetes.io/hostname": "nowhere"}
    spawner = hub.user("alice").spawners[""]  # the hub forgets it after a failed start
    sentence = await fail_to_start(hub, "alice")
    assert "no place" in sentence
    assert "didn't match" in sentence
    messages = [event["message"] for event in spawner.start_progress.events]
    assert any("didn't match" in message for message in messages)


async def test_a_start_waits_with_a_sentence_until_a_node_has_the_purpose_that_the_site_requires(
    hub,
):
    """As singleuser's values have it: tests/unit/test_chart_values.py."""
    purpose, node = (
        "hub.jupyter.org/node-purpose",
        hub.cluster.read("nodes")["items"][0]["metadata"],
    )
    assert purpose not in node["labels"]
    term = {"matchExpressions": [{"key": purpose, "operator": "In", "values": ["user"]}]}
    hub.spawner.node_affinity_required = [term]
    spawner = hub.user("nora").get_or_create_spawner("", "")
    start = asyncio.create_task(hub.start("nora"))
    try:
        async with asyncio.timeout(20):
            while not any("affinity" in e["message"] for e in spawner.start_progress.events):
                await asyncio.sleep(0.1)
        assert not start.done()
        hub.cluster.run("label", "node", node["name"], f"{purpose}=user")
        await start
    finally:
        hub.cluster.run("label", "node", node["name"], f"{purpose}-")
    affinity = read_pod(hub, spawner.pod_name)["spec"]["affinity"]["nodeAffinity"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == {"nodeSelectorTerms": [term]}


@pytest.mark.parametrize(
    ("trait", "value", "cure"),
    [
        (
            "profile_list",
            [{"display_name": "Large", "kubespawner_override": {"mem_limit": "64G"}}],
            "catalogue",
        ),
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


async def test_a_removed_pod_is_noticed_by_a_watch_that_had_stopped_and_starts_again(hub):
    spawner = await hub.start("alice")
    stopped = spawner.pod_reflector
    stopped.watch_task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped.watch_task
    assert await spawner.poll() is None
    assert spawner.pod_reflector is not stopped
    hub.cluster.run(
        "delete", "--namespace", hub.namespace, "pod", spawner.pod_name, "--grace-period=1"
    )
    for _ in range(100):
        if await spawner.poll() is not None:
            break
        await asyncio.sleep(0.1)
    assert await spawner.poll() is not None
    await hub.stop("alice")
    again = await hub.start("alice")
    assert await again.poll() is None


async def test_two_hubs_in_one_namespace_do_not_see_each_other(hub, cluster):
    await hub.start("alice")
    other = KubernetesHub(cluster, hub.namespace, f"{hub.hub_name}b")
    assert await other.backend.list_workspaces() == []
    await other.start("alice")
    assert {resource.kind for resource in await other.backend.list_resources()} == {
        Kind.WORKSPACE,
        Kind.VOLUME,
        Kind.NETWORK,
    }
    assert len(await hub.backend.list_workspaces()) == 1
    other.remove_all()


async def test_a_claim_of_an_older_version_is_adopted_only_by_whoever_was_there_before_it(hub):
    hub.user("somebody")
    for table in (PersonKey, DatabaseKey):  # a database that an older version has written
        hub.db.query(table).delete()
    hub.db.commit()
    now, claims = datetime.now(UTC).replace(tzinfo=None), {}
    for user, hours in (("before", -1), ("after", 1)):
        identity = Identity(hub.hub_name, user)
        claims[user] = identity.volume(1)
        labels = {"component": "singleuser-server", "mlhub.generation": "1"}
        metadata = {
            "name": claims[user],
            "namespace": hub.namespace,
            "annotations": identity.labels,
            "labels": {**labels, **identity.safe_labels},
        }
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        hub.cluster.apply({**kind, "metadata": metadata, "spec": spec})
        hub.user(user).orm_user.created = now + timedelta(hours=hours)
    hub.db.commit()
    await asyncio.gather(*(hub.start(user) for user in claims))
    for user, is_theirs in (("before", True), ("after", False)):
        resources = await hub.backend.list_resources(user)
        volumes = [each for each in resources if each.kind is Kind.VOLUME]
        live = [each.name == claims[user] for each in volumes if each.trashed_at is None]
        assert live == [is_theirs]
        assert claims[user] in {each.name for each in volumes}


async def test_a_service_without_a_pod_is_what_is_left_of_a_workspace(hub):
    spawner = await hub.start("alice", "work")
    await hub.settle()
    name, place = spawner.pod_name, ("--namespace", hub.namespace)
    described = hub.read("service", name)
    # As `kubectl delete pod --cascade=orphan` leaves it: the cluster removes it no more.
    forget_pod = '[{"op": "remove", "path": "/metadata/ownerReferences"}]'
    hub.cluster.run("patch", "service", name, *place, "--type=json", "--patch", forget_pod)
    assert len(await list_kind(hub, Kind.WORKSPACE)) == 1
    hub.cluster.run("delete", "pod", name, *place, "--now")
    (left,) = await list_kind(hub, Kind.WORKSPACE)
    assert (left.name, left.user, left.server) == (name, "alice", "work")
    await hub.backend.remove(left)
    assert hub.list("services") == []
    metadata = {key: described["metadata"][key] for key in ("name", "labels", "annotations")}
    ports = described["spec"]["ports"]
    hub.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "namespace": hub.namespace},
            "spec": {"ports": ports},
        }
    )
    await hub.backend.delete_workspace(Identity(hub.hub_name, "alice", "work"))
    assert hub.list("services") == []
    assert [each.trashed_at is None for each in await list_kind(hub, Kind.VOLUME)] == [False]


async def list_kind(hub, kind):
    return [each for each in await hub.backend.list_resources() if each.kind is kind]
