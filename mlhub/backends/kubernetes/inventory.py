"""What belongs to one hub in one namespace of a cluster; the port of ``mlhub.workspaces.port`` for
Kubernetes.

Invariants: the cluster's own labels and annotations are the only record. A stopped workspace has no
pod: it is there as long as its claim is, which carries what has to be known of it. A pod's Service
goes with it; one that names no pod as its owner is what is left of a workspace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mlhub.backends import inventory, trash
from mlhub.backends.background import BackgroundBackend
from mlhub.backends.kubernetes import pods, spec
from mlhub.backends.kubernetes.client import Api, friendly_errors
from mlhub.backends.kubernetes.events import PodEvents
from mlhub.backends.kubernetes.hosts import Nodes
from mlhub.backends.kubernetes.names import (
    make_selector,
    owns,
    owns_for_user,
    read_raw_labels,
    seconds,
)
from mlhub.backends.kubernetes.volumes import CLAIM, Claims
from mlhub.errors import BackendError
from mlhub.identity import Identity
from mlhub.policy.disk import Taken
from mlhub.texts import Text
from mlhub.workspaces.port import Address, Kind, Reason, Recipient, Resource, Workspace

POLICY = "network_policy"
# A pod is gone when its node says so.
GONE_SECONDS, LOOK_SECONDS = 60.0, 0.1


class KubernetesBackend(BackgroundBackend):
    """Look after everything of one hub in one namespace."""

    def __init__(
        self, hub_name: str, namespace: str, extra_labels: dict[str, str], gpu_resource: str
    ) -> None:
        super().__init__(hub_name)
        self.api, self.extra_labels = Api(namespace), extra_labels
        self.volumes = Claims(self.api, hub_name)
        self.nodes = Nodes(self.api, gpu_resource)
        self.events = PodEvents(self.api)

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        with friendly_errors():
            found, volumes = await asyncio.gather(
                self.api.list_all("pod", make_selector(self.hub_name, user)),
                self.volumes.list_volumes(user),
            )
        # In a thread, here and below: there may be many, and the hub answers meanwhile.
        return await asyncio.to_thread(_make_workspaces, found, volumes.found)

    async def measure_disk(self) -> list[Taken]:
        with friendly_errors():
            return await self.volumes.list_taken()

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        with friendly_errors():
            selector = make_selector(self.hub_name, user)
            found, services, policies, volumes = await asyncio.gather(
                self.api.list_all("pod", selector),
                self.api.list_all("service", selector),
                self.api.list_all(POLICY, selector),
                self.volumes.list_volumes(user),
            )
        return await asyncio.to_thread(_make_resources, found, services, policies, volumes.found)

    async def remove(self, resource: Resource, reason: Reason = Reason.DELETED) -> None:
        identity = inventory.name_owner(self.hub_name, resource)
        with friendly_errors():
            if resource.kind is Kind.WORKSPACE:
                await self.remove_pod(identity, resource.name)
                await self._remove_lone_service(
                    identity, await self.api.read("service", resource.name)
                )
            elif resource.kind is Kind.NETWORK:
                await self._remove_network(identity)
            else:
                await trash.remove_volume(self.volumes, self.hub_name, resource, reason)

    async def restore(self, resource: Resource, to: Recipient | None = None) -> None:
        await self.finish_deletions_of(resource, to)
        with friendly_errors():
            await trash.restore_volume(self.volumes, self.hub_name, resource, to)

    async def address(self, identity: Identity) -> Address | None:
        with friendly_errors():
            found = await self.api.list_all(
                "pod", make_selector(identity.hub, identity.user, identity.server)
            )
        return next(
            (
                workspace.address
                for pod in found
                if owns(identity, pod) and (workspace := _read_workspace(pod))
            ),
            None,
        )

    async def find_pod(self, identity: Identity, name: str) -> dict[str, Any] | None:
        """Return the pod of a workspace, or None; raise ``NameTakenError`` where it belongs to
        somebody else.
        """
        pod = await self.api.read("pod", name)
        if pod is not None and not owns(identity, pod):
            raise inventory.make_name_taken_error("pod", name)
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
                raise BackendError(
                    Text(
                        "The pod %(name)s is still there %(seconds)s s after it was"
                        " deleted, so its node does not answer. Ask your administrator to look"
                        " at that node.",
                        name=name,
                        seconds=f"{grace_seconds + GONE_SECONDS:.0f}",
                    )
                )
            await asyncio.sleep(LOOK_SECONDS)
            pod = await self.api.read("pod", name)

    async def _remove_lone_service(
        self, identity: Identity, service: dict[str, Any] | None
    ) -> None:
        if service is not None and owns(identity, service) and _is_lone(service):
            metadata = service["metadata"]
            await self.api.delete("service", metadata["name"], metadata["uid"])

    async def replace_secret(self, manifest: Any) -> None:
        """Make a Secret in place of the one of that name."""
        await self.api.delete("secret", manifest.metadata.name)
        await self.api.create("secret", manifest)

    async def ensure_service(self, identity: Identity, manifest: Any) -> None:
        """Make sure of the Service of a pod; that of the pod before gives way. It goes with the
        pod.
        """
        name, owner = manifest.metadata.name, manifest.metadata.owner_references[0].uid
        while await self.api.create("service", manifest) is None:
            found = await self.api.read("service", name)
            if found is not None and not owns(identity, found):
                raise inventory.make_name_taken_error("Service", name)
            if found is not None and any(
                each["uid"] == owner for each in found["metadata"].get("ownerReferences") or []
            ):
                return
            if found is not None:
                await self.api.delete("service", name, found["metadata"]["uid"])
            await asyncio.sleep(LOOK_SECONDS)

    async def ensure_network(self, identity: Identity) -> str:
        """Make sure that the workspaces of one user reach each other."""
        policy = spec.make_network_policy(identity, self.extra_labels)
        made = await self.api.create(POLICY, policy) or await self.api.read(
            POLICY, identity.network_policy
        )
        if not owns_for_user(identity, made):
            raise inventory.make_name_taken_error(
                "network policy", identity.network_policy, "this user"
            )
        return identity.network_policy

    async def note(self, identity: Identity, claim: str, annotations: dict[str, str]) -> None:
        """Write down on the claim what has to be known of a workspace while it is stopped."""
        await self.api.patch(CLAIM, claim, {"metadata": {"annotations": annotations}})

    async def note_expiry(self, identity: Identity, pod: str, annotations: dict[str, str]) -> None:
        """Write a changed expiry on a workspace's pod and its claim, as far as they are there."""
        with friendly_errors():
            if await self.find_pod(identity, pod):
                await self.api.patch("pod", pod, {"metadata": {"annotations": annotations}})
            volumes = await self.volumes.list_volumes(identity.user, identity.server)
            for claim in volumes.live[-1:]:
                await self.note(identity, claim.name, annotations)

    async def leave_network(self, identity: Identity) -> None:
        """Remove the network of a user who has no workspace any more."""
        if not await self.list_workspaces(identity.user):
            await self._remove_network(identity)

    async def _remove_network(self, identity: Identity) -> None:
        if any(
            pods.is_alive(pod)
            for pod in await self.api.list_all("pod", make_selector(identity.hub, identity.user))
        ):
            return
        policy = await self.api.read(POLICY, identity.network_policy)
        if policy is not None and owns_for_user(identity, policy):
            await self.api.delete(POLICY, identity.network_policy)

    async def _delete(self, identity: Identity, reason: Reason) -> None:
        selector = make_selector(identity.hub, identity.user, identity.server)
        with friendly_errors():
            for pod in await self.api.list_all("pod", selector):
                if owns(identity, pod):
                    await self.remove_pod(identity, pod["metadata"]["name"])
            for service in await self.api.list_all("service", selector):
                await self._remove_lone_service(identity, service)
            await trash.move_to_trash(self.volumes, identity, reason)
            await self.leave_network(identity)


def _make_workspaces(found: list[dict[str, Any]], volumes: Sequence[Resource]) -> list[Workspace]:
    return inventory.list_workspaces(map(_read_workspace, found), volumes)


def _make_resources(
    found: list[dict[str, Any]],
    services: list[dict[str, Any]],
    policies: list[dict[str, Any]],
    volumes: Sequence[Resource],
) -> list[Resource]:
    names = {pod["metadata"]["name"] for pod in found}
    left = [each for each in services if _is_lone(each) and each["metadata"]["name"] not in names]
    return inventory.list_resources(
        [
            *(_read_resource(Kind.WORKSPACE, each) for each in (*found, *left)),
            *(_read_resource(Kind.NETWORK, policy) for policy in policies),
            *volumes,
        ]
    )


def _is_lone(service: dict[str, Any]) -> bool:
    """Return True if the cluster does not remove a Service with a pod."""
    return not service["metadata"].get("ownerReferences")


def _read_workspace(pod: dict[str, Any]) -> Workspace | None:
    labels = read_raw_labels(pod)
    identity = inventory.read_owner(Kind.WORKSPACE, labels)
    if identity is None:
        return None
    return Workspace(
        identity=identity,
        name=pod["metadata"]["name"],
        image=pods.read_container(pod)["image"],
        is_running=pods.is_alive(pod),
        created_at=seconds(pod),
        address=pods.read_address(pod),
        labels=labels,
    )


def _read_resource(kind: Kind, found: dict[str, Any]) -> Resource | None:
    labels = read_raw_labels(found)
    return inventory.make_resource(kind, found["metadata"]["name"], labels, seconds(found))
