"""The claims of one hub in one namespace, and how they are marked as being in the trash, which is a
label; the rules are those of ``mlhub.backends.trash``. Labels change, so what is given to somebody
else is labeled anew, in one call; its name stays, and a label says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlhub.backends.inventory import make_name_taken_error, make_resource, name_owner
from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.client import Api
from mlhub.backends.kubernetes.names import make_selector, owns, read_raw_labels, seconds
from mlhub.backends.kubernetes.spec import complete_claim
from mlhub.backends.trash import (
    LABEL_GENERATION,
    LABEL_GIVEN,
    LABEL_TRASHED_AT,
    LABEL_TRASHED_BECAUSE,
    Turns,
    Volumes,
    choose_volume,
    read_reason,
    read_trashed_at,
)
from mlhub.errors import VolumeInUseError
from mlhub.identity import Identity
from mlhub.policy.disk import Taken
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.quantities import parse_quantity
from mlhub.workspaces.holder import LABEL_PERSON, Holder
from mlhub.workspaces.port import Kind, Reason, Recipient, Resource

CLAIM = "persistent_volume_claim"


@dataclass(frozen=True)
class Claim:
    """A claim by its name, "" for none; ``new_uid`` is that of one that was made just now."""

    name: str
    new_uid: str | None = None


NO_CLAIM = Claim("")
_UNMARKED: Mapping[str, str | None] = {LABEL_TRASHED_AT: None, LABEL_TRASHED_BECAUSE: None}


class Claims:
    """List, make, mark and remove the claims of one hub."""

    def __init__(self, api: Api, hub_name: str) -> None:
        self.api, self.hub_name, self.turns = api, hub_name, Turns()

    async def list_volumes(self, user: str | None = None, server: str | None = None) -> Volumes:
        """List the hub's claims, or those of one user or workspace."""
        found = await self.api.list_all(CLAIM, make_selector(self.hub_name, user, server))
        # A claim stays for a moment after it was deleted, until nothing mounts it any more: its
        # name is taken, but it is nobody's.
        lasting = [claim for claim in found if "deletionTimestamp" not in claim["metadata"]]
        taken = [claim["metadata"].get("labels") or {} for claim in found]
        # In a thread: there may be many, and the hub answers meanwhile.
        return await asyncio.to_thread(lambda: Volumes.of(map(_read_volume, lasting), taken))

    async def list_taken(self) -> list[Taken]:
        """List what the hub's claims ask for."""
        found = await self.api.list_all(CLAIM, make_selector(self.hub_name))
        return await asyncio.to_thread(lambda: list(map(_read_taken, _list_owned(found))))

    async def ensure(self, identity: Identity, manifest: Any, holder: Holder) -> Claim:
        """Return a workspace's claim; where it has none, one is made of KubeSpawner's manifest."""
        async with self.turns.take(identity):
            own, generation = await choose_volume(self, identity, holder)
            if own is not None:
                return Claim(own.name)
            while True:
                name = complete_claim(manifest, identity, generation).metadata.name
                made = await self.api.create(CLAIM, manifest)
                found = made or await self.api.read(CLAIM, name)
                if owns(identity, found):
                    return Claim(name, str(made["metadata"]["uid"]) if made else None)
                if LABEL_GIVEN not in ((found or {}).get("metadata") or {}).get("labels", {}):
                    raise make_name_taken_error("volume claim", name)
                generation += 1

    async def mark(self, volume: Resource, at: int, reason: Reason) -> None:
        """Label a claim."""
        labels = {LABEL_TRASHED_AT: str(at), LABEL_TRASHED_BECAUSE: str(reason)}
        await self._patch(volume.name, {"labels": labels})

    async def unmark(self, volume: Resource) -> None:
        """Take the labels away."""
        await self._patch(volume.name, {"labels": _UNMARKED})

    async def give(self, volume: Resource, to: Recipient, generation: int) -> None:
        """Label a claim anew."""
        await self._check_unused(volume)
        labels: dict[str, str | None] = {
            **_UNMARKED,
            **to.identity.safe_labels,
            LABEL_PERSON: to.person,
            LABEL_GENERATION: str(generation),
            LABEL_GIVEN: "true",
        }
        annotations: dict[str, str | None] = {**to.identity.labels, LABEL_EXPIRES: None}
        await self._patch(volume.name, {"labels": labels, "annotations": annotations})

    async def destroy(self, volume: Resource) -> None:
        """Delete a claim that is still in the trash."""
        await self._check_unused(volume)
        identity = name_owner(self.hub_name, volume)
        claim = await self.api.read(CLAIM, volume.name)
        if claim is not None and owns(identity, claim) and _read_mark(claim) == volume.trashed_at:
            await self.api.delete(CLAIM, volume.name, claim["metadata"]["uid"])

    async def _check_unused(self, volume: Resource) -> None:
        identity = name_owner(self.hub_name, volume)
        found = await self.api.list_all(
            "pod", make_selector(self.hub_name, identity.user, identity.server)
        )
        for pod in found:
            if pods.is_alive(pod) and volume.name in pods.list_claims(pod):
                raise VolumeInUseError(
                    f"The volume {volume.name!r} is used by {pod['metadata']['name']!r}, which"
                    " runs. Stop it first."
                )

    async def _patch(self, name: str, metadata: Mapping[str, Mapping[str, str | None]]) -> None:
        await self.api.patch(CLAIM, name, {"metadata": metadata})


def lead_claim(pod: Any, name: str, claim: str) -> None:
    """Have the site's volumes of the claim that it names so be of the workspace's own one."""
    for volume in pod.spec.volumes or []:
        source: Any = getattr(volume, "persistent_volume_claim", None)
        if isinstance(source, dict) and source.get("claimName") == name:
            source["claimName"] = claim
        elif getattr(source, "claim_name", None) == name:
            source.claim_name = claim


def _read_volume(claim: dict[str, Any]) -> Resource | None:
    name, labels, trashed_at = claim["metadata"]["name"], read_raw_labels(claim), _read_mark(claim)
    reason = Reason.UNKNOWN if trashed_at is None else read_reason(labels)
    return make_resource(Kind.VOLUME, name, labels, seconds(claim), trashed_at, reason)


def _list_owned(claims: list[dict[str, Any]]) -> list[tuple[Resource, dict[str, Any]]]:
    read = ((_read_volume(claim), claim) for claim in claims)
    return [(volume, claim) for volume, claim in read if volume is not None]


def _read_taken(owned: tuple[Resource, dict[str, Any]]) -> Taken:
    volume, claim = owned
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    size = int(parse_quantity(requests.get("storage")) or 0)
    person = volume.labels.get(LABEL_PERSON, "")
    return Taken(volume.user, volume.server or "", person, size, volume.trashed_at is not None)


def _read_mark(claim: dict[str, Any]) -> float | None:
    return read_trashed_at(claim["metadata"].get("labels") or {})
