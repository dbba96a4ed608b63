"""What the pod of a workspace that runs looks like. Nobody changes it: one is enough for all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from mlhub.identity import Identity
from tests.support.cluster import KubernetesHub, read_pod, write
from tests.support.names import make_hub_name

OPTIONS = {
    "cpu_limit": 0.5,
    "mem_limit": "256M",
    "shm_size": "32M",
    "env": {"PLAIN": "a b", "TOKEN_LIKE": "$(JUPYTERHUB_USER) {username}"},
    "days_to_live": 3,
}


@dataclass
class Running:
    """A workspace of Alice's that runs; the hub that started it is gone with its database."""

    cluster: Any
    namespace: str
    hub_name: str
    pod: str = ""
    token: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def make_hub(self) -> KubernetesHub:
        hub = KubernetesHub(self.cluster, self.namespace, self.hub_name)
        known = {"uid": 1000, "gid": 1000, "ssh_port": 2200}
        hub.spawner.image_settings, hub.spawner.ssh_folder = {"mlhub-test-*": known}, "/nowhere"
        return hub

    async def start(self) -> None:
        hub = self.make_hub()
        spawner = await hub.start("alice", "work", options=OPTIONS)
        await hub.settle()
        self.pod, self.token = spawner.pod_name, spawner.api_token
        self.events = list(spawner.start_progress.events)
        await hub.close()


@pytest.fixture(scope="module")
def running(cluster, shared_namespace):
    found = Running(cluster, shared_namespace, make_hub_name())
    asyncio.run(found.start())
    yield found
    found.make_hub().remove_all()


def test_every_container_of_the_pod_is_restricted(running):
    pod = read_pod(running, running.pod)
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert write(running, running.pod, "id -u") == "1000"
    assert "0000000000000000" in write(running, running.pod, "grep CapEff /proc/self/status")


def test_what_was_granted_is_what_the_pod_has(running):
    resources = read_pod(running, running.pod)["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "500m", "memory": "268435456"}
    assert resources["requests"] == {"cpu": "0", "memory": "0"}
    assert write(running, running.pod, "df -m /dev/shm | tail -1").split()[1] == "32"
    said = write(running, running.pod, 'echo "$PLAIN|$TOKEN_LIKE"')
    assert said == "a b|$(JUPYTERHUB_USER) {username}"


def test_the_service_has_both_ports_and_selects_by_what_never_changes(running):
    service = running.cluster.read("--namespace", running.namespace, "service", running.pod)
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {
        "http": 8080,
        "ssh": 2200,
    }
    identity = Identity(running.hub_name, "alice", "work")
    assert service["spec"]["selector"] == identity.safe_labels
    pod = read_pod(running, running.pod)
    assert "expiration_timestamp_seconds" in pod["metadata"]["annotations"]
    assert "expiration_timestamp_seconds" not in pod["metadata"]["labels"]
    assert service["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]


def test_progress_tells_what_the_cluster_does(running):
    percents = [event["progress"] for event in running.events]
    assert percents == sorted(percents)
    assert any("assigned" in event["message"] for event in running.events)


async def test_a_hub_that_lost_its_database_adopts_the_pod_that_runs(running):
    before = read_pod(running, running.pod)["metadata"]["uid"]
    hub = running.make_hub()
    spawner = await hub.start("alice", "work")
    assert read_pod(running, running.pod)["metadata"]["uid"] == before
    assert spawner.api_token == running.token
    await hub.close()
