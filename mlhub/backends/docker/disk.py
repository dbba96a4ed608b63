"""What a hub's volumes and containers take of an engine's disk, as that tells it. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlhub.backends.docker.volumes import LABEL_GIFT, read_gifts, sort_volumes
from mlhub.identity import LABEL_ORIGIN, Identity
from mlhub.policy.disk import Taken
from mlhub.workspaces.holder import LABEL_PERSON


def read_taken(answer: Mapping[str, Any], hub_name: str) -> list[Taken]:
    """Read whose volumes, in the trash or not, and whose containers' own layers take how much."""
    volumes = [each for each in _list(answer, "Volume") if _is_ours(each, hub_name)]
    sizes = {each["Name"]: _read_size(each.get("UsageData") or {}, "Size") for each in volumes}
    gifts = [each for each in volumes if LABEL_GIFT in each["Labels"]]
    taken = [
        Taken(
            volume.user,
            volume.server or "",
            volume.labels.get(LABEL_PERSON, ""),
            sizes[volume.name],
            volume.trashed_at is not None,
        )
        for volume in sort_volumes(volumes, read_gifts(gifts)).found
    ]
    for container in _list(answer, "Container"):
        identity = Identity.from_labels(container.get("Labels"))
        if identity is not None and _is_ours(container, hub_name):
            person = container["Labels"].get(LABEL_PERSON, "")
            size = _read_size(container, "SizeRw")
            taken.append(Taken(identity.user, identity.server, person, size))
    return taken


def _list(answer: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    # Engines from API 1.52 on have it below another key.
    found = answer.get(f"{kind}s") or (answer.get(f"{kind}Usage") or {}).get("Items")
    return list(found or ())


def _is_ours(thing: Mapping[str, Any], hub_name: str) -> bool:
    return (thing.get("Labels") or {}).get(LABEL_ORIGIN) == hub_name


def _read_size(thing: Mapping[str, Any], key: str) -> int:
    return max(0, int(thing.get(key) or 0))  # -1 where the engine does not know
