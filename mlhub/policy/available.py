"""What one person may choose: the same rules as ``decide``, told before anything is asked. Pure: no
I/O.

Invariants: the form and the JSON schema show exactly what a start would accept, as far as it does
not depend on what runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlhub.options.gpus import list_usable_gpus
from mlhub.options.image import list_allowed_images
from mlhub.options.model import WorkspaceOptions
from mlhub.options.option import Entry, Host, Option, Refusal, Request, Setting
from mlhub.policy import disk
from mlhub.policy.circumstances import Circumstances, find_barrier
from mlhub.policy.quota import TOTALS, describe_totals
from mlhub.policy.usage import Bar, list_bars
from mlhub.texts import join


@dataclass(frozen=True)
class AvailableOption:
    """Hold what may be asked of one option, as text in the way it is typed."""

    name: str
    is_choosable: bool
    default: str
    maximum: str | None
    maximum_number: float | None
    rule: str


@dataclass(frozen=True)
class AvailableOptions:
    """Hold what one person may choose; ``gpus`` are those to choose from, None where nobody knows
    them. ``totals`` is a sentence about all workspaces of theirs, ``bars`` what these take of it.
    """

    images: tuple[Entry, ...]
    custom_images: bool | tuple[str, ...]
    fields: Mapping[str, AvailableOption]
    host: Host
    gpus: tuple[str, ...] | None = None
    totals: str = ""
    bars: tuple[Bar, ...] = ()

    @property
    def has_choice(self) -> bool:
        """Return True if there is anything to choose."""
        return any(
            field.is_choosable
            for name, field in self.fields.items()
            if name != "image" or self.has_image_choice
        )

    @property
    def has_image_choice(self) -> bool:
        """Return True if there is more than one image to choose from."""
        return len(self.images) > 1 or self.custom_images is not False


def find_available_options(circumstances: Circumstances) -> AvailableOptions:
    """List what a person may choose, with defaults and maxima."""
    request = circumstances.make_request(WorkspaceOptions())
    own, totals = circumstances.person.name, _list_totals(request)
    held = [each for each in circumstances.reserved if each.user == own]
    return AvailableOptions(
        images=tuple(list_allowed_images(request)),
        custom_images=request.settings["custom_images"].value,
        fields={option.name: _make_field(request, option) for option in circumstances.options},
        host=circumstances.host,
        gpus=list_usable_gpus(request),
        totals=_describe_totals(circumstances, totals),
        bars=list_bars(totals, held, circumstances.disk),
    )


def find_totals(circumstances: Circumstances) -> dict[str, Setting]:
    """Return what all workspaces of a person may have together: kind of total → limit."""
    return _list_totals(circumstances.make_request(WorkspaceOptions()))


def _list_totals(request: Request) -> dict[str, Setting]:
    return {
        name: found
        for name in (*TOTALS, disk.TOTAL)
        if (found := request.find_setting("total", name))
    }


def _describe_totals(circumstances: Circumstances, totals: Mapping[str, Setting]) -> str:
    limits = {name: total.value for name, total in totals.items()}
    words, use = describe_totals(limits), circumstances.disk
    is_limited = not math.isinf(limits.get(disk.TOTAL, math.inf))
    return join(words, use.describe()) if is_limited and use is not None else words


def make_options_schema(available: AvailableOptions) -> dict[str, Any]:
    """Make the JSON schema of the options that this person may send."""
    whole = WorkspaceOptions.model_json_schema()["properties"]
    properties = {
        name: _make_shape(whole[name], available, field)
        for name, field in available.fields.items()
        if field.is_choosable
    }
    if "image" in properties and available.custom_images is not False:
        properties["is_custom_image"] = {
            key: value for key, value in whole["is_custom_image"].items() if key != "title"
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workspace options",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _make_shape(
    whole: Mapping[str, Any], available: AvailableOptions, field: AvailableOption
) -> dict[str, Any]:
    """Make the schema of one option from that of the whole model."""
    shape = {key: value for key, value in whole.items() if key not in ("title", "default")}
    shape["description"] += f" Default: {field.default}."
    if field.maximum:
        shape["description"] += f" Maximum: {field.maximum}."
    if field.name == "image" and available.custom_images is False:
        names = [name for entry in available.images for name in (entry.name, entry.image)]
        shape["anyOf"] = [{"enum": list(dict.fromkeys(names))}, {"type": "null"}]
    if field.maximum_number is not None:
        shape["anyOf"] = [
            {**kind, "maximum": field.maximum_number} if kind.get("type") == "number" else kind
            for kind in shape.get("anyOf", [])
        ]
    return shape


def _make_field(request: Request, option: Option) -> AvailableOption:
    barrier, limit = find_barrier(request, option.name, None), option.find_maximum(request)
    source = (
        barrier.source if barrier else limit.source if limit else request.settings["options"].source
    )
    return AvailableOption(
        name=option.name,
        is_choosable=barrier is None and not option.has_nothing_to_choose(request),
        default=_show_default(request, option),
        maximum=option.show_maximum(limit.value) if limit else None,
        # Sizes have no number of their own here: a bare one is GB, from 1048576 up bytes.
        maximum_number=option.find_number(limit) if limit else None,
        rule=str(source),
    )


def _show_default(request: Request, option: Option) -> str:
    try:
        value, _ = option.choose(request)
    except Refusal:
        return ""
    return option.show_default(value)
