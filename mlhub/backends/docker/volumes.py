"""The volumes of one hub on one engine, and how they are marked as being in the trash.

The rules are those of ``mlhub.backends.trash``.

Docker can neither rename nor relabel a volume. So the trash is written on the engine itself, where
it survives the loss of the hub and of its database: a *trash marker*, an empty volume whose labels
name the volume that is in the trash and since when. Emptying the trash removes the volume first and
the marker last, so a crash between the two leaves nothing visible, and what is left goes when a hub
starts (``tidy``).

In the same way a *gift marker* names a volume that is another workspace's than its labels say, and
whose: from when it is there, the volume is listed, mounted and put into the trash as theirs. One
call makes it, so a volume is never of two workspaces, nor of none.

Volumes of the original product carry the same labels without a generation, and are found as
generation 0.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import count
from typing import Any

from docker.errors import NotFound

from mlhub.backends.docker.container import Container
from mlhub.backends.docker.engine import Engine, seconds
from mlhub.backends.inventory import make_name_taken_error, make_resource, name_owner
from mlhub.backends.trash import (
    LABEL_GENERATION,
    LABEL_TRASHED_AT,
    LABEL_TRASHED_BECAUSE,
    Turns,
    Volumes,
    choose_volume,
    read_generation,
    read_reason,
    read_trashed_at,
)
from mlhub.errors import EngineUnreachableError, VolumeInUseError
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity
from mlhub.texts import Text
from mlhub.workspaces.holder import LABEL_PERSON, Holder
from mlhub.workspaces.port import Kind, Reason, Recipient, Resource

LABEL_TRASHED = "mlhub.trashed_volume"
_NONE: Mapping[str, Any] = {}
LABEL_GIFT, LABEL_GIVEN_AT = "mlhub.given_volume", "mlhub.given_at"


class DockerVolumes:
    """List, make, mark and remove the volumes of one hub."""

    def __init__(self, engine: Engine, hub_name: str, extra_labels: dict[str, str]) -> None:
        self.engine, self.hub_name, self.extra_labels = engine, hub_name, extra_labels
        self.turns = Turns()

    async def list_volumes(self, user: str | None = None, server: str | None = None) -> Volumes:
        """List the hub's volumes, or those of one user or workspace."""
        labels = [f"{LABEL_USER}={user}"] if user is not None else []
        labels += [f"{LABEL_SERVER}={server}"] if server is not None else []
        found, gifts = await asyncio.gather(self._list(*labels), self._list(LABEL_GIFT))
        given = read_gifts(gifts)
        wanted = {LABEL_USER: user, LABEL_SERVER: server}
        known = {each["Name"] for each in found}
        for name, owner in given.items():
            is_wanted = all(
                owner.get(key) == word for key, word in wanted.items() if word is not None
            )
            if user is not None and is_wanted and name not in known:
                found += await self._find(name)
        volumes = await asyncio.to_thread(sort_volumes, found, given, wanted)
        if user is None or server is None:
            return volumes
        identity, generation = Identity(self.hub_name, user, server), volumes.next_generation
        while identity.volume(generation) in given:
            generation += 1
        return Volumes(volumes.found, generation)

    async def _list(self, *labels: str) -> list[dict[str, Any]]:
        filters = {"label": [f"{LABEL_ORIGIN}={self.hub_name}", *labels]}
        answer = await self.engine.call("volumes", filters=filters)
        if not isinstance(answer, dict):
            raise EngineUnreachableError(
                f"The Docker engine was asked for its volumes, and answered {str(answer)[:100]!r}."
                " Look at what stands between the hub and the engine."
            )
        return list(answer.get("Volumes") or [])

    async def _find(self, name: str) -> list[dict[str, Any]]:
        try:
            return [await self.engine.call("inspect_volume", name)]
        except NotFound:
            return []

    async def ensure(
        self, identity: Identity, holder: Holder, extra_labels: Mapping[str, str]
    ) -> str:
        """Return the name of a workspace's volume, which is created where it has none."""
        async with self.turns.take(identity):
            own, generation = await choose_volume(self, identity, holder)
            if own is not None:
                return own.name
            name = identity.volume(generation)
            labels = {
                **extra_labels,
                **identity.labels,
                LABEL_GENERATION: str(generation),
                LABEL_PERSON: holder.label,
            }
            # Docker answers with the volume that has this name, be it new or somebody else's: the
            # labels tell.
            made = await self.engine.call("create_volume", name, labels=labels)
            if not identity.owns(made.get("Labels")):
                raise make_name_taken_error("volume", name)
            return name

    async def mark(self, volume: Resource, at: int, reason: Reason) -> None:
        """Make the marker of a volume."""
        identity, generation = name_owner(self.hub_name, volume), read_generation(volume.labels)
        labels = {
            LABEL_GENERATION: str(generation),
            LABEL_TRASHED: volume.name,
            LABEL_TRASHED_AT: str(at),
            LABEL_TRASHED_BECAUSE: str(reason),
        }
        await self._make_marker(identity, f"t{generation}", labels)

    async def unmark(self, volume: Resource) -> None:
        """Remove the marker of a volume."""
        for marker in await self._list(f"{LABEL_TRASHED}={volume.name}"):
            await self._remove(marker["Name"])

    async def give(self, volume: Resource, to: Recipient, generation: int) -> None:
        """Make the gift marker of a volume, then remove those that it replaces."""
        await self._free(volume)
        former = await self._list(f"{LABEL_GIFT}={volume.name}")
        labels = {
            LABEL_GENERATION: str(generation),
            LABEL_PERSON: to.person,
            LABEL_GIFT: volume.name,
            LABEL_GIVEN_AT: str(time.time_ns()),
        }
        await self._make_marker(to.identity, f"g{generation}", labels)
        await self.unmark(volume)
        for marker in former:
            await self._remove(marker["Name"])

    async def _make_marker(self, identity: Identity, kind: str, labels: dict[str, str]) -> None:
        labels = {**self.extra_labels, **identity.labels, **labels}
        for attempt in count():
            # The original product's volumes are all of generation 0, so a second marker may need
            # another name.
            name = identity.name(f"{kind}n{attempt}")
            made = await self.engine.call("create_volume", name, labels=labels)
            held = made.get("Labels") or {}
            if all(held.get(key) == labels.get(key) for key in (LABEL_TRASHED, LABEL_GIFT)):
                return

    async def destroy(self, volume: Resource) -> None:
        """Remove a volume, then its markers, the one that says whose it was last."""
        await self._free(volume)
        await self._remove(volume.name)
        await self.unmark(volume)
        for marker in await self._list(f"{LABEL_GIFT}={volume.name}"):
            await self._remove(marker["Name"])

    async def tidy(self) -> None:
        """Remove the markers of volumes that are gone, which a removal that was cut off has
        left.
        """
        found = await self._list()
        names = {each["Name"] for each in found}
        for each in found:
            labels = each.get("Labels") or {}
            marked = labels.get(LABEL_TRASHED) or labels.get(LABEL_GIFT)
            if marked and marked not in names and not await self._find(marked):
                await self._remove(each["Name"])

    async def _free(self, volume: Resource) -> None:
        """Make sure that nothing runs with a volume.

        Its workspace's container that does not run is removed: it would be made anew at the next
        start, for another volume.
        """
        identity = name_owner(self.hub_name, volume)
        mounting = await self.engine.call("containers", all=True, filters={"volume": volume.name})
        for entry in mounting:
            if entry.get("State") in ("running", "paused", "restarting"):
                raise VolumeInUseError(
                    Text(
                        "The volume %(name)s is used by %(container)s, which runs. Stop it first.",
                        name=repr(volume.name),
                        container=repr(entry["Names"][0].lstrip("/")),
                    )
                )
        for entry in mounting:
            if identity.owns(entry.get("Labels")):
                await Container(self.engine, identity, entry["Id"]).remove()

    async def _remove(self, name: str) -> None:
        try:
            await self.engine.call("remove_volume", name)
        except NotFound:
            return


def read_gifts(markers: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the labels of what was given to somebody, by the names of the volumes; of two markers
    the later one counts.
    """
    ordered = sorted(
        (each.get("Labels") or {} for each in markers),
        key=lambda labels: int(labels.get(LABEL_GIVEN_AT, "0")),
    )
    return {
        labels[LABEL_GIFT]: {
            key: text
            for key, text in labels.items()
            if key in (LABEL_ORIGIN, LABEL_USER, LABEL_SERVER, LABEL_GENERATION, LABEL_PERSON)
        }
        for labels in ordered
    }


def sort_volumes(
    found: list[dict[str, Any]],
    given: Mapping[str, Mapping[str, str]] = _NONE,
    wanted: Mapping[str, str | None] = _NONE,
) -> Volumes:
    """Tell volumes from the markers of those in the trash, and return those with the wanted labels
    (None is any).
    """
    markers = {
        (each["Labels"][LABEL_TRASHED], *_read_words(each["Labels"])): each["Labels"]
        for each in found
        if LABEL_TRASHED in (each.get("Labels") or {})
    }
    volumes = []
    for each in found:
        labels = each.get("Labels") or {}
        if LABEL_TRASHED in labels or LABEL_GIFT in labels:
            continue
        labels = {**labels, **given.get(each["Name"], {})}
        if all(labels.get(key) == word for key, word in wanted.items() if word is not None):
            marker = markers.get((each["Name"], *_read_words(labels)))
            volumes.append(_read_volume(each, labels, marker))
    return Volumes.of(volumes, markers.values())


def _read_words(labels: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return whose a thing is: a marker that an earlier owner left says nothing any more."""
    return labels.get(LABEL_USER), labels.get(LABEL_SERVER)


def _read_volume(
    volume: Mapping[str, Any], labels: dict[str, str], marker: Mapping[str, str] | None
) -> Resource | None:
    trashed_at = None if marker is None else read_trashed_at(marker) or 0.0
    reason = Reason.UNKNOWN if marker is None else read_reason(marker)
    return make_resource(
        Kind.VOLUME,
        volume["Name"],
        labels,
        seconds(volume.get("CreatedAt")),
        trashed_at,
        reason,
    )
