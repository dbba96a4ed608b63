"""What belongs to one hub on one Docker engine; the port of ``mlhub.workspaces.port`` for Docker.

Invariants: the engine's labels are the only record of what there is. Nothing here depends on the
hub's database, so workspaces are found again after the hub's container and its database were
created anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from mlhub.backends import inventory, trash
from mlhub.backends.background import BackgroundBackend, Once
from mlhub.backends.docker import guard, preflight
from mlhub.backends.docker import hub_container as own
from mlhub.backends.docker.container import LABEL_PORT, PREVIOUS, Container, pick_host
from mlhub.backends.docker.disk import read_taken
from mlhub.backends.docker.engine import Engine, seconds
from mlhub.backends.docker.hosts import HostFacts, is_local
from mlhub.backends.docker.networks import Networks
from mlhub.backends.docker.original import Original, find_originals
from mlhub.backends.docker.ssh_bundle import Bundle
from mlhub.backends.docker.states import States
from mlhub.backends.docker.updates import Updates
from mlhub.backends.docker.volumes import DockerVolumes
from mlhub.egress import ALL
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity
from mlhub.policy.disk import Taken
from mlhub.workspaces.port import Address, Kind, Reason, Recipient, Resource, Workspace

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
        egress: Sequence[str] = (ALL,),
    ) -> None:
        super().__init__(hub_name)
        self.engine = engine or Engine()
        self.extra_labels = dict(extra_labels or {})
        self.host_guard, self.egress = host_guard, tuple(egress)
        self.host, self.updates = HostFacts(self.engine), Updates(self.engine)
        self.states = States(self.engine, hub_name)
        self.networks = Networks(self.engine, hub_name, pool, prefix, self.extra_labels)
        self.volumes = DockerVolumes(self.engine, hub_name, self.extra_labels)
        self.variants: tuple[str, ...] = ()  # workspaces on the host that come with the default one
        self.originals: dict[Identity, Original] = {}  # that run, as they were seen last
        self.ssh_bundle = Bundle(self.engine, hub_name, self.extra_labels, self.find_self)
        self._own, self._ready = Once(self._find_self), Once(self._make_ready)

    async def prepare(self) -> None:
        """Make this process the hub of its engine; once, however often called, and again after a
        failure.

        Finds the hub's own container, installs the host guard, joins the networks of running
        workspaces and leaves empty ones; markers that a removal has left go meanwhile. Raises
        ``ConfigurationError`` where a second hub of the same name is alive, or where workspaces
        cannot be held to what the site has asked for.
        """
        await self._ready.get()

    async def find_self(self) -> dict[str, Any] | None:
        """Find the container that this process runs in, once; None outside of this engine's
        containers.
        """
        return await self._own.get()

    async def _find_self(self) -> dict[str, Any] | None:
        container = await own.find_own_container(self.engine)
        self.networks.hub_id = container["Id"] if container else None
        return container

    async def _make_ready(self) -> None:
        self.keep(asyncio.create_task(self._tidy()))
        container = await self.find_self()
        if container is None:
            reason = (
                f"the hub is no container of the engine at {self.engine.address}, and can lay no "
                "rules on its host"
            )
            guard.report_unguarded(self.egress, reason, "Run the hub as a container of that engine")
            await self.networks.prepare()
            return
        if not await own.take_name(self.engine, container, self.hub_name):
            log.info(
                "The hub's container keeps its name; workspaces reach it as %s all the same.",
                self.hub_name,
            )
        place = (self.engine, self.hub_name, container["Image"], container["Id"])
        guarding = guard.ensure_guard(*place, self.extra_labels, self.host_guard, self.egress)
        await asyncio.gather(self.networks.prepare(), guarding)

    async def _tidy(self) -> None:
        with self.engine.friendly_errors():
            await self.volumes.tidy()

    async def read_free_disk(self) -> int | None:
        """Return how many bytes are free where the engine keeps its data; None is not known."""
        info = await self.host.read()
        own = await self.find_self()
        is_here = is_local(info, self.engine.address)
        return await asyncio.to_thread(preflight.read_free_disk, info, is_here, own is not None)

    async def measure_disk(self) -> list[Taken]:
        with self.engine.friendly_errors():
            answer = await self.engine.call("measure_disk")
        return await asyncio.to_thread(read_taken, answer, self.hub_name)

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        with self.engine.friendly_errors():
            containers, volumes = await asyncio.gather(
                self._list_containers(user), self.volumes.list_volumes(user)
            )
        # In a thread, here and below: there may be many, and the hub answers meanwhile.
        return await asyncio.to_thread(_make_workspaces, containers, volumes.found)

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        with self.engine.friendly_errors():
            labels = _make_filter(self.hub_name, user)
            containers, networks, volumes = await asyncio.gather(
                self._list_containers(user),
                self.engine.call("networks", filters={"label": labels}),
                self.volumes.list_volumes(user),
            )
        return await asyncio.to_thread(_make_resources, containers, networks, volumes.found)

    async def remove(self, resource: Resource, reason: Reason = Reason.DELETED) -> None:
        identity = inventory.name_owner(self.hub_name, resource)
        with self.engine.friendly_errors():
            if resource.kind is Kind.WORKSPACE:
                main = resource.name.removesuffix(PREVIOUS)
                for name in (main, main + PREVIOUS):
                    await Container(self.engine, identity, name).remove()
            elif resource.kind is Kind.NETWORK:
                await self.find_self()
                await self.networks.remove(identity)
            else:
                await trash.remove_volume(self.volumes, self.hub_name, resource, reason)

    async def restore(self, resource: Resource, to: Recipient | None = None) -> None:
        await self.finish_deletions_of(resource, to)
        with self.engine.friendly_errors():
            await trash.restore_volume(self.volumes, self.hub_name, resource, to)

    async def address(self, identity: Identity) -> Address | None:
        with self.engine.friendly_errors():
            labels = [f"{key}={value}" for key, value in identity.labels.items()]
            for entry in await self.engine.call("containers", filters={"label": labels}):
                workspace = _read_workspace(entry)
                if workspace and workspace.identity == identity and workspace.address:
                    return workspace.address
        return None

    def release_network(self, identity: Identity) -> None:
        """Take the hub out of a network that nothing runs in any more, a little later and in the
        background.
        """

        async def release() -> None:
            with self.engine.friendly_errors():
                await self.networks.release(identity)

        self.keep(asyncio.create_task(release()))

    async def _delete(self, identity: Identity, reason: Reason) -> None:
        with self.engine.friendly_errors():
            labels = [f"{key}={value}" for key, value in identity.labels.items()]
            for entry in await self.engine.call("containers", all=True, filters={"label": labels}):
                await Container(self.engine, identity, entry["Id"]).remove()
            await trash.move_to_trash(self.volumes, identity, reason)
            if not await self.list_workspaces(identity.user):
                await self.find_self()
                await self.networks.remove(identity)

    async def _list_containers(self, user: str | None) -> list[dict[str, Any]]:
        # Containers without a server name are no workspaces (the guard's short-lived ones).
        found = await self.engine.call(
            "containers",
            all=True,
            filters={"label": [*_make_filter(self.hub_name, user), LABEL_SERVER]},
        )
        if user is None:
            self.originals = find_originals(found)
        return hide_previous(found)


def hide_previous(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out previous containers beside which another one is there.

    Both are one workspace.
    """
    names = {entry["Names"][0] for entry in entries}
    return [
        entry
        for entry in entries
        if not (
            entry["Names"][0].endswith(PREVIOUS)
            and entry["Names"][0].removesuffix(PREVIOUS) in names
        )
    ]


def _make_filter(hub: str, user: str | None) -> list[str]:
    return [f"{LABEL_ORIGIN}={hub}"] + ([f"{LABEL_USER}={user}"] if user is not None else [])


def _read_name(entry: dict[str, Any]) -> str:
    return str(entry["Names"][0].lstrip("/"))


def _make_workspaces(
    containers: list[dict[str, Any]], volumes: Sequence[Resource]
) -> list[Workspace]:
    return inventory.list_workspaces(map(_read_workspace, containers), volumes)


def _make_resources(
    containers: list[dict[str, Any]], networks: list[dict[str, Any]], volumes: Sequence[Resource]
) -> list[Resource]:
    return inventory.list_resources(
        [
            *(
                inventory.make_resource(
                    Kind.WORKSPACE, _read_name(each), each["Labels"], float(each["Created"])
                )
                for each in containers
            ),
            *(
                inventory.make_resource(
                    Kind.NETWORK, each["Name"], each["Labels"], seconds(each.get("Created"))
                )
                for each in networks
            ),
            *volumes,
        ]
    )


def _read_workspace(entry: dict[str, Any]) -> Workspace | None:
    labels = entry.get("Labels") or {}
    identity = inventory.read_owner(Kind.WORKSPACE, labels)
    if identity is None:
        return None
    is_running = entry.get("State") in {"running", "paused", "restarting"}
    port = labels.get(LABEL_PORT, "")
    host = (
        pick_host((entry.get("NetworkSettings") or {}).get("Networks") or {}, identity.network)
        if is_running
        else None
    )
    return Workspace(
        identity=identity,
        name=_read_name(entry),
        image=entry.get("Image", ""),
        is_running=is_running,
        created_at=float(entry["Created"]),
        # Workspaces of the original product carry no port label; they all answer on 8080.
        address=Address(host, int(port) if port.isdecimal() else 8080) if host else None,
        labels=labels,
    )
