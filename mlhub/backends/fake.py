"""A place in memory where workspaces run, for tests of everything above the backends.

Promise: it keeps the contract of ``mlhub.backends.base`` (tests/contract), and each workspace is a real
HTTP server on a loopback address of its own port, so a real hub and proxy can reach it. Nothing leaves
the process, and all is gone with it.

Images with a meaning: ``fake/missing`` can not be pulled, ``fake/dies`` ends before it answers,
``fake/full`` meets a full disk, ``fake/slow`` takes a second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner
from traitlets import Unicode

from mlhub.backends.base import Address, Backend, Kind, Resource, Workspace
from mlhub.errors import CapacityError, ImageError, NameTakenError, WorkspaceDiedError
from mlhub.workspace.identity import LABEL_SERVER, Identity
from mlhub.workspace.spawner import WorkspaceSpawnerMixin


@dataclass
class _Entry:
    workspace: Workspace
    environment: dict[str, str]
    server: asyncio.Server | None = None


@dataclass
class FakeBackend(Backend):
    """Keep the workspaces, volumes and networks of one hub in memory."""

    hub_name: str = "mlhub"
    entries: dict[Identity, _Entry] = field(default_factory=dict)
    volumes: dict[str, Resource] = field(default_factory=dict)
    networks: dict[str, Resource] = field(default_factory=dict)
    backends: ClassVar[dict[str, FakeBackend]] = {}

    @classmethod
    def of(cls, hub_name: str) -> FakeBackend:
        """Return the backend that all spawners of a hub share."""
        return cls.backends.setdefault(hub_name, cls(hub_name))

    async def start(self, identity: Identity, image: str, labels: dict[str, str], environment: dict[str, str]) -> Address:
        """Start a workspace, or leave it alone where it runs."""
        if image == "fake/missing":
            raise ImageError(f"The image {image!r} can not be pulled. Check its name and the registry's access.")
        if image == "fake/full":
            raise CapacityError("The Docker host has no disk space left. Ask your administrator to free some.")
        if image == "fake/dies":
            raise WorkspaceDiedError("The workspace ended before it answered. Its last lines were:\nfake: cannot start")
        entry = self.entries.get(identity)
        if entry and entry.workspace.address:
            return entry.workspace.address
        self._ensure_volume(identity, labels)
        self.networks.setdefault(
            identity.network, Resource(Kind.NETWORK, identity.network, identity.user, None, time.time(), labels=identity.user_labels)
        )
        server = await asyncio.start_server(_make_handler(environment), "127.0.0.1", 0)
        address = Address(*server.sockets[0].getsockname()[:2])
        created_at = entry.workspace.created_at if entry else time.time()
        workspace = Workspace(identity, identity.container, image, True, created_at, address, labels)
        self.entries[identity] = _Entry(workspace, environment, server)
        return address

    async def stop(self, identity: Identity) -> None:
        """Stop a workspace and keep it."""
        entry = self.entries.get(identity)
        if entry and entry.server:
            entry.server.close()
            entry.server = None
            entry.workspace = replace(entry.workspace, is_running=False, address=None)

    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        return [entry.workspace for identity, entry in self.entries.items() if user in (None, identity.user)]

    async def list_resources(self, user: str | None = None) -> list[Resource]:
        containers = [
            Resource(
                Kind.WORKSPACE,
                entry.workspace.name,
                identity.user,
                identity.server,
                entry.workspace.created_at,
                labels=entry.workspace.labels,
            )
            for identity, entry in self.entries.items()
        ]
        resources = [*containers, *self.networks.values(), *self.volumes.values()]
        return [resource for resource in resources if user in (None, resource.user)]

    async def remove(self, resource: Resource) -> None:
        identity = Identity(self.hub_name, resource.user, resource.server or "")
        if resource.kind is Kind.WORKSPACE:
            await self.stop(identity)
            self.entries.pop(identity, None)
        elif resource.kind is Kind.NETWORK:
            if not any(entry.server for other, entry in self.entries.items() if other.user == resource.user):
                self.networks.pop(resource.name, None)
        elif resource.trashed_at is not None:
            self.volumes.pop(resource.name, None)
        elif resource.name in self.volumes:
            self.volumes[resource.name] = replace(self.volumes[resource.name], trashed_at=time.time())

    async def restore(self, resource: Resource) -> None:
        identity = Identity(self.hub_name, resource.user, resource.server or "")
        if live := self._find_live(identity):
            raise NameTakenError(
                f"The workspace has the volume {live.name!r} by now, so {resource.name!r} can not come back under it. Delete the workspace first."
            )
        self.volumes[resource.name] = replace(self.volumes[resource.name], trashed_at=None)

    async def address(self, identity: Identity) -> Address | None:
        entry = self.entries.get(identity)
        return entry.workspace.address if entry else None

    async def delete_workspace(self, identity: Identity) -> None:
        await self.stop(identity)
        self.entries.pop(identity, None)
        if live := self._find_live(identity):
            self.volumes[live.name] = replace(live, trashed_at=time.time())
        if not any(other.user == identity.user for other in self.entries):
            self.networks.pop(identity.network, None)

    def _find_live(self, identity: Identity) -> Resource | None:
        mine = [volume for volume in self.volumes.values() if identity.owns(volume.labels)]
        return next((volume for volume in mine if volume.trashed_at is None), None)

    def _ensure_volume(self, identity: Identity, labels: dict[str, str]) -> None:
        if not self._find_live(identity):
            name = next(name for generation in itertools.count(1) if (name := identity.volume(generation)) not in self.volumes)
            self.volumes[name] = Resource(Kind.VOLUME, name, identity.user, labels[LABEL_SERVER], time.time(), labels=labels)


class FakeSpawner(WorkspaceSpawnerMixin, Spawner):
    """Start workspaces in memory."""

    image = Unicode("fake/workspace:1", config=True, help="Image of workspaces.")

    @property
    def backend(self) -> FakeBackend:
        """The backend that all spawners of this hub share."""
        return FakeBackend.of(self.hub_name)

    async def start_workspace(self) -> str:
        """Start a workspace and return its URL."""
        environment = {**self.get_env(), "FAKE_IMAGE": self.image}
        self.start_progress.report(60, "Creating the workspace")
        address = await self.backend.start(self.identity, self.image, self.make_labels(), environment)
        self.start_progress.report(80, "Waiting for the workspace to answer")
        if self.image == "fake/slow":
            await asyncio.sleep(1)
        return f"http://{address.host}:{address.port}"

    async def stop_workspace(self, now: bool) -> None:
        """Stop the workspace and keep its data."""
        await self.backend.stop(self.identity)

    async def poll(self) -> int | None:
        """Return None while the workspace runs."""
        return None if await self.backend.address(self.identity) else 0

    async def delete_forever(self) -> None:
        """Remove the workspace; its data goes to the trash."""
        await self.backend.delete_workspace(self.identity)


def _make_handler(environment: dict[str, Any]) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = []
        if len(request) > 1:
            shown = {name: value for name, value in environment.items() if "TOKEN" not in name}
            body = json.dumps({"version": "fake", "path": request[1].decode(), "environment": shown}).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        writer.close()

    return answer
