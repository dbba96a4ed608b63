"""What a person's workspaces take of what they may have in all, as bars and in words. Pure: no
I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlhub.options.amount import describe_size
from mlhub.options.option import Setting
from mlhub.policy import disk
from mlhub.policy.disk import DiskUse
from mlhub.policy.quota import Reservation, sum_reserved
from mlhub.policy.safe import is_outside
from mlhub.quantities import format_number
from mlhub.texts import Text

_LABELS = {
    "servers": Text("Workspaces"),
    "cpu_limit": "CPU",
    "mem_limit": Text("Memory"),
    "gpus": Text("GPUs"),
    "volumes": Text("Volumes"),
    disk.TOTAL: Text("Disk"),
}
_SIZES = ("mem_limit", disk.TOTAL)


@dataclass(frozen=True)
class Bar:
    """One total: ``taken`` of ``limit``, which is more than 0; ``text`` says both."""

    label: str
    taken: float
    limit: float
    text: str


def list_bars(
    limits: Mapping[str, Setting], held: Iterable[Reservation], use: DiskUse | None
) -> tuple[Bar, ...]:
    """List a person's totals, of those that have a limit; ``held`` is what runs of theirs."""
    held, bars = list(held), []
    for total, limit in limits.items():
        if not limit.value or math.isinf(limit.value):
            continue
        if total == disk.TOTAL:
            if use is not None:
                bars.append(_make_bar(total, use.taken, limit.value))
            continue
        amounts = [each.amount(total) for each in held]
        taken = sum(each for each in amounts if not is_outside(limit, each))
        bars.append(_make_bar(total, taken, limit.value))
    return tuple(bars)


def describe_use(
    limits: Mapping[str, Setting], held: Iterable[Reservation], use: DiskUse | None
) -> list[str]:
    """Write for administrators what somebody has now, and of how much where that has a limit;
    nothing is written of what they have nothing of.
    """
    held, taken = list(held), 0 if use is None else use.taken
    known = {bar.label: bar.text for bar in list_bars(limits, held, use)}
    words = []
    if held:
        words.append(f"{known.get(_LABELS['servers'], len(held))} running")
        memory = sum_reserved(held, "mem_limit")
        if math.isinf(memory):
            words.append("memory without limit")
        else:
            words.append(f"{known.get(_LABELS['mem_limit'], describe_size(memory))} of memory")
        rest = (_LABELS[total] for total in ("cpu_limit", "gpus", "volumes"))
        words += [f"{known[label]} {label}" for label in rest if label in known]
    if taken:
        words.append(f"{known.get(_LABELS[disk.TOTAL], describe_size(taken))} of disk")
    return words


def _make_bar(total: str, taken: float, limit: float) -> Bar:
    write = describe_size if total in _SIZES else _write_number
    words = Text("all") if math.isinf(taken) else write(taken) if taken else "0"
    return Bar(
        _LABELS[total],
        min(taken, limit),
        limit,
        Text("%(taken)s of %(limit)s", taken=words, limit=write(limit)),
    )


def _write_number(amount: float) -> str:
    return format_number(round(amount, 3))
