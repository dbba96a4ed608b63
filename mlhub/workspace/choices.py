"""One function per option: what a workspace gets of it, and which rule says so. Pure: no I/O.

Promise: nothing that was asked is made smaller in silence, it is granted or refused with a ``Refusal``. Only defaults are
cut, to what is allowed. No value is above its maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mlhub.workspace import values
from mlhub.workspace.catalogue import CatalogueImage, find_image, is_allowed_custom
from mlhub.workspace.environment import matches_any
from mlhub.workspace.options import WorkspaceOptions
from mlhub.workspace.policy import Host, Origin, Setting, Source

Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Reason:
    """Say why a value is what it is."""

    text: str
    source: Source | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.source})" if self.source else self.text


class Refusal(Exception):
    """Carry one field's sentence, and the rule behind it."""

    def __init__(self, field: str, sentence: str, source: Source | None = None) -> None:
        """Remember all three."""
        super().__init__(sentence)
        self.field, self.sentence, self.source = field, sentence, source


@dataclass(frozen=True)
class Request:
    """Hold all that a choice depends on."""

    options: WorkspaceOptions
    settings: Settings
    host: Host
    catalogue: tuple[CatalogueImage, ...]
    host_limits: Mapping[str, Setting | None]
    origin: Origin

    def without(self, name: str) -> Request:
        """Return the same request, one option not asked for."""
        fields = WorkspaceOptions.model_fields
        names = (name, "is_custom_image") if name == "image" else (name,)
        return replace(
            self, options=self.options.model_copy(update={each: fields[each].get_default(call_default_factory=True) for each in names})
        )


@dataclass(frozen=True)
class ChosenImage:
    """Hold the image of a workspace; ``entry`` is None for one outside the catalogue."""

    reference: str
    entry: CatalogueImage | None


def choose_image(request: Request) -> tuple[ChosenImage, Reason]:
    """Find the image: what was asked, else the default, else the first that is allowed."""
    allowed = list_allowed_images(request)
    asked = request.options.image
    if asked is None:
        wanted = request.settings.get("default_image")
        if wanted and (entry := find_image(allowed, wanted.value, is_custom=False)):
            return ChosenImage(entry.image, entry), Reason("default", wanted.source)
        if allowed:
            return ChosenImage(allowed[0].image, allowed[0]), Reason("the first image allowed", request.settings["images"].source)
        raise Refusal("image", "No image is offered to you. Ask an administrator.", request.settings["images"].source)
    if entry := find_image(allowed, asked, request.options.is_custom_image):
        return ChosenImage(entry.image, entry), Reason("as asked", request.settings["images"].source)
    custom = request.settings["custom_images"]
    # A name of an entry that is not for this person must not fall through to a public image of the same name.
    forbidden = find_image(request.catalogue, asked, request.options.is_custom_image)
    if forbidden is None and is_allowed_custom(asked, custom.value):
        return ChosenImage(asked, None), Reason("as asked", custom.source)
    source = request.settings["images"].source if forbidden else custom.source
    names = ", ".join(entry.name for entry in allowed[:20]) or "none"
    raise Refusal("image", f"The image {asked!r} is not offered to you. Images that are: {names}.", source)


def list_allowed_images(request: Request) -> list[CatalogueImage]:
    """List the images of the catalogue that this person may use."""
    return [entry for entry in request.catalogue if matches_any(entry.name, request.settings["images"].value)]


def choose_cores(request: Request) -> tuple[float | None, Reason]:
    """Find the CPU limit."""
    return _choose_amount(request, "cpu_limit", values.format_number)


def choose_memory(request: Request) -> tuple[int | None, Reason]:
    """Find the memory limit in bytes."""
    amount, reason = _choose_amount(request, "mem_limit", values.format_size)
    return (None if amount is None else int(amount)), reason


def choose_shared_memory(request: Request) -> tuple[int | None, Reason]:
    """Find the size of /dev/shm in bytes; what lies there counts as memory."""
    amount, reason = _choose_amount(request, "shm_size", values.format_size)
    return (None if amount is None else int(amount)), reason


def choose_days(request: Request) -> tuple[float | None, Reason]:
    """Find the days to live; None is for ever."""
    asked, default = request.options.days_to_live, request.settings["days_to_live.default"]
    endless = replace(default, value=default.value or math.inf)
    amount, reason = _grant(
        "days_to_live",
        None if asked is None else asked or math.inf,
        endless,
        find_maximum(request, "days_to_live"),
        lambda days: "for ever" if math.isinf(days) else f"{values.format_number(days)} days",
    )
    return (None if amount is None or math.isinf(amount) else amount), reason


def choose_volume(request: Request) -> tuple[bool, Reason]:
    """Find whether files are kept in a volume."""
    default = request.settings["is_mount_volume.default"]
    if request.options.is_mount_volume is None:
        return default.value, Reason("default", default.source)
    return request.options.is_mount_volume, Reason("as asked", request.settings["options"].source)


def choose_environment(request: Request) -> tuple[Mapping[str, str], Reason]:
    """Check the names of the variables that were asked for."""
    allow, deny = request.settings["env.allow"], request.settings["env.deny"]
    for name in request.options.env:
        if matches_any(name, deny.value):
            raise Refusal("env", f"env may not set {name} here. Remove it.", deny.source)
        if not matches_any(name, allow.value):
            shown = ", ".join(allow.value[:20]) or "none"
            raise Refusal("env", f"env may not set {name} here. Names that may be set: {shown}.", allow.source)
    return request.options.env, Reason("as asked", allow.source) if request.options.env else Reason("nothing asked")


def find_barrier(request: Request, name: str, image: ChosenImage | None) -> Setting | None:
    """Return what keeps an option from being set at all, or None."""
    if name not in request.settings["options"].value:
        return request.settings["options"]
    entry = image.entry if image else None
    if entry is not None and entry.options is not None and name not in entry.options and name != "image":
        place = request.origin.place(("images", request.catalogue.index(entry), "options"))
        return Setting(entry.options, Source(f"images.{entry.name}.options", place))
    return None


def find_maximum(request: Request, name: str) -> Setting | None:
    """Return the most that may be asked of an option, or None where nothing limits it."""
    barrier = request.host_limits.get(name)
    if name == "shm_size":
        barrier = _find_memory(request)
    limits = [limit for limit in (request.settings.get(f"{name}.max"), barrier) if limit is not None and not math.isinf(limit.value)]
    return min(limits, key=lambda setting: setting.value, default=None)


def _find_memory(request: Request) -> Setting | None:
    try:
        memory, _ = choose_memory(request)
    except Refusal:
        return None
    return Setting(memory, Source("the workspace's own memory")) if memory else None


def _choose_amount(request: Request, name: str, show: Callable[[float], str]) -> tuple[float | None, Reason]:
    return _grant(name, getattr(request.options, name), request.settings.get(f"{name}.default"), find_maximum(request, name), show)


def _grant(
    name: str, asked: float | None, default: Setting | None, limit: Setting | None, show: Callable[[float], str]
) -> tuple[float | None, Reason]:
    if asked is not None:
        if limit is not None and asked > limit.value:
            sentence = f"{name}={show(asked)} is more than you may have. Ask for at most {show(limit.value)}."
            raise Refusal(name, sentence, limit.source)
        return asked, Reason(f"as asked; at most {show(limit.value)}", limit.source) if limit else Reason("as asked; no maximum")
    if default is None:
        return (limit.value, Reason("the most there is", limit.source)) if limit else (None, Reason("no rule limits it"))
    if limit is not None and default.value > limit.value:
        return limit.value, Reason(f"default {show(default.value)} of {default.source}, cut to the maximum", limit.source)
    return default.value, Reason("default", default.source)
