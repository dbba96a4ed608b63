"""What the site's policy, its guarantees and the nodes allow, on a real cluster: what is granted
runs, what is not makes no pod.
"""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest
from tornado import web

from tests.support.cluster import read_pod

MIB = 2**20
GPU = "mlhub.test/gpu"


def read_resources(hub, spawner) -> dict:
    (notebook,) = [
        each
        for each in read_pod(hub, spawner.pod_name)["spec"]["containers"]
        if each["name"] == "notebook"
    ]
    return notebook["resources"]


async def be_refused(hub, *args, **kwargs) -> str:
    """Fail to start for what was asked; nothing may have been made in the cluster."""
    with pytest.raises(web.HTTPError) as caught:
        await hub.start(*args, **kwargs)
    assert caught.value.status_code == 400
    assert hub.list("pods,persistentvolumeclaims") == []
    return caught.value.jupyterhub_message


@pytest.fixture
def set_policy(hub, tmp_path):
    """Return a function that writes the site's policy."""
    file = tmp_path / "policy.yaml"
    hub.spawner.policy_file = str(file)
    return file.write_text


async def start_after_loss(hub, user: str, **options):
    """Start a workspace that runs already, as a hub does that knows nothing of it any more."""
    await hub.close()
    hub.reset_database()
    spawner = await hub.start(user, options=options or None)
    await hub.settle()
    return spawner


async def test_a_workspace_may_have_less_than_the_site_guarantees(hub):
    hub.spawner.mem_guarantee, hub.spawner.cpu_guarantee = "128M", 0.2
    spawner = await hub.start(
        "alice", options={"mem_limit": "64M", "cpu_limit": 0.1, "is_mount_volume": False}
    )
    resources = read_resources(hub, spawner)
    assert resources["requests"] == resources["limits"] == {"cpu": "100m", "memory": str(64 * MIB)}
    spawner = await hub.start(
        "bob", options={"mem_limit": "256M", "cpu_limit": 0.5, "is_mount_volume": False}
    )
    assert read_resources(hub, spawner)["requests"] == {"cpu": "200m", "memory": str(128 * MIB)}


async def test_a_start_above_the_policys_maximum_is_refused_before_there_is_anything_in_the_cluster(
    hub, set_policy
):
    set_policy("everyone:\n  mem_limit: {max: 128M}\n  cpu_limit: {max: 0.5}\n")
    assert "at most 128 MB" in await be_refused(hub, "alice", options={"mem_limit": "129M"})
    assert "at most 0.5" in await be_refused(hub, "alice", options={"cpu_limit": 0.6})
    spawner = await hub.start("alice", options={"mem_limit": "128M"})
    assert read_resources(hub, spawner)["limits"] == {"cpu": "500m", "memory": str(128 * MIB)}


async def test_a_pod_that_holds_more_than_may_be_had_now_is_made_anew(hub, set_policy):
    set_policy("everyone:\n  mem_limit: {max: 256M}\n")
    before = await hub.start("alice", options={"mem_limit": "256M"})
    uid = read_pod(hub, before.pod_name)["metadata"]["uid"]
    set_policy("everyone:\n  mem_limit: {max: 128M}  # less than before\n")
    spawner = await start_after_loss(hub, "alice")
    assert read_pod(hub, spawner.pod_name)["metadata"]["uid"] != uid
    assert read_resources(hub, spawner)["limits"]["memory"] == str(128 * MIB)
    assert spawner.describe_limits()["mem_limit"] == "128M"


async def test_a_pod_that_holds_other_than_is_asked_for_now_is_made_anew(hub):
    await hub.start("alice", options={"mem_limit": "128M", "env": {"COLOUR": "green"}})
    spawner = await start_after_loss(hub, "alice", mem_limit="256M")
    assert read_resources(hub, spawner)["limits"]["memory"] == str(256 * MIB)
    spawner = await start_after_loss(hub, "alice", env={"COLOUR": "$(HOME) blue"})
    assert {"name": "COLOUR", "value": "$$(HOME) blue"} in read_pod(hub, spawner.pod_name)["spec"][
        "containers"
    ][0]["env"]
    uid = read_pod(hub, spawner.pod_name)["metadata"]["uid"]
    spawner = await start_after_loss(hub, "alice", env={"COLOUR": "$(HOME) blue"})
    assert read_pod(hub, spawner.pod_name)["metadata"]["uid"] == uid


async def test_a_pod_that_runs_goes_on_whatever_else_the_site_has_changed_and_counts_as_what_it_holds(  # noqa: E501
    hub, set_policy
):
    set_policy("everyone:\n  mem_limit: {max: 512M}\n")
    asked = {"mem_limit": "256M", "cpu_limit": 0.3, "shm_size": "32M", "env": {"COLOUR": "green"}}
    uid = read_pod(hub, (await hub.start("alice", options=asked)).pod_name)["metadata"]["uid"]
    set_policy(
        "everyone:\n  mem_limit: {default: 64M, max: 256M}\n  shm_size: {default: 16M, max: 32M}\n"
    )
    hub.spawner.environment, hub.spawner.extra_annotations = {"NEW": "1"}, {"new": "1"}
    hub.spawner.mem_guarantee, hub.spawner.extra_resource_limits = (
        "32M",
        {"ephemeral-storage": "1Gi"},
    )
    hub.spawner.storage_capacity, hub.spawner.stop_seconds = "32Mi", 3
    spawner = await start_after_loss(hub, "alice")
    assert read_pod(hub, spawner.pod_name)["metadata"]["uid"] == uid
    assert spawner.describe_limits() == {"cpu_limit": "0.3", "mem_limit": "256M", "gpus": "0"}


# GPUs


@pytest.fixture
def offer_gpus(cluster):
    """Return a function with which a node offers GPUs, as extended resources that need no plugin;
    they go with the test.

    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """
    node = cluster.read("nodes")["items"][0]["metadata"]["name"]

    def offer(number: str | None) -> None:
        status = {"status": {part: {GPU: number} for part in ("capacity", "allocatable")}}
        cluster.run(
            "patch",
            "node",
            node,
            "--subresource=status",
            "--type=merge",
            "--patch",
            json.dumps(status),
        )

    with contextlib.ExitStack() as stack:
        stack.callback(offer, None)
        yield offer


async def test_gpus_are_asked_of_the_cluster_by_number(hub, offer_gpus):
    hub.spawner.gpu_resource = GPU
    offer_gpus("2")
    spawner = await hub.start("alice", options={"gpus": "0,1", "is_mount_volume": False})
    resources = read_resources(hub, spawner)
    assert resources["limits"][GPU] == resources["requests"][GPU] == "2"
    assert read_pod(hub, spawner.pod_name)["status"]["phase"] == "Running"
    without = await hub.start("bob", options={"is_mount_volume": False})
    assert GPU not in read_resources(hub, without)["limits"]
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("carol", options={"gpus": "2"})
    assert "there is no GPU 2 here" in caught.value.jupyterhub_message
    uid = read_pod(hub, spawner.pod_name)["metadata"]["uid"]
    spawner = await start_after_loss(hub, "alice")
    assert read_pod(hub, spawner.pod_name)["metadata"]["uid"] == uid
    assert spawner.describe_limits()["gpus"] == "2"


async def test_without_gpus_in_the_cluster_none_can_be_had(hub):
    hub.spawner.gpu_resource = "mlhub.test/none"
    assert "there is no GPU 0 here" in await be_refused(hub, "alice", options={"gpus": "0"})
    assert "there is none here" in await be_refused(hub, "alice", options={"gpus": "all"})


# nodes


def read_bytes(text: str) -> int:
    """Read memory with another program than ours."""
    return int(
        subprocess.run(
            ["numfmt", "--from=auto", text], check=True, capture_output=True, text=True
        ).stdout
    )


async def test_the_host_is_what_kubectl_says_of_the_nodes(hub, offer_gpus):
    hub.spawner.gpu_resource = GPU
    offer_gpus("3")
    nodes = [
        node for node in hub.cluster.read("nodes")["items"] if not node["spec"].get("unschedulable")
    ]
    sizes = [node["status"]["allocatable"] for node in nodes]
    host = await hub.user("alice").get_or_create_spawner("", "").read_host()
    assert host.cpus == max(
        int(size["cpu"][:-1]) / 1000 if size["cpu"].endswith("m") else int(size["cpu"])
        for size in sizes
    )
    assert host.memory_bytes == max(read_bytes(size["memory"]) for size in sizes)
    assert host.gpus == ("0", "1", "2")
