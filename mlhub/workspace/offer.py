"""What one person may choose: the same rules as ``decide``, told before anything is asked. Pure: no I/O.

Promise: the form and the JSON schema show exactly what a start would accept, as far as it does not depend on what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlhub.workspace import values
from mlhub.workspace.catalogue import CatalogueImage
from mlhub.workspace.choices import Refusal, Request, find_barrier, find_maximum, list_allowed_images
from mlhub.workspace.decision import CHOICES, make_request
from mlhub.workspace.gpus import list_usable_gpus
from mlhub.workspace.options import OPTION_NAMES, WorkspaceOptions
from mlhub.workspace.policy import Host, Person, SitePolicy, SpawnerDefaults

_SHOW = {"cpu_limit": values.format_number, "mem_limit": values.format_size, "shm_size": values.format_size}


@dataclass(frozen=True)
class FieldOffer:
    """Hold what may be asked of one option, as text in the way it is typed."""

    name: str
    is_choosable: bool
    default: str
    maximum: str | None
    maximum_number: float | None
    rule: str


@dataclass(frozen=True)
class Offer:
    """Hold what one person may choose; ``gpus`` are those to choose from, None where nobody knows them."""

    images: tuple[CatalogueImage, ...]
    custom_images: bool | tuple[str, ...]
    fields: Mapping[str, FieldOffer]
    host: Host
    gpus: tuple[str, ...] | None = None

    @property
    def has_choice(self) -> bool:
        """Tell whether there is anything to choose."""
        return any(field.is_choosable for name, field in self.fields.items() if name != "image" or self.has_image_choice)

    @property
    def has_image_choice(self) -> bool:
        """Tell whether there is more than one image to choose from."""
        return len(self.images) > 1 or self.custom_images is not False


def make_offer(
    policy: SitePolicy,
    person: Person,
    *,
    host: Host = Host(),  # noqa: B008 - frozen
    defaults: SpawnerDefaults = SpawnerDefaults(),  # noqa: B008 - frozen
) -> Offer:
    """List what a person may choose, with defaults and maxima."""
    request = make_request(policy, person, WorkspaceOptions(), host, defaults)
    return Offer(
        images=tuple(list_allowed_images(request)),
        custom_images=request.settings["custom_images"].value,
        fields={name: _make_field(request, name) for name in OPTION_NAMES},
        host=host,
        gpus=list_usable_gpus(request),
    )


def make_options_schema(offer: Offer) -> dict[str, Any]:
    """Make the JSON schema of the options that this person may send."""
    whole = WorkspaceOptions.model_json_schema()["properties"]
    properties: dict[str, Any] = {}
    for name, field in offer.fields.items():
        if not field.is_choosable:
            continue
        shape: dict[str, Any] = {key: value for key, value in whole[name].items() if key not in ("title", "default")}
        shape["description"] = (
            whole[name]["description"] + f" Default: {field.default}." + (f" Maximum: {field.maximum}." if field.maximum else "")
        )
        if name == "image" and offer.custom_images is False:
            shape["anyOf"] = [
                {"enum": list(dict.fromkeys(each for entry in offer.images for each in (entry.name, entry.image)))},
                {"type": "null"},
            ]
        if field.maximum_number is not None:
            shape["anyOf"] = [
                {**kind, "maximum": field.maximum_number} if kind.get("type") == "number" else kind for kind in shape.get("anyOf", [])
            ]
        properties[name] = shape
    if "image" in properties and offer.custom_images is not False:
        properties["is_custom_image"] = {key: value for key, value in whole["is_custom_image"].items() if key != "title"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workspace options",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _make_field(request: Request, name: str) -> FieldOffer:
    barrier = find_barrier(request, name, None)
    default = _show_default(request, name)
    limit = request.settings.get("gpus.max") if name == "gpus" else find_maximum(request, name)
    show = _SHOW.get(name, values.format_number)
    source = barrier.source if barrier else limit.source if limit else request.settings["options"].source
    is_limited = limit is not None and name not in ("image", "env", "is_mount_volume")
    has_none = name == "gpus" and (request.host.gpus == () or (limit is not None and limit.value == 0))
    return FieldOffer(
        name=name,
        is_choosable=barrier is None and not has_none,
        default=default,
        maximum=show(limit.value) if is_limited and limit else None,
        # Sizes have no number of their own here: a bare one is GB, from 1048576 up bytes.
        maximum_number=limit.value if is_limited and limit and name in ("cpu_limit", "days_to_live") else None,
        rule=str(source),
    )


def _show_default(request: Request, name: str) -> str:
    try:
        value, _ = CHOICES[name](request)
    except Refusal:
        return ""
    if name == "image":
        return value.entry.name if value.entry else value.reference
    if name == "gpus":
        return values.format_gpus(value)
    if name == "is_mount_volume":
        return str(value).lower()
    if name == "env":
        return ""
    if value is None:
        return "0" if name == "days_to_live" else ""
    return _SHOW.get(name, values.format_number)(value)
