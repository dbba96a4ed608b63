"""What belongs to one hub on one Docker engine; the port of ``mlhub.backends.base`` for Docker.

Promise: the engine's labels are the only record. Nothing here depends on the hub's database, so
workspaces are found again after the hub's container and its database were created anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Any

from mlhub.backends.base import Address, Kind, Resource, Workspace
from mlhub.backends.deletion import BackgroundBackend
from mlhub.backends.docker import guard, own, volumes
from mlhub.backends.docker.container import ASIDE, LABEL_PORT, Container, pick_host
from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.hosts import HostFacts
from mlhub.backends.docker.networks import Networks
from mlhub.backends.docker.ssh import Bundle
from mlhub.backends.docker.updates import Updates
from mlhub.workspace.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity

log = logging.getLogger(__name__)


class DockerBackend(BackgroundBackend):
    """Look after everything of one hub on one engine."""

    def __init__(
        self,
        hub_name: str,
        engine: Engine | None = None,
        pool: str = "10.64.0.0/12",
        prefix: int = 27,
        extra_labels: dict[str, str] | None = None,
        host_guard: bool = False,
    ) -> None:
        super().__init__(hub_name)
        self.engine = engine or Engine()
        self.extra_labels = dict(extra_labels or {})
        self.host_guard = host_guard
        self.host, self.updates = HostFacts(self.engine), Updates(self.engine)
        self.networks = Networks(self.engine, hub_name, pool, prefix, self.extra_labels)
        self.ssh_bundle = Bundle(self.engine, hub_name, self.extra_labels)
        self._own: asyncio.Task[dict[str, Any] | None] | None = None
        self._settled: asyncio.Task[None] | None = None

    async def settle(self) -> None:
        """Make this process the hub of its engine; once, however often called, and again after a failure.

        Finds the hub's own container, installs the host guard, joins the networks of running workspaces and
        leaves empty ones. Raises ``ConfigurationError`` where a second hub of the same name is alive.
        """
        if self._settled is None or _has_failed(self._settled):
            self._settled = asyncio.create_task(self._settle())
        await asyncio.shield(self._settled)

    async def find_self(self) -> dict[str, Any] | None:
        """Find the container that this process runs in, once; None outside of this engine's containers."""
        if self._own is None or _has_failed(self._own):
            self._own = asyncio.create_task(self._find_self())
        return await asyncio.shield(self._own)

    async def _find_self(self) -> dict[str, Any] | None:
        container = await own.find_own_container(self.engine)
        self.networks.hub_id = container["Id"] if container else None
        return container

    async def _settle(self) -> None:
        container = await self.find_self()
        if container is None:
            await self.networks.settle()
            return
        if not await own.take_name(self.engine, container, self.hub_name):
            log.info("The hub's container keeps its name; workspaces reach it as %s all the same.", self.hub_name)
        guarding = guard.ensure_guard(self.engine, self.hub_name, container["Image"], container["Id"], self.extra_labels, self.host_guard)
        await asyncio.gather(self.networks.settle(), guarding)

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        with self.engine.sentences():
            return [workspace for entry in await self._list_containers(user) if (workspace := _read_workspace(entry))]

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        with self.engine.sentences():
            labels = _make_filter(self.hub_name, user)
            containers, networks, found = await asyncio.gather(
                self._list_containers(user),
                self.engine.call("networks", filters={"label": labels}),
                volumes.list_volumes(self.engine, self.hub_name, user),
            )
        resources = [_read_resource(Kind.WORKSPACE, entry["Names"][0].lstrip("/"), entry, float(entry["Created"])) for entry in containers]
        resources += [_read_resource(Kind.NETWORK, entry["Name"], entry, _seconds(entry.get("Created"))) for entry in networks]
        resources += [_read_resource(Kind.VOLUME, entry["Name"], entry, _seconds(entry.get("CreatedAt"))) for entry in found.live]
        resources += [
            _read_resource(Kind.VOLUME, entry["Name"], entry, _seconds(entry.get("CreatedAt")), at) for entry, at in found.trashed
        ]
        return [resource for resource in resources if resource]

    async def remove(self, resource: Resource) -> None:
        identity = Identity(self.hub_name, resource.user, resource.server or "")
        with self.engine.sentences():
            if resource.kind is Kind.WORKSPACE:
                for name in (resource.name.removesuffix(ASIDE), resource.name.removesuffix(ASIDE) + ASIDE):
                    await Container(self.engine, identity, name).remove()
            elif resource.kind is Kind.NETWORK:
                await self.find_self()
                await self.networks.remove(identity)
            elif resource.trashed_at is not None:
                await volumes.remove_for_good(self.engine, identity, resource.name)
            else:
                found = await volumes.list_volumes(self.engine, self.hub_name, resource.user, resource.server)
                for volume in found.live:
                    if volume["Name"] == resource.name:
                        await volumes.bury(self.engine, identity, volume, self.extra_labels, time.time())

    async def restore(self, resource: Resource) -> None:
        with self.engine.sentences():
            await volumes.take_out_of_trash(self.engine, Identity(self.hub_name, resource.user, resource.server or ""), resource.name)

    async def address(self, identity: Identity) -> Address | None:
        with self.engine.sentences():
            labels = [f"{key}={value}" for key, value in identity.labels.items()]
            for entry in await self.engine.call("containers", filters={"label": labels}):
                workspace = _read_workspace(entry)
                if workspace and workspace.identity == identity and workspace.address:
                    return workspace.address
        return None

    def release_network(self, identity: Identity) -> None:
        """Take the hub out of a network that nothing runs in any more, a little later and in the background."""

        async def release() -> None:
            with self.engine.sentences():
                await self.networks.release(identity)

        self.keep(asyncio.create_task(release()))

    async def _delete(self, identity: Identity) -> None:
        with self.engine.sentences():
            labels = [f"{key}={value}" for key, value in identity.labels.items()]
            for entry in await self.engine.call("containers", all=True, filters={"label": labels}):
                await Container(self.engine, identity, entry["Id"]).remove()
            await volumes.move_to_trash(self.engine, identity, self.extra_labels, time.time())
            if not await self._list_containers(identity.user):
                await self.find_self()
                await self.networks.remove(identity)

    async def _list_containers(self, user: str | None) -> list[dict[str, Any]]:
        # Containers without a server name are no workspaces (the guard's short-lived ones).
        return hide_aside(
            await self.engine.call("containers", all=True, filters={"label": [*_make_filter(self.hub_name, user), LABEL_SERVER]})
        )


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def hide_aside(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out containers that stand aside for another one that is there: both are one workspace."""
    names = {entry["Names"][0] for entry in entries}
    return [entry for entry in entries if not (entry["Names"][0].endswith(ASIDE) and entry["Names"][0].removesuffix(ASIDE) in names)]


def _make_filter(hub: str, user: str | None) -> list[str]:
    return [f"{LABEL_ORIGIN}={hub}"] + ([f"{LABEL_USER}={user}"] if user is not None else [])


def _read_workspace(entry: dict[str, Any]) -> Workspace | None:
    labels = entry.get("Labels") or {}
    identity = Identity.from_labels(labels)
    if identity is None:
        return None
    is_running = entry.get("State") in {"running", "paused", "restarting"}
    port = labels.get(LABEL_PORT, "")
    host = pick_host((entry.get("NetworkSettings") or {}).get("Networks") or {}, identity.network) if is_running else None
    return Workspace(
        identity=identity,
        name=entry["Names"][0].lstrip("/"),
        image=entry.get("Image", ""),
        is_running=is_running,
        created_at=float(entry["Created"]),
        # Workspaces of the original product carry no port label; they all answer on 8080.
        address=Address(host, int(port) if port.isdecimal() else 8080) if host else None,
        labels=labels,
    )


def _read_resource(kind: Kind, name: str, entry: dict[str, Any], created_at: float, trashed_at: float | None = None) -> Resource | None:
    labels = entry.get("Labels") or {}
    identity = Identity.from_labels(labels)
    if identity is None:
        return None
    return Resource(kind, name, identity.user, labels.get(LABEL_SERVER), created_at, trashed_at, labels)


def _seconds(timestamp: str | None) -> float:
    """Seconds since the epoch of the engine's timestamps, which carry nanoseconds or no fraction."""
    try:
        return datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return 0.0
