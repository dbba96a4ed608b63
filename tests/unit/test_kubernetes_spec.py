"""What a workspace asks of the cluster, and what a pod is read to hold."""

from __future__ import annotations

import pytest
from kubespawner.objects import make_pod, make_service

from mlhub.backends.kubernetes import spec
from mlhub.identity import Identity

GPU, MIB = "example.com/gpu", 2**20
ALICE = Identity("hub", "Älice", "work")


def make(**given):
    """Make a pod as KubeSpawner does."""
    return make_pod(
        name="ws",
        cmd=["run"],
        port=8080,
        image="one:1",
        image_pull_policy="Always",
        image_pull_secrets=None,
        env={},
        labels={},
        **given,
    )


def ask(devices: dict[str, int] | None = None, **given) -> dict:
    pod = make(**given)
    spec.ask(pod, devices or {})
    resources = pod.spec.containers[0].resources
    return {"requests": resources.requests, "limits": resources.limits}


def test_nothing_of_a_node_is_asked_for_that_the_site_did_not_ask_for():
    assert ask(cpu_limit=2.0, mem_limit=512 * MIB)["requests"] == {"cpu": "0", "memory": "0"}
    assert ask(cpu_limit=2.0, cpu_guarantee=0.5)["requests"] == {"cpu": 0.5, "memory": "0"}


@pytest.mark.parametrize(
    ("guarantee", "limit", "asked"),
    [
        (512 * MIB, 256 * MIB, 256 * MIB),
        (512 * MIB, 512 * MIB, 512 * MIB),
        (512 * MIB, 1024 * MIB, 512 * MIB),
        (512 * MIB, None, 512 * MIB),
    ],
)
def test_a_guarantee_of_memory_is_never_above_the_limit(guarantee, limit, asked):
    assert ask(mem_limit=limit, mem_guarantee=guarantee)["requests"]["memory"] == asked


def test_a_guarantee_of_cores_or_of_anything_else_is_never_above_the_limit_however_it_is_written():
    assert ask(cpu_limit=0.5, cpu_guarantee=1.0)["requests"]["cpu"] == 0.5
    asked = ask(
        extra_resource_guarantees={"cpu": "750m", "memory": "1Gi"},
        cpu_limit=0.5,
        mem_limit=256 * MIB,
    )
    assert asked["requests"] == {"cpu": 0.5, "memory": 256 * MIB}
    disk = "ephemeral-storage"
    assert (
        ask(extra_resource_guarantees={disk: "2Gi"}, extra_resource_limits={disk: "1G"})[
            "requests"
        ][disk]
        == "1G"
    )
    # What cannot be read is left for the API to refuse.
    assert (
        ask(extra_resource_guarantees={disk: "plenty"}, extra_resource_limits={disk: "1G"})[
            "requests"
        ][disk]
        == "plenty"
    )


def test_devices_are_limits():
    assert ask({GPU: 2}, cpu_limit=1.0)["limits"] == {"cpu": 1.0, GPU: "2"}


def make_running(limits: dict[str, str], volumes: list[dict] | None = None) -> dict:
    others = {"name": "beside", "resources": {"limits": {"memory": "99Gi"}}}
    return {
        "spec": {
            "containers": [others, {"name": "notebook", "resources": {"limits": limits}}],
            "volumes": volumes or [],
        }
    }


def test_what_a_pod_holds_is_read_as_options():
    pod = make_running(
        {"cpu": "1500m", "memory": "512Mi", GPU: "2"},
        [
            {"name": spec.SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": spec.DATA_VOLUME, "persistentVolumeClaim": {"claimName": "v1"}},
            {"name": "another", "emptyDir": {"sizeLimit": "9Gi"}},
        ],
    )
    assert spec.read_held(pod, GPU) == {
        "cpu_limit": 1.5,
        "mem_limit": 512 * MIB,
        "gpus": ["0", "1"],
        "shm_size": 64 * MIB,
        "is_mount_volume": True,
    }


def test_a_pod_without_limits_holds_no_number_of_gpus_but_none():
    assert spec.read_held(make_running({}), GPU) == {"gpus": []}
    assert spec.read_held({"spec": {"containers": [{"name": "notebook"}]}}, GPU) == {"gpus": []}


def test_limits_that_are_the_sites_own_are_not_held():
    pod = make_running({"cpu": "2", "memory": "1Gi", GPU: "1"})
    assert spec.read_held(pod, GPU, {"memory": "1Gi", GPU: "1"}) == {"cpu_limit": 2.0}


def read_mounts(pod) -> dict[str, str]:
    return {each.mount_path: each.name for each in pod.spec.containers[0].volume_mounts}


def test_what_was_granted_lies_under_what_the_site_says():
    wanted = spec.Wanted(
        grace_seconds=7,
        uid=1000,
        gid=100,
        facts={"mlhub.image": "one:1"},
        devices={GPU: 2},
        claim="v1",
        mount_point="/workspace",
        shm_size=64 * MIB,
    )
    pod = spec.complete_pod(make(annotations={}), wanted)
    assert read_mounts(pod) == {"/workspace": spec.DATA_VOLUME, spec.SHM: spec.SHM_VOLUME}
    assert pod.metadata.annotations["mlhub.image"] == "one:1"
    assert pod.spec.termination_grace_period_seconds == 7
    assert pod.spec.containers[0].resources.limits[GPU] == "2"
    context = pod.spec.containers[0].security_context
    assert (context["runAsUser"], context["runAsGroup"]) == (1000, 100)
    site = {
        "volume_mounts": [
            {"name": "own", "mountPath": "/workspace/"},
            {"name": "own", "mountPath": spec.SHM},
        ],
        "volumes": [{"name": "own", "emptyDir": {}}],
        "container_security_context": {"runAsUser": 5},
    }
    pod = spec.complete_pod(make(annotations={}, **site), wanted)
    assert set(read_mounts(pod).values()) == {"own"}
    assert pod.spec.containers[0].security_context["runAsUser"] == 5


def test_an_sshd_is_the_images_own_or_one_that_the_pod_fetches():
    def complete(sshd):
        wanted = spec.Wanted(grace_seconds=1, sshd=sshd)
        container = spec.complete_pod(make(annotations={}), wanted).spec.containers[0]
        return {each.name: each.container_port for each in container.ports}, container

    assert complete(None)[0] == {"notebook-port": 8080}
    ports, container = complete(spec.Sshd(2200))
    assert (ports["ssh"], container.startup_probe) == (2200, None)
    ports, container = complete(spec.Sshd(fetch="import this", keys="#!/bin/sh"))
    assert (ports["ssh"], container.startup_probe._exec.command[-1]) == (spec.PORT, "import this")


def test_a_service_has_each_port_once_and_selects_by_whose_it_is():
    def complete(ssh):
        made = make_service("ws", 8080, {"expires": "soon"}, [])
        return spec.complete_service(made, ALICE, 8080, ssh).spec

    assert [(port.name, port.port) for port in complete(2200).ports] == [
        ("http", 8080),
        ("ssh", 2200),
    ]
    for ssh in (None, 8080):
        assert [port.name for port in complete(ssh).ports] == ["http"]
    assert complete(None).selector == ALICE.safe_labels


def test_only_limits_that_are_the_sites_may_differ_from_what_is_granted():
    held = {"cpu_limit": 2.0, "mem_limit": 512 * MIB}
    assert spec.has_limits(held, 2.0, 512 * MIB)
    assert not spec.has_limits(held, 1.0, 512 * MIB)
    assert not spec.has_limits(held, 2.0, None)
    assert spec.has_limits(held, 1.0, 512 * MIB, {"cpu": "9"})
