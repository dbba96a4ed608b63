"""What belongs to one hub in one namespace of a cluster; the port of ``mlhub.backends.base`` for Kubernetes.

Promise: the cluster's own labels and annotations are the only record. A stopped workspace has no pod: it is there as long
as its claim is, which carries what has to be known of it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from mlhub.backends.base import Address, Kind, Resource, Workspace
from mlhub.backends.deletion import BackgroundBackend
from mlhub.backends.kubernetes import objects, pods, volumes
from mlhub.backends.kubernetes.api import Api, sentences
from mlhub.backends.kubernetes.events import PodEvents
from mlhub.backends.kubernetes.hosts import Nodes
from mlhub.backends.kubernetes.names import ANNOTATION_IMAGE, make_selector, owns, owns_for_user, read_identity, read_raw_labels
from mlhub.errors import NameTakenError
from mlhub.workspace.identity import LABEL_SERVER, Identity

POLICY = "network_policy"
# A pod is gone when its node says so.
GONE_SECONDS, LOOK_SECONDS = 60.0, 0.1


class KubernetesBackend(BackgroundBackend):
    """Look after everything of one hub in one namespace."""

    def __init__(self, hub_name: str, namespace: str, extra_labels: dict[str, str], gpu_resource: str) -> None:
        super().__init__(hub_name)
        self.api, self.extra_labels = Api(namespace), extra_labels
        self.nodes = Nodes(self.api, gpu_resource)
        self.events = PodEvents(self.api)

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        with sentences():
            selector = make_selector(self.hub_name, user)
            found, claims = await asyncio.gather(self.api.list_all("pod", selector), self.api.list_all(volumes.CLAIM, selector))
        running = {workspace.identity: workspace for pod in found if (workspace := _read_workspace(pod))}
        stopped = {
            workspace.identity: workspace
            for claim in claims
            if volumes.trashed_at(claim) is None and (workspace := _read_stopped(claim)) and workspace.identity not in running
        }
        return [*running.values(), *stopped.values()]

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        with sentences():
            selector = make_selector(self.hub_name, user)
            found, claims, policies = await asyncio.gather(*(self.api.list_all(kind, selector) for kind in ("pod", volumes.CLAIM, POLICY)))
        resources = [_read_resource(Kind.WORKSPACE, pod) for pod in found if LABEL_SERVER in (pod["metadata"].get("labels") or {})]
        resources += [_read_resource(Kind.NETWORK, policy) for policy in policies]
        # A claim stays for a moment after it was deleted, until nothing mounts it any more.
        lasting = [claim for claim in claims if "deletionTimestamp" not in claim["metadata"]]
        resources += [_read_resource(Kind.VOLUME, claim, volumes.trashed_at(claim)) for claim in lasting]
        return [resource for resource in resources if resource]

    async def remove(self, resource: Resource) -> None:
        identity = Identity(self.hub_name, resource.user, resource.server or "")
        with sentences():
            if resource.kind is Kind.WORKSPACE:
                await self.remove_pod(identity, resource.name)
            elif resource.kind is Kind.NETWORK:
                await self._remove_network(identity)
            else:
                claim = await self.api.read(volumes.CLAIM, resource.name)
                if claim is None or not owns(identity, claim):
                    return
                if volumes.trashed_at(claim) is None:
                    await volumes.bury(self.api, claim, time.time())
                elif resource.trashed_at is not None:
                    await self.api.delete(volumes.CLAIM, resource.name, claim["metadata"]["uid"])

    async def restore(self, resource: Resource) -> None:
        with sentences():
            await volumes.take_out_of_trash(self.api, Identity(self.hub_name, resource.user, resource.server or ""), resource.name)

    async def address(self, identity: Identity) -> Address | None:
        with sentences():
            found = await self.api.list_all("pod", make_selector(identity.hub, identity.user, identity.server))
        return next((workspace.address for pod in found if owns(identity, pod) and (workspace := _read_workspace(pod))), None)

    async def find_pod(self, identity: Identity, name: str) -> dict[str, Any] | None:
        """Return the pod of a workspace, or None; raise ``NameTakenError`` where it belongs to somebody else."""
        pod = await self.api.read("pod", name)
        if pod is not None and not owns(identity, pod):
            raise NameTakenError(
                f"A pod named {name!r} exists already and does not belong to this workspace. Ask your administrator to remove or rename it."
            )
        return pod

    async def remove_pod(self, identity: Identity, name: str, grace_seconds: int = 0) -> None:
        """Remove a workspace's pod and wait until it is gone; its Service goes with it."""
        deadline = asyncio.get_running_loop().time() + grace_seconds + GONE_SECONDS
        pod = await self.find_pod(identity, name)
        uid = pod["metadata"]["uid"] if pod else None
        if uid:
            await self.api.delete("pod", name, uid, grace_seconds)
        while pod is not None and pod["metadata"]["uid"] == uid:
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(
                    f"the pod {name} is still there {grace_seconds + GONE_SECONDS:.0f} s after it was deleted: its node does not answer"
                )
            await asyncio.sleep(LOOK_SECONDS)
            pod = await self.api.read("pod", name)

    async def ensure_service(self, identity: Identity, manifest: Any) -> None:
        """Make sure of the Service of a pod; that of the pod before gives way. It goes with the pod."""
        name, owner = manifest.metadata.name, manifest.metadata.owner_references[0].uid
        while await self.api.create("service", manifest) is None:
            found = await self.api.read("service", name)
            if found is not None and not owns(identity, found):
                raise NameTakenError(
                    f"A Service named {name!r} exists already and does not belong to this workspace. Ask your administrator to remove or rename it."
                )
            if found is not None and any(each["uid"] == owner for each in found["metadata"].get("ownerReferences") or []):
                return
            if found is not None:
                await self.api.delete("service", name, found["metadata"]["uid"])
            await asyncio.sleep(LOOK_SECONDS)

    async def ensure_network(self, identity: Identity) -> str:
        """Make sure that the workspaces of one user reach each other."""
        policy = objects.make_network_policy(identity, self.extra_labels)
        made = await self.api.create(POLICY, policy) or await self.api.read(POLICY, identity.network)
        if not owns_for_user(identity, made):
            raise NameTakenError(
                f"A network policy named {identity.network!r} exists already and does not belong to this user. Ask your administrator to remove or rename it."
            )
        return identity.network

    async def note(self, identity: Identity, claim: str, annotations: dict[str, str]) -> None:
        """Write down on the claim what has to be known of a workspace while it is stopped."""
        await self.api.patch(volumes.CLAIM, claim, {"metadata": {"annotations": annotations}})

    async def note_expiry(self, identity: Identity, pod: str, annotations: dict[str, str]) -> None:
        """Write a changed expiry on a workspace's pod and on its claim, as far as they are there."""
        with sentences():
            if await self.find_pod(identity, pod):
                await self.api.patch("pod", pod, {"metadata": {"annotations": annotations}})
            if claim := volumes.find_live(await volumes.list_claims(self.api, identity)):
                await self.note(identity, claim["metadata"]["name"], annotations)

    async def _remove_network(self, identity: Identity) -> None:
        if any(pods.is_alive(pod) for pod in await self.api.list_all("pod", make_selector(identity.hub, identity.user))):
            return
        policy = await self.api.read(POLICY, identity.network)
        if policy is not None and owns_for_user(identity, policy):
            await self.api.delete(POLICY, identity.network)

    async def _delete(self, identity: Identity) -> None:
        with sentences():
            for pod in await self.api.list_all("pod", make_selector(identity.hub, identity.user, identity.server)):
                if owns(identity, pod):
                    await self.remove_pod(identity, pod["metadata"]["name"])
            await volumes.move_to_trash(self.api, identity, time.time())
            rest = await self.api.list_all(volumes.CLAIM, make_selector(identity.hub, identity.user))
            if all(volumes.trashed_at(claim) is not None for claim in rest):
                await self._remove_network(identity)


def _read_workspace(pod: dict[str, Any]) -> Workspace | None:
    identity, labels = read_identity(pod), read_raw_labels(pod)
    if identity is None or LABEL_SERVER not in labels:
        return None
    host, port = pods.read_ip(pod), pods.read_port(pod, "notebook-port")
    return Workspace(
        identity=identity,
        name=pod["metadata"]["name"],
        image=pods.read_container(pod)["image"],
        is_running=pods.is_alive(pod),
        created_at=_seconds(pod),
        address=Address(host, port) if host and port else None,
        labels=labels,
    )


def _read_stopped(claim: dict[str, Any]) -> Workspace | None:
    identity, labels = read_identity(claim), read_raw_labels(claim)
    if identity is None:
        return None
    return Workspace(identity, identity.container, labels.get(ANNOTATION_IMAGE, ""), False, _seconds(claim), labels=labels)


def _read_resource(kind: Kind, found: dict[str, Any], trashed_at: float | None = None) -> Resource | None:
    identity, labels = read_identity(found), read_raw_labels(found)
    if identity is None:
        return None
    return Resource(kind, found["metadata"]["name"], identity.user, labels.get(LABEL_SERVER), _seconds(found), trashed_at, labels)


def _seconds(found: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(found["metadata"].get("creationTimestamp") or "").timestamp()
    except ValueError:
        return 0.0
