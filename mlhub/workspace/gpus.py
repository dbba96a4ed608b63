"""Which GPUs a workspace gets. Pure: no I/O; what the host has is told by the caller.

Promise: the same GPU is one GPU, whether named by its index or by its UUID, as far as the host's GPUs are known;
what is not known to exist on a known host is refused. One GPU may be shared by several workspaces; totals limit that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlhub.workspace.choices import Reason, Refusal, Request
from mlhub.workspace.policy import Host, Setting
from mlhub.workspace.values import ALL_GPUS, format_gpus, format_number


def choose_gpus(request: Request) -> tuple[tuple[str, ...], Reason]:
    """Find the GPUs: what was asked, or as many of the default as are allowed. ``("all",)`` where nothing is known of the host."""
    asked, default = request.options.gpus, request.settings["gpus.default"]
    maximum, devices = request.settings.get("gpus.max"), request.settings.get("gpus.devices")
    host = request.host
    if asked is None:
        wanted = _list_pool(devices, host) if default.value == ALL_GPUS else default.value
        usable = [gpu for gpu in wanted if _find_objection(gpu, devices, host) is None]
        count = len(usable) if maximum is None or math.isinf(maximum.value) else int(maximum.value)
        if tuple(usable) == ALL_GPUS and maximum is not None and not math.isinf(maximum.value):
            return (), Reason("nobody knows how many GPUs there are, and there is a maximum", maximum.source)
        chosen = tuple(usable[:count])
        return chosen, Reason(
            "default" if chosen == default.value else f"default {format_gpus(default.value)}, as far as possible", default.source
        )
    chosen = _list_pool(devices, host) if asked == ALL_GPUS else asked
    if asked == ALL_GPUS and not chosen:
        raise Refusal("gpus", "gpus=all, but there is none here. Leave it empty.", devices.source if devices else None)
    for gpu in chosen:
        if objection := _find_objection(gpu, devices, host):
            raise Refusal("gpus", f"gpus={format_gpus(asked)}: {objection}", devices.source if devices else None)
    chosen = _drop_doubles(chosen, host)
    number = count_gpus(chosen, host)
    if maximum is not None and (math.inf if number is None else number) > maximum.value:
        most = format_number(maximum.value)
        cure = "Leave it empty." if maximum.value == 0 else f"Name at most {most}."
        raise Refusal("gpus", f"gpus={format_gpus(asked)} is more than you may have. {cure}", maximum.source)
    return chosen, Reason("as asked", maximum.source if maximum else None)


def count_gpus(gpus: Sequence[str], host: Host) -> int | None:
    """Count GPUs; None is an unknown number."""
    if tuple(gpus) == ALL_GPUS:
        return None if host.gpus is None else len(host.gpus)
    return len(gpus)


def list_usable_gpus(request: Request) -> tuple[str, ...] | None:
    """List the GPUs that may be chosen from, or return None where neither the host nor a rule names them."""
    pool = _list_pool(request.settings.get("gpus.devices"), request.host)
    return None if pool == ALL_GPUS else pool


def _list_pool(devices: Setting | None, host: Host) -> tuple[str, ...]:
    """List what ``all`` means for this person."""
    if devices is not None and devices.value != ALL_GPUS:
        return tuple(gpu for gpu in devices.value if host.gpus is None or _identify(gpu, host) in host.gpus)
    return ALL_GPUS if host.gpus is None else tuple(str(index) for index in range(len(host.gpus)))


def _find_objection(gpu: str, devices: Setting | None, host: Host) -> str | None:
    if host.gpus is not None and _identify(gpu, host) not in host.gpus:
        count = len(host.gpus)
        return f"there is no GPU {gpu} here. " + (f"There are {count}, from 0 to {count - 1}." if count else "Leave it empty.")
    if devices is None or devices.value == ALL_GPUS:
        return None
    if _identify(gpu, host) not in {_identify(each, host) for each in devices.value}:
        return f"GPU {gpu} is not for you. Choose from: {format_gpus(devices.value)}."
    return None


def _drop_doubles(gpus: Sequence[str], host: Host) -> tuple[str, ...]:
    return tuple({_identify(gpu, host): gpu for gpu in reversed(gpus)}.values())[::-1]


def _identify(gpu: str, host: Host) -> str:
    """Return the UUID behind an index where the host's GPUs are known."""
    if host.gpus is not None and gpu.isdigit() and int(gpu) < len(host.gpus):
        return host.gpus[int(gpu)]
    return gpu
