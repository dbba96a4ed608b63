"""Which volume holds a workspace's data, and the trash.

Promise: deleting a workspace never deletes data, and a workspace that is made again under a name
used before never sees the old data.

Docker can neither rename nor relabel a volume. So the trash is written on the engine itself, where it
survives the loss of the hub and of its database: a *tombstone*, an empty volume whose labels name the
volume that is in the trash and since when. Volumes are numbered by generation. The live volume of a
workspace is the one of the highest generation that carries its labels and has no tombstone; where there
is none, a new one gets a number above all that exist, those in the trash included. Emptying the trash
removes the volume first and the tombstone last, so a crash between the two leaves nothing visible.

Volumes of the original product carry the same labels without a generation, and are found as generation 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from docker.errors import NotFound

from mlhub.backends.docker.engine import Engine
from mlhub.errors import NameTakenError
from mlhub.workspace.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity

LABEL_GENERATION = "mlhub.generation"
LABEL_TRASHED = "mlhub.trashed_volume"
LABEL_TRASHED_AT = "mlhub.trashed_at"


@dataclass(frozen=True)
class Volumes:
    """The volumes of some workspaces, sorted into live ones and those in the trash."""

    live: tuple[dict[str, Any], ...]
    trashed: tuple[tuple[dict[str, Any], float], ...]
    tombstones: tuple[dict[str, Any], ...]

    @classmethod
    def sort(cls, found: Iterable[dict[str, Any]]) -> Volumes:
        """Sort what the engine listed."""
        found = list(found)
        stones = {volume["Labels"][LABEL_TRASHED]: volume for volume in found if LABEL_TRASHED in (volume.get("Labels") or {})}
        volumes = [volume for volume in found if LABEL_TRASHED not in (volume.get("Labels") or {})]
        return cls(
            live=tuple(sorted((volume for volume in volumes if volume["Name"] not in stones), key=_generation)),
            trashed=tuple((volume, _trashed_at(stones[volume["Name"]])) for volume in volumes if volume["Name"] in stones),
            tombstones=tuple(stones.values()),
        )

    @property
    def next_generation(self) -> int:
        """Number above all that exist."""
        everything = [*self.live, *(volume for volume, _ in self.trashed), *self.tombstones]
        return max(map(_generation, everything), default=0) + 1


async def list_volumes(engine: Engine, hub: str, user: str | None = None, server: str | None = None) -> Volumes:
    """List a hub's volumes, or those of one user or workspace, in one call."""
    labels = [f"{LABEL_ORIGIN}={hub}"]
    labels += [f"{LABEL_USER}={user}"] if user is not None else []
    labels += [f"{LABEL_SERVER}={server}"] if server is not None else []
    answer = await engine.call("volumes", filters={"label": labels})
    return Volumes.sort(answer.get("Volumes") or [])


async def ensure_volume(engine: Engine, identity: Identity, extra_labels: dict[str, str]) -> str:
    """Return the name of a workspace's volume, which is created where it has none."""
    volumes = await list_volumes(engine, identity.hub, identity.user, identity.server)
    live = [volume for volume in volumes.live if identity.owns(volume.get("Labels"))]
    if live:
        return str(live[-1]["Name"])
    generation = volumes.next_generation
    name = identity.volume(generation)
    # Docker answers with the volume that has this name, be it new or somebody else's: the labels tell.
    volume = await engine.call("create_volume", name, labels={**extra_labels, **identity.labels, LABEL_GENERATION: str(generation)})
    if not identity.owns(volume.get("Labels")):
        raise NameTakenError(
            f"A volume named {name!r} exists already and does not belong to this workspace. Ask your administrator to remove or rename it."
        )
    return name


async def move_to_trash(engine: Engine, identity: Identity, extra_labels: dict[str, str], now: float) -> None:
    """Put all volumes of a workspace into the trash."""
    volumes = await list_volumes(engine, identity.hub, identity.user, identity.server)
    for volume in volumes.live:
        if identity.owns(volume.get("Labels")):
            await bury(engine, identity, volume, extra_labels, now)


async def bury(engine: Engine, identity: Identity, volume: dict[str, Any], extra_labels: dict[str, str], now: float) -> None:
    """Write the tombstone of one volume."""
    generation = _generation(volume)
    labels = {LABEL_GENERATION: str(generation), LABEL_TRASHED: volume["Name"], LABEL_TRASHED_AT: str(int(now))}
    for attempt in count():
        # The original product's volumes are all of generation 0, so a second tombstone may need another name.
        kind = f"t{generation}n{attempt}"
        stone = await engine.call("create_volume", identity.name(kind), labels={**extra_labels, **identity.labels, **labels})
        if (stone.get("Labels") or {}).get(LABEL_TRASHED) == volume["Name"]:
            return


async def remove_for_good(engine: Engine, identity: Identity, name: str) -> None:
    """Remove a volume that is in the trash, then its tombstone."""
    volumes = await list_volumes(engine, identity.hub, identity.user, identity.server)
    await _remove(engine, name)
    await _remove_tombstone(engine, volumes, name)


async def take_out_of_trash(engine: Engine, identity: Identity, name: str) -> None:
    """Remove the tombstone of a volume; refuse where its workspace has another volume by now."""
    volumes = await list_volumes(engine, identity.hub, identity.user, identity.server)
    if volumes.live:
        raise NameTakenError(
            f"The workspace has the volume {volumes.live[-1]['Name']!r} by now, so {name!r} can not come back under it. Delete the workspace first."
        )
    await _remove_tombstone(engine, volumes, name)


async def _remove_tombstone(engine: Engine, volumes: Volumes, name: str) -> None:
    for stone in volumes.tombstones:
        if stone["Labels"][LABEL_TRASHED] == name:
            await _remove(engine, stone["Name"])


async def _remove(engine: Engine, name: str) -> None:
    try:
        await engine.call("remove_volume", name)
    except NotFound:
        return


def _generation(volume: dict[str, Any]) -> int:
    value = (volume.get("Labels") or {}).get(LABEL_GENERATION, "0")
    return int(value) if value.isdecimal() else 0


def _trashed_at(tombstone: dict[str, Any]) -> float:
    value = tombstone["Labels"].get(LABEL_TRASHED_AT, "0")
    return float(value) if value.isdecimal() else 0.0
