"""Which volume holds a workspace's data, and what the trash does: the same wherever workspaces run.

Invariants: deleting a workspace never deletes data, and a workspace that is made again under a name
used before never sees the old data. Volumes are numbered by generation: the one in use is that of
the highest generation outside the trash, and a new one gets a number above all that exist, those in
the trash included. Only what was in the trash when somebody looked goes for good, and only while it
has been there since then. What is given to somebody else is theirs alone from one moment to the
next, and its name, which is made of the former owner's, is nobody else's as long as it exists.

How a volume is marked is each place's own (``VolumeStore``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from mlhub.backends.inventory import name_owner
from mlhub.errors import NameTakenError, VolumeGoneError
from mlhub.identity import Identity
from mlhub.workspaces.holder import KEPT_ASIDE, LABEL_PERSON, Holder
from mlhub.workspaces.port import Reason, Recipient, Resource

LABEL_GENERATION = "mlhub.generation"
LABEL_TRASHED_AT = "mlhub.trashed_at"
LABEL_TRASHED_BECAUSE = "mlhub.trashed_because"
LABEL_GIVEN = "mlhub.given"  # on what is not the workspace's any more that its name was made of
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Volumes:
    """Some volumes, those in the trash too; ``next_generation`` is a number above all of them."""

    found: tuple[Resource, ...]
    next_generation: int

    @classmethod
    def of(
        cls, found: Iterable[Resource | None], others: Iterable[Mapping[str, str]] = ()
    ) -> Volumes:
        """Make it of what was listed; ``others`` are labels of what takes up numbers as well."""
        volumes = tuple(each for each in found if each is not None)
        numbers = map(read_generation, [*(each.labels for each in volumes), *others])
        return cls(volumes, max(numbers, default=0) + 1)

    @property
    def live(self) -> list[Resource]:
        """What is not in the trash, the one of the highest generation last."""
        live = (each for each in self.found if each.trashed_at is None)
        return sorted(live, key=lambda each: (read_generation(each.labels), each.created_at))


class Turns:
    """Let one after the other decide about the volumes of a workspace."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Identity, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, *identities: Identity) -> AsyncIterator[None]:
        """Wait until nobody else decides about these workspaces, and have them to oneself."""
        async with AsyncExitStack() as stack:
            # In one order, or two who want the same two would wait for each other.
            for identity in sorted(set(identities), key=lambda each: (each.user, each.server)):
                lock = self._locks.get(identity)
                if lock is None:
                    lock = self._locks[identity] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield


class VolumeStore(Protocol):
    """What a place does with volumes; their objects are those of the port."""

    turns: Turns

    async def list_volumes(self, user: str | None = None, server: str | None = None) -> Volumes:
        """List the hub's volumes, or those of one user or workspace."""

    async def mark(self, volume: Resource, at: int, reason: Reason) -> None:
        """Write on a volume since when, in seconds since the epoch, and why it is in the trash."""

    async def unmark(self, volume: Resource) -> None:
        """Take that back."""

    async def give(self, volume: Resource, to: Recipient, generation: int) -> None:
        """Make a volume in the trash somebody else's, outside of it, at one stroke. Raises
        ``VolumeInUseError`` where a workspace runs with it.
        """

    async def destroy(self, volume: Resource) -> None:
        """Remove a volume with its data. Raises ``VolumeInUseError`` where a workspace runs with
        it.
        """


def read_generation(labels: Mapping[str, str]) -> int:
    """Read a volume's number; those of the original product have none, and count as 0."""
    value = labels.get(LABEL_GENERATION, "")
    return int(value) if value.isdecimal() else 0


def read_trashed_at(labels: Mapping[str, str]) -> float | None:
    """Read a mark: since when something is in the trash, 0 where that cannot be read, or None
    without a mark.
    """
    value = labels.get(LABEL_TRASHED_AT)
    return None if value is None else float(value) if value.isdecimal() else 0.0


def read_reason(labels: Mapping[str, str]) -> Reason:
    """Read why something is in the trash."""
    try:
        return Reason(labels.get(LABEL_TRASHED_BECAUSE, ""))
    except ValueError:  # of a newer version
        return Reason.UNKNOWN


async def choose_volume(
    store: VolumeStore, identity: Identity, holder: Holder
) -> tuple[Resource | None, int]:
    """Return the volume that a workspace goes on with, or None, and the number that a new one gets.

    What was made for somebody else who had the user's name moves to the trash. Whoever asks has
    the workspace's turn, until a new volume is made.
    """
    volumes = await _list(store, identity)
    own = None
    for volume in volumes.live:
        if holder.may_use(volume.labels, volume.created_at):
            own = volume
        else:
            log.warning(KEPT_ASIDE, volume.name, identity.user)
            await store.mark(volume, int(time.time()), Reason.NAME_TAKEN)
    return own, volumes.next_generation


async def move_to_trash(store: VolumeStore, identity: Identity, reason: Reason) -> None:
    """Put all volumes of a workspace into the trash."""
    async with store.turns.take(identity):
        for volume in (await _list(store, identity)).live:
            await store.mark(volume, int(time.time()), reason)


async def remove_volume(store: VolumeStore, hub: str, asked: Resource, reason: Reason) -> None:
    """Put a volume into the trash, or remove for good what is there already.

    ``asked`` is the volume as it was listed. One that was put into the trash, or taken out of it,
    since then is left alone; so is what is gone.
    """
    owner = name_owner(hub, asked)
    async with store.turns.take(owner):
        held = _find(await _list(store, owner), asked.name)
        if held is None or held.trashed_at != asked.trashed_at:
            return
        if held.trashed_at is None:
            await store.mark(held, int(time.time()), reason)
        else:
            await store.destroy(held)


async def restore_volume(
    store: VolumeStore, hub: str, asked: Resource, to: Recipient | None = None
) -> None:
    """Take a volume out of the trash, as the workspace's or the person's that ``to`` names; one
    that is not in it stays as it is.

    Raises ``VolumeGoneError`` where it is gone, ``NameTakenError`` where the workspace has another
    one by now.
    """
    owner = name_owner(hub, asked)
    target = owner if to is None else to.identity
    async with store.turns.take(owner, target):
        held = _find(await _list(store, owner), asked.name)
        is_given = to is not None and not _is_theirs(to, owner, asked)
        if held is None or (is_given and held.trashed_at is None):
            raise VolumeGoneError(
                f"The trash has no volume {asked.name!r} any more: it was restored, or removed for"
                " good, and then nothing brings it back. Look at what the trash holds now."
            )
        if held.trashed_at is None:
            return
        others = await _list(store, target)
        if others.live:
            raise NameTakenError(
                f"The workspace has the volume {others.live[-1].name!r} by now, so {asked.name!r}"
                " cannot come back under it. Restore it as a server of another name, or delete the"
                " workspace first."
            )
        if to is not None and is_given:
            await store.give(held, to, others.next_generation)
        else:
            await store.unmark(held)


def _is_theirs(to: Recipient, owner: Identity, asked: Resource) -> bool:
    return to.identity == owner and asked.labels.get(LABEL_PERSON) == to.person


async def _list(store: VolumeStore, identity: Identity) -> Volumes:
    volumes = await store.list_volumes(identity.user, identity.server)
    own = tuple(each for each in volumes.found if identity.owns(each.labels))
    return Volumes(own, volumes.next_generation)


def _find(volumes: Volumes, name: str) -> Resource | None:
    return next((each for each in volumes.found if each.name == name), None)
