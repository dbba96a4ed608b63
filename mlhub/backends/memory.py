"""A backend whose records lie in the hub's memory: what a place needs that keeps none itself.

``MemoryBackend`` keeps the contract of ``mlhub.workspaces.port`` (tests/contract) over a ``launch``
that a subclass has: it says how one workspace is run. The fake backend is made from it, and so may
a site's own begin (docs/howto/own-backend.md).

Invariants: nothing outlives the process, so whatever must survive a restart of the hub is recorded
by a backend of another kind.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import ClassVar, Self

from jupyterhub.spawner import Spawner
from traitlets import Unicode

from mlhub.backends import inventory, trash
from mlhub.backends.background import BackgroundBackend
from mlhub.backends.memory_volumes import MemoryVolumes, Record, Running
from mlhub.backends.trash import Turns
from mlhub.errors import EngineUnreachableError, ImageError
from mlhub.identity import Identity
from mlhub.texts import Text
from mlhub.workspaces.holder import Holder
from mlhub.workspaces.port import Address, Kind, Reason, Recipient, Resource, Workspace
from mlhub.workspaces.spawner import WorkspaceSpawnerMixin


class MemoryBackend(MemoryVolumes, BackgroundBackend):
    """Keep the workspaces, volumes and networks of one hub in memory."""

    backends: ClassVar[dict[tuple[type, str], MemoryBackend]] = {}

    def __init__(self, hub_name: str = "mlhub") -> None:
        super().__init__(hub_name)
        self.records: dict[Identity, Record] = {}
        self.volumes: dict[str, Resource] = {}
        self.networks: dict[str, Resource] = {}
        self.turns = Turns()
        self.is_away = False

    @classmethod
    def of(cls, hub_name: str) -> Self:
        """Return the backend that all spawners of a hub share."""
        found = cls.backends.setdefault((cls, hub_name), cls(hub_name))
        assert isinstance(found, cls)
        return found

    @abstractmethod
    async def launch(
        self, identity: Identity, image: str, environment: dict[str, str], volume: str
    ) -> Running:
        """Run a workspace with its volume, and return once it answers or is about to. Raises
        ``WorkspaceError`` with a sentence where it cannot run.
        """

    async def check(self, call: str) -> None:
        """Raise ``BackendError`` where the place does not answer; ``call`` is what is wanted."""
        if self.is_away:
            raise EngineUnreachableError("The place where workspaces run does not answer.")

    async def start(
        self,
        identity: Identity,
        image: str,
        labels: dict[str, str],
        environment: dict[str, str],
        holder: Holder,
    ) -> Address:
        """Start a workspace, or leave it alone where it runs; what somebody else of that name has
        left goes first.
        """
        await self.check("start")
        await self.finish_deletion(identity)
        record = self.records.get(identity)
        if record and not holder.may_use(record.labels, record.created_at):
            await self.stop(identity)
            del self.records[identity]
            record = None
        if record and (running := record.find_running()):
            return running.address
        known = set(self.volumes)
        volume = await self.ensure_volume(identity, labels, holder)
        self._ensure_network(identity)
        try:
            running = await self.launch(identity, image, environment, volume)
        except ImageError:
            if volume not in known:  # its workspace never ran
                del self.volumes[volume]
            raise
        created_at = record.created_at if record else time.time()
        self.records[identity] = Record(image, created_at, labels, volume, running)
        return running.address

    async def stop(self, identity: Identity) -> None:
        """Stop a workspace and keep it."""
        await self.check("stop")
        if record := self.records.get(identity):
            if running := record.find_running():
                await running.stop()
            record.running = None

    def find_running(self, identity: Identity) -> Running | None:
        """Return what runs for a workspace."""
        record = self.records.get(identity)
        return record.find_running() if record else None

    # the port

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        await self.check("list_workspaces")
        volumes = (await self.list_volumes(user)).found
        records = [each for each in self.records.items() if user in (None, each[0].user)]
        # In a thread, here and below: there may be many, and the hub answers meanwhile.
        return await asyncio.to_thread(
            lambda: inventory.list_workspaces(
                (self._make_workspace(identity, record) for identity, record in records), volumes
            )
        )

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        await self.check("list_resources")
        records = [each for each in self.records.items() if user in (None, each[0].user)]
        others = [*self.networks.values(), *self.volumes.values()]

        def make() -> list[Resource]:
            workspaces = (
                inventory.make_resource(
                    Kind.WORKSPACE, identity.container, record.labels, record.created_at
                )
                for identity, record in records
            )
            own = (each for each in others if user in (None, each.user))
            return inventory.list_resources([*workspaces, *own])

        return await asyncio.to_thread(make)

    async def remove(self, resource: Resource, reason: Reason = Reason.DELETED) -> None:
        await self.check("remove")
        identity = inventory.name_owner(self.hub_name, resource)
        if resource.kind is Kind.WORKSPACE:
            await self.stop(identity)
            self.records.pop(identity, None)
        elif resource.kind is Kind.NETWORK:
            if not any(
                record.find_running()
                for other, record in self.records.items()
                if other.user == resource.user
            ):
                self.networks.pop(resource.name, None)
        else:
            await trash.remove_volume(self, self.hub_name, resource, reason)

    async def restore(self, resource: Resource, to: Recipient | None = None) -> None:
        await self.check("restore")
        await self.finish_deletions_of(resource, to)
        await trash.restore_volume(self, self.hub_name, resource, to)

    async def address(self, identity: Identity) -> Address | None:
        await self.check("address")
        running = self.find_running(identity)
        return running.address if running else None

    async def _delete(self, identity: Identity, reason: Reason) -> None:
        await self.check("delete_workspace")
        await self.stop(identity)
        self.records.pop(identity, None)
        await trash.move_to_trash(self, identity, reason)
        if not await self.list_workspaces(identity.user):
            self.networks.pop(identity.network, None)

    # records

    def _make_workspace(self, identity: Identity, record: Record) -> Workspace:
        running = record.find_running()
        return Workspace(
            identity,
            identity.container,
            record.image,
            running is not None,
            record.created_at,
            running.address if running else None,
            record.labels,
        )

    def _ensure_network(self, identity: Identity) -> None:
        self.networks.setdefault(
            identity.network,
            Resource(
                Kind.NETWORK,
                identity.network,
                identity.user,
                None,
                time.time(),
                labels=identity.user_labels,
            ),
        )


class MemorySpawner(WorkspaceSpawnerMixin, Spawner):
    """Start workspaces of a ``MemoryBackend``; a subclass names it in ``backend_class``."""

    image = Unicode("", config=True, help="Image of workspaces, as the backend understands it.")
    backend_class: type[MemoryBackend]

    @property
    def backend(self) -> MemoryBackend:
        """The backend that all spawners of this hub share."""
        return self.backend_class.of(self.hub_name)

    async def start_workspace(self) -> str:
        """Start a workspace and return its URL."""
        self.start_progress.report(60, Text("Creating the workspace"))
        address = await self.backend.start(
            self.identity, self.image, self.make_labels(), self.get_env(), self.holder
        )
        self.start_progress.report(80, Text("Waiting for the workspace to answer"))
        return f"http://{address.host}:{address.port}"

    async def stop_workspace(self, now: bool) -> None:
        """Stop the workspace and keep its data."""
        await self.backend.stop(self.identity)

    async def poll(self) -> int | None:
        """Return None while the workspace runs."""
        return None if self.backend.find_running(self.identity) else 0

    async def note_expiry(self) -> None:
        """Write a changed expiry on the workspace."""
        if record := self.backend.records.get(self.identity):
            record.labels = self.make_labels()
