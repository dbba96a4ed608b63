"""The volumes of a backend whose records lie in memory; the rules are those of
``mlhub.backends.trash``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Protocol

from mlhub.backends import inventory, trash
from mlhub.backends.trash import LABEL_GENERATION, LABEL_GIVEN, Turns, Volumes
from mlhub.errors import VolumeInUseError
from mlhub.identity import Identity
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.workspaces.holder import LABEL_PERSON, Holder
from mlhub.workspaces.port import Address, Kind, Reason, Recipient, Resource


class Running(Protocol):
    """What runs for one workspace."""

    address: Address  # where it answers HTTP

    def is_alive(self) -> bool:
        """Return True until it has ended."""

    async def stop(self) -> None:
        """End it. Raises ``BackendError`` where it does not end."""


@dataclass
class Record:
    """One workspace, and what runs for it."""

    image: str
    created_at: float
    labels: dict[str, str]
    volume: str
    running: Running | None = None

    def find_running(self) -> Running | None:
        """Return what runs, unless it has ended by itself."""
        return self.running if self.running is not None and self.running.is_alive() else None


class MemoryVolumes:
    """List, make, mark and remove the volumes of one hub."""

    hub_name: str
    records: dict[Identity, Record]
    volumes: dict[str, Resource]
    turns: Turns

    async def list_volumes(self, user: str | None = None, server: str | None = None) -> Volumes:
        """List the volumes of all, or those of one user or workspace."""
        return Volumes.of(
            each
            for each in self.volumes.values()
            if user in (None, each.user) and server in (None, each.server)
        )

    async def ensure_volume(
        self, identity: Identity, labels: dict[str, str], holder: Holder
    ) -> str:
        """Return the name of a workspace's volume, which is made where it has none."""
        async with self.turns.take(identity):
            own, generation = await trash.choose_volume(self, identity, holder)
            return own.name if own is not None else self._make(identity, labels, generation)

    async def mark(self, volume: Resource, at: int, reason: Reason) -> None:
        """Put a volume into the trash."""
        self.volumes[volume.name] = replace(volume, trashed_at=float(at), trashed_because=reason)

    async def unmark(self, volume: Resource) -> None:
        """Take a volume out of the trash."""
        self.volumes[volume.name] = replace(volume, trashed_at=None, trashed_because=Reason.UNKNOWN)

    async def give(self, volume: Resource, to: Recipient, generation: int) -> None:
        """Make a volume in the trash somebody else's."""
        self._free(volume)
        labels = {key: text for key, text in volume.labels.items() if key != LABEL_EXPIRES}
        theirs = {
            **to.identity.labels,
            LABEL_PERSON: to.person,
            LABEL_GENERATION: str(generation),
            LABEL_GIVEN: "true",
        }
        given = inventory.make_resource(
            Kind.VOLUME, volume.name, {**labels, **theirs}, volume.created_at
        )
        assert given is not None
        self.volumes[volume.name] = given

    async def destroy(self, volume: Resource) -> None:
        """Remove a volume."""
        self._free(volume)
        self.volumes.pop(volume.name, None)

    def _make(self, identity: Identity, labels: dict[str, str], generation: int) -> str:
        name = identity.volume(generation)
        while (found := self.volumes.get(name)) and LABEL_GIVEN in found.labels:
            generation += 1
            name = identity.volume(generation)
        if found is not None:
            raise inventory.make_name_taken_error("volume", name)
        labels = {**labels, LABEL_GENERATION: str(generation)}
        made = inventory.make_resource(Kind.VOLUME, name, labels, time.time())
        assert made is not None
        self.volumes[name] = made
        return name

    def _free(self, volume: Resource) -> None:
        """Make sure that nothing runs with a volume, and that nothing is kept that would."""
        owner = inventory.name_owner(self.hub_name, volume)
        record = self.records.get(owner)
        if record is None or record.volume != volume.name:
            return
        if record.find_running():
            raise VolumeInUseError(
                f"The volume {volume.name!r} is used by a workspace that runs. Stop it first."
            )
        del self.records[owner]
