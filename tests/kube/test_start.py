"""A start by itself: a pod and a cluster, and neither hub nor spawner."""

from __future__ import annotations

import pytest
from kubespawner.clients import load_config
from kubespawner.objects import make_pod

from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.inventory import KubernetesBackend
from mlhub.backends.kubernetes.spec import Wanted, complete_pod
from mlhub.backends.kubernetes.start import Start, Target
from mlhub.errors import ImageError, NameTakenError
from mlhub.identity import Identity
from tests.support.cluster import WORKSPACE_IMAGE


@pytest.fixture
def backend(cluster, namespace, hub_name):
    load_config()
    return KubernetesBackend(hub_name, namespace, {}, "example.com/gpu")


def make_start(backend, image=WORKSPACE_IMAGE, **times):
    identity, said = Identity(backend.hub_name, "alice"), []
    target = Target(identity, identity.container, "/api", **times)
    start = Start(backend, target, report=lambda percent, message: said.append(message))
    pod = make_pod(
        name=identity.container,
        cmd=None,
        port=8080,
        image=image,
        image_pull_policy="IfNotPresent",
        image_pull_secrets=None,
        env={"JUPYTERHUB_SERVICE_PREFIX": "/"},
        labels=identity.safe_labels,
        annotations=identity.labels,
    )
    return start, complete_pod(pod, Wanted(grace_seconds=1, uid=1000, gid=1000)), said


async def test_a_pod_that_is_made_answers_and_is_found_by_the_next_start(backend):
    start, manifest, said = make_start(backend)
    with start.listen():
        assert await start.find() is None
        made = await start.make(manifest)
        pod = await start.wait()
    assert pod["metadata"]["uid"] == made["metadata"]["uid"]
    assert pods.read_address(pod)
    assert "Asking the cluster for a place" in said
    again, manifest, _ = make_start(backend)
    found = await again.find()
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert (await again.wait())["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(NameTakenError, match="just now"):
        await make_start(backend)[0].make(manifest)
    await again.make_room()
    assert await make_start(backend)[0].find() is None


async def test_a_pod_that_cannot_become_a_workspace_ends_the_start_with_a_sentence(backend):
    start, manifest, _ = make_start(backend, "registry.invalid/never:1", start_timeout=50)
    await start.find()
    await start.make(manifest)
    with pytest.raises(ImageError, match=r"never:1.*cannot be pulled"):
        await start.wait()
