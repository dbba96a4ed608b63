"""Images on Kubernetes: what the site says of one is how its pod is made, and one that cannot
become a workspace is a sentence.
"""

from __future__ import annotations

import asyncio
import json
import time

from mlhub.identity import Identity
from tests.support.cluster import WORKSPACE_IMAGE, KubernetesHub, fail_to_start, read_pod, write


async def see_claims(hub, names: set[str]) -> None:
    """Wait until there are these claims; one that is deleted stays until its pod is gone."""
    found = None
    for _ in range(100):
        found = {each["metadata"]["name"] for each in hub.list("persistentvolumeclaims")}
        if found == names:
            return
        await asyncio.sleep(0.1)
    assert found == names


async def test_an_image_that_can_not_be_pulled_is_a_sentence_within_seconds(hub):
    hub.spawner.image = "mlhub-test-missing:1"
    began = time.monotonic()
    sentence = await fail_to_start(hub, "alice")
    assert "mlhub-test-missing:1' cannot be pulled" in sentence
    assert time.monotonic() - began < 40


async def test_an_image_that_can_not_be_pulled_leaves_nothing_behind_but_what_was_there(hub):
    missing = {"image": "mlhub-test-missing:1"}
    hub.spawner.workspace_images = [WORKSPACE_IMAGE, missing["image"]]
    hub.spawner.image_pull_policy = "Never"  # so that the node gives up at once
    assert "cannot be pulled" in await fail_to_start(hub, "alice", options=missing)
    await see_claims(hub, set())
    assert hub.list("pods,networkpolicies") == []
    spawner = await hub.start("bob")
    write(hub, spawner.pod_name, "echo kept >/workspace/file")
    await hub.stop("bob")
    assert "cannot be pulled" in await fail_to_start(hub, "bob", options=missing)
    await see_claims(hub, {Identity(hub.hub_name, "bob").volume(1)})
    spawner = await hub.start("bob", options={"image": WORKSPACE_IMAGE})
    assert write(hub, spawner.pod_name, "cat /workspace/file") == "kept"


async def test_an_image_that_would_run_as_root_is_a_sentence_that_names_the_cure(hub):
    hub.spawner.image_settings = {}
    sentence = await fail_to_start(hub, "alice")
    assert "may not be root" in sentence
    assert "uid" in sentence


def describe_image(hub, where: str, folder, **known) -> dict:
    """Say something of the tests' image, in the hub's configuration or in the site's catalogue;
    return the options that choose it.
    """
    known = {"uid": 1000, "gid": 1000, **known}
    if where == "image_settings":
        hub.spawner.image_settings = {"mlhub-test-*": known}
        return {}
    file = folder / "policy.yaml"
    file.write_text(json.dumps({"images": [{"name": "tiny", "image": WORKSPACE_IMAGE, **known}]}))
    hub.spawner.policy_file = str(file)
    return {"image": "tiny"}


async def test_what_the_site_says_of_an_image_is_how_its_pod_is_made(hub, tmp_path):
    # That either place may say it, and which has the last word: tests/unit/test_images.py.
    options = describe_image(hub, "catalogue", tmp_path, port=9123, mount_point="/data")
    spawner = await hub.start(
        "alice", options=options
    )  # it has answered there, else there were no start
    await hub.settle()
    spec = read_pod(hub, spawner.pod_name)["spec"]
    (notebook,) = spec["containers"]
    assert {port["name"]: port["containerPort"] for port in notebook["ports"]}[
        "notebook-port"
    ] == 9123
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounted = {
        mount["mountPath"]: claims[mount["name"]]
        for mount in notebook["volumeMounts"]
        if mount["name"] in claims
    }
    assert mounted == {"/data": Identity(hub.hub_name, "alice").volume(1)}
    service = hub.read("service", spawner.pod_name)
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]}["http"] == 9123
    assert (await hub.backend.address(Identity(hub.hub_name, "alice"))).port == 9123
    write(hub, spawner.pod_name, "echo kept >/data/file")
    await hub.stop("alice")
    spawner = await hub.start("alice", options=options)
    assert write(hub, spawner.pod_name, "cat /data/file") == "kept"


async def test_a_claim_that_volumes_name_as_the_template_does_is_the_workspaces_own(hub):
    claim = {"claimName": "claim-{username}"}
    hub.spawner.pvc_name_template = claim["claimName"]
    hub.spawner.volumes = [{"name": "home", "persistentVolumeClaim": claim}]
    hub.spawner.volume_mounts = [{"name": "home", "mountPath": "/workspace"}]
    spawner = await hub.start("alice")
    spec = read_pod(hub, spawner.pod_name)["spec"]
    own = {"home": Identity(hub.hub_name, "alice").volume(1)}
    assert own == {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }


async def test_a_claim_that_does_not_exist_is_named_in_place_of_a_wait(hub):
    hub.spawner.volumes = [
        {"name": "shared", "persistentVolumeClaim": {"claimName": "nobody-makes-this"}}
    ]
    sentence = await fail_to_start(hub, "alice")
    assert "'nobody-makes-this', which does not exist" in sentence
    assert "c.KubeSpawner.volumes" in sentence


async def test_an_image_that_needs_root_is_refused_before_there_is_anything_in_the_cluster(
    hub, tmp_path
):
    def list_made() -> list[str]:
        kinds = "pods,persistentvolumeclaims,services,networkpolicies"
        return sorted(each["kind"] for each in hub.list(kinds))

    for where in ("image_settings", "catalogue"):
        options = describe_image(hub, where, tmp_path, needs_root=True)
        assert (
            await fail_to_start(hub, "alice", options=options)
            == f"The image {WORKSPACE_IMAGE!r} has to start as root, and workspaces of this cluster"
            " may not be root. Choose another image. (MLHUB-E052)"
        )
    assert list_made() == []
    await hub.start("bob", options=describe_image(hub, "catalogue", tmp_path, needs_root=False))
    await hub.settle()
    assert list_made() == ["NetworkPolicy", "PersistentVolumeClaim", "Pod", "Service"]


async def test_an_image_that_needs_root_has_it_where_site_and_namespace_let_it(
    cluster, namespace, hub_name
):
    hub = KubernetesHub(cluster, namespace, hub_name)
    hub.cluster.run(
        "label",
        "namespace",
        hub.namespace,
        "--overwrite",
        "pod-security.kubernetes.io/enforce=baseline",
    )
    hub.spawner.pod_security_context = {"runAsNonRoot": False}
    hub.spawner.image_settings = {"mlhub-test-*": {"needs_root": True}}
    spawner = await hub.start("alice")
    assert write(hub, spawner.pod_name, "id -u") == "0"
    await hub.close()
