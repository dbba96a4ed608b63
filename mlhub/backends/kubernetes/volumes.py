"""Which claim holds a workspace's data, and the trash.

Promise: deleting a workspace never deletes data, and a workspace that is made again under a name used before never sees
the old data. Claims are numbered by generation. The live one is that of the highest generation without the label that
says since when it is in the trash; where there is none, a new one gets a number above all that exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlhub.backends.kubernetes.api import Api
from mlhub.backends.kubernetes.names import LABEL_GENERATION, LABEL_TRASHED_AT, make_selector, owns
from mlhub.errors import NameTakenError
from mlhub.workspace.identity import Identity

CLAIM = "persistent_volume_claim"


async def ensure_claim(api: Api, identity: Identity, manifest: Any) -> tuple[str, str | None]:
    """Return the name of a workspace's claim; where it has none, one is made of KubeSpawner's manifest, whose uid is returned as well."""
    found = await list_claims(api, identity)
    if live := find_live(found):
        return str(live["metadata"]["name"]), None
    generation = max(map(_generation, found), default=0) + 1
    manifest.metadata.name = identity.volume(generation)
    manifest.metadata.labels = {**manifest.metadata.labels, LABEL_GENERATION: str(generation)}
    made = await api.create(CLAIM, manifest)
    if not owns(identity, made or await api.read(CLAIM, manifest.metadata.name)):
        raise NameTakenError(
            f"A volume claim named {manifest.metadata.name!r} exists already and does not belong to this workspace. Ask your administrator to remove or rename it."
        )
    return str(manifest.metadata.name), str(made["metadata"]["uid"]) if made else None


async def list_claims(api: Api, identity: Identity) -> list[dict[str, Any]]:
    """List a workspace's claims, those in the trash too."""
    found = await api.list_all(CLAIM, make_selector(identity.hub, identity.user, identity.server))
    return [claim for claim in found if owns(identity, claim)]


def find_live(claims: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Find the claim that a workspace uses."""
    live = [claim for claim in claims if trashed_at(claim) is None and "deletionTimestamp" not in claim["metadata"]]
    return max(live, key=_generation, default=None)


def trashed_at(claim: dict[str, Any]) -> float | None:
    """Return since when a claim is in the trash, in seconds since the epoch, or None."""
    value = (claim["metadata"].get("labels") or {}).get(LABEL_TRASHED_AT, "")
    return float(value) if value.isdecimal() else None


async def bury(api: Api, claim: dict[str, Any], now: float) -> None:
    """Put one claim into the trash."""
    await _label(api, claim["metadata"]["name"], str(int(now)))


async def move_to_trash(api: Api, identity: Identity, now: float) -> None:
    """Put all claims of a workspace into the trash."""
    for claim in await list_claims(api, identity):
        if trashed_at(claim) is None:
            await bury(api, claim, now)


async def take_out_of_trash(api: Api, identity: Identity, name: str) -> None:
    """Take one claim out of the trash; raise ``NameTakenError`` where the workspace has another one by now."""
    live = find_live(await list_claims(api, identity))
    if live and live["metadata"]["name"] != name:
        raise NameTakenError(
            f"The workspace has the volume {live['metadata']['name']!r} by now, so {name!r} can not come back under it. Delete the workspace first."
        )
    await _label(api, name, None)


async def _label(api: Api, name: str, value: str | None) -> None:
    await api.patch(CLAIM, name, {"metadata": {"labels": {LABEL_TRASHED_AT: value}}})


def _generation(claim: dict[str, Any]) -> int:
    value = (claim["metadata"].get("labels") or {}).get(LABEL_GENERATION, "0")
    return int(value) if value.isdecimal() else 0
