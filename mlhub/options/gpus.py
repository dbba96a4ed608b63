"""Which GPUs a workspace gets. Pure: no I/O; what the host has is told by the caller.

Invariants: the same GPU is one GPU, whether named by its index or by its UUID, as far as the host's
GPUs are known; what is not known to exist on a known host is refused. One GPU may be shared by
several workspaces; totals limit that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub import quantities
from mlhub.options.amount import COUNT_SCHEMA, or_unlimited
from mlhub.options.option import Host, Option, Reason, Refusal, Request, Setting, StrictModel
from mlhub.options.texts import parse_list
from mlhub.quantities import ALL_GPUS, format_gpus, format_number
from mlhub.texts import Text, join

MAX_CHECKBOXES = 16
_NAMES = [{"type": "string"}, {"type": "integer", "minimum": 0}]
Gpus = Annotated[
    tuple[str, ...],
    BeforeValidator(quantities.parse_gpus),
    WithJsonSchema({"anyOf": [*_NAMES, {"type": "array", "items": {"anyOf": _NAMES}}]}),
]
CountLimit = Annotated[float, BeforeValidator(or_unlimited(quantities.parse_count)), COUNT_SCHEMA]
_DEVICES = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}
Devices = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: quantities.parse_gpus(parse_list(value))),
    WithJsonSchema({"anyOf": [_DEVICES, {"const": "all"}]}),
]


class GpuRule(StrictModel):
    """Limit GPUs."""

    default: Gpus | None = Field(
        default=None,
        description="GPUs of a workspace when nobody asks: `none`, `all`, indices or UUIDs.",
    )
    max: CountLimit | None = Field(
        default=None, description="Most GPUs that one workspace may have; `0` is none."
    )
    devices: Devices | None = Field(
        default=None, description="The GPUs that may be used: indices or UUIDs, or `all`."
    )


@dataclass(frozen=True, kw_only=True)
class GpusOption(Option):
    """A list of GPUs."""

    kind: str = "checks"
    joint: str = ","
    is_kept: bool = True

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return what was asked, else as many of the default as are allowed.

        ``("all",)`` where nothing is known of the host.
        """
        maximum = self.find_maximum(request)
        devices = request.find_setting(self.name, "devices")
        asked, host = request.asked.get(self.name), request.host
        if asked is None:
            return _choose_default(request.settings[f"{self.name}.default"], maximum, devices, host)
        chosen = _list_pool(devices, host) if asked == ALL_GPUS else asked
        source = devices.source if devices else None
        if asked == ALL_GPUS and not chosen:
            sentence = Text("gpus=all, but there is none here. Leave it empty.")
            raise Refusal(self.name, sentence, source)
        written = format_gpus(asked)
        for gpu in chosen:
            if objection := _find_objection(gpu, devices, host):
                sentence = Text("gpus=%(gpus)s: %(objection)s", gpus=written, objection=objection)
                raise Refusal(self.name, sentence, source)
        chosen = _drop_doubles(chosen, host)
        number = count_gpus(chosen, host)
        if maximum is not None and (math.inf if number is None else number) > maximum.value:
            most = format_number(maximum.value)
            fewer = Text("Name at most %(most)s.", most=most)
            cure = Text("Leave it empty.") if maximum.value == 0 else fewer
            sentence = Text(
                "gpus=%(gpus)s is more than you may have. %(cure)s", gpus=written, cure=cure
            )
            raise Refusal(self.name, sentence, maximum.source)
        return chosen, Reason("as asked", maximum.source if maximum else None)

    def find_maximum(self, request: Request) -> Setting | None:
        """Return the number of GPUs that the rules allow."""
        return request.find_setting(self.name, "max")

    def has_nothing_to_choose(self, request: Request) -> bool:
        """Return True if the host has none, or nobody may have one."""
        maximum = self.find_maximum(request)
        return request.host.gpus == () or (maximum is not None and maximum.value == 0)

    def write(self, value: Any) -> Any:
        """Return text with commas."""
        return format_gpus(value)

    def show(self, value: Any) -> str:
        """Write indices and UUIDs."""
        return format_gpus(value)

    def show_maximum(self, maximum: float) -> str:
        """Write a number of GPUs."""
        return format_number(maximum)


GPUS = GpusOption(
    name="gpus",
    label="GPUs",
    description="`all`, `none`, or indices or UUIDs separated by commas.",
    help="all, none, or indices such as 0,1.",
    is_basic=True,
)


def _choose_default(
    default: Setting, maximum: Setting | None, devices: Setting | None, host: Host
) -> tuple[tuple[str, ...], Reason]:
    is_limited = maximum is not None and not math.isinf(maximum.value)
    wanted = _list_pool(devices, host) if default.value == ALL_GPUS else default.value
    usable = [gpu for gpu in wanted if _find_objection(gpu, devices, host) is None]
    if maximum is not None and is_limited and tuple(usable) == ALL_GPUS:
        text = "nobody knows how many GPUs there are, and there is a maximum"
        return (), Reason(text, maximum.source)
    count = int(maximum.value) if maximum is not None and is_limited else len(usable)
    chosen = tuple(usable[:count])
    if chosen == default.value:
        return chosen, Reason("default", default.source)
    text = f"default {format_gpus(default.value)}, as far as possible"
    return chosen, Reason(text, default.source)


def count_gpus(gpus: Sequence[str], host: Host) -> int | None:
    """Count GPUs; None is an unknown number."""
    if tuple(gpus) == ALL_GPUS:
        return None if host.gpus is None else len(host.gpus)
    return len(gpus)


def list_usable_gpus(request: Request) -> tuple[str, ...] | None:
    """List the GPUs that may be chosen from, or return None where neither the host nor a rule names
    them.
    """
    pool = _list_pool(request.settings.get("gpus.devices"), request.host)
    return None if pool == ALL_GPUS else pool


def _list_pool(devices: Setting | None, host: Host) -> tuple[str, ...]:
    """List what ``all`` means for this person."""
    if devices is not None and devices.value != ALL_GPUS:
        return tuple(
            gpu for gpu in devices.value if host.gpus is None or _identify(gpu, host) in host.gpus
        )
    return ALL_GPUS if host.gpus is None else tuple(str(index) for index in range(len(host.gpus)))


def _find_objection(gpu: str, devices: Setting | None, host: Host) -> str | None:
    if host.gpus is not None and _identify(gpu, host) not in host.gpus:
        count = len(host.gpus)
        cure = (
            Text("There are %(count)s, from 0 to %(last)s.", count=count, last=count - 1)
            if count
            else Text("Leave it empty.")
        )
        return join(Text("there is no GPU %(gpu)s here.", gpu=gpu), cure)
    if devices is None or devices.value == ALL_GPUS:
        return None
    if _identify(gpu, host) not in {_identify(each, host) for each in devices.value}:
        return Text(
            "GPU %(gpu)s is not for you. Choose from: %(gpus)s.",
            gpu=gpu,
            gpus=format_gpus(devices.value),
        )
    return None


def _drop_doubles(gpus: Sequence[str], host: Host) -> tuple[str, ...]:
    return tuple({_identify(gpu, host): gpu for gpu in reversed(gpus)}.values())[::-1]


def _identify(gpu: str, host: Host) -> str:
    """Return the UUID behind an index where the host's GPUs are known."""
    if host.gpus is not None and gpu.isdigit() and int(gpu) < len(host.gpus):
        return host.gpus[int(gpu)]
    return gpu
