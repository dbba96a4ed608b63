"""What a workspace asks of the cluster, and what a pod is read to hold."""

from __future__ import annotations

import pytest
from kubespawner.objects import make_pod

from mlhub.backends.kubernetes import objects

GPU, MIB = "example.com/gpu", 2**20


def ask(devices: dict[str, int] | None = None, **given) -> dict:
    pod = make_pod(
        name="ws", cmd=["run"], port=8080, image="one:1", image_pull_policy="Always", image_pull_secrets=None, env={}, labels={}, **given
    )
    objects.ask(pod, devices or {})
    resources = pod.spec.containers[0].resources
    return {"requests": resources.requests, "limits": resources.limits}


def test_nothing_of_a_node_is_asked_for_that_the_site_did_not_ask_for():
    assert ask(cpu_limit=2.0, mem_limit=512 * MIB)["requests"] == {"cpu": "0", "memory": "0"}
    assert ask(cpu_limit=2.0, cpu_guarantee=0.5)["requests"] == {"cpu": 0.5, "memory": "0"}


@pytest.mark.parametrize(
    ("guarantee", "limit", "asked"),
    [(512 * MIB, 256 * MIB, 256 * MIB), (512 * MIB, 512 * MIB, 512 * MIB), (512 * MIB, 1024 * MIB, 512 * MIB), (512 * MIB, None, 512 * MIB)],
)  # fmt: skip
def test_a_guarantee_of_memory_is_never_above_the_limit(guarantee, limit, asked):
    assert ask(mem_limit=limit, mem_guarantee=guarantee)["requests"]["memory"] == asked


def test_a_guarantee_of_cores_or_of_anything_else_is_never_above_the_limit_however_it_is_written():
    assert ask(cpu_limit=0.5, cpu_guarantee=1.0)["requests"]["cpu"] == 0.5
    asked = ask(extra_resource_guarantees={"cpu": "750m", "memory": "1Gi"}, cpu_limit=0.5, mem_limit=256 * MIB)
    assert asked["requests"] == {"cpu": 0.5, "memory": 256 * MIB}
    disk = "ephemeral-storage"
    assert ask(extra_resource_guarantees={disk: "2Gi"}, extra_resource_limits={disk: "1G"})["requests"][disk] == "1G"
    # What can not be read is left for the API to refuse.
    assert ask(extra_resource_guarantees={disk: "plenty"}, extra_resource_limits={disk: "1G"})["requests"][disk] == "plenty"


def test_devices_are_limits():
    assert ask({GPU: 2}, cpu_limit=1.0)["limits"] == {"cpu": 1.0, GPU: "2"}


def make_running(limits: dict[str, str], volumes: list[dict] | None = None) -> dict:
    others = {"name": "beside", "resources": {"limits": {"memory": "99Gi"}}}
    return {"spec": {"containers": [others, {"name": "notebook", "resources": {"limits": limits}}], "volumes": volumes or []}}


def test_what_a_pod_holds_is_read_as_options():
    pod = make_running(
        {"cpu": "1500m", "memory": "512Mi", GPU: "2"},
        [
            {"name": objects.SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": objects.DATA_VOLUME, "persistentVolumeClaim": {"claimName": "v1"}},
            {"name": "another", "emptyDir": {"sizeLimit": "9Gi"}},
        ],
    )
    assert objects.read_held(pod, GPU) == {
        "cpu_limit": 1.5, "mem_limit": 512 * MIB, "gpus": ["0", "1"], "shm_size": 64 * MIB, "is_mount_volume": True,
    }  # fmt: skip


def test_a_pod_without_limits_holds_no_number_of_gpus_but_none():
    assert objects.read_held(make_running({}), GPU) == {"gpus": []}
    assert objects.read_held({"spec": {"containers": [{"name": "notebook"}]}}, GPU) == {"gpus": []}


def test_limits_that_are_the_sites_own_are_not_held():
    pod = make_running({"cpu": "2", "memory": "1Gi", GPU: "1"})
    assert objects.read_held(pod, GPU, {"memory": "1Gi", GPU: "1"}) == {"cpu_limit": 2.0}
