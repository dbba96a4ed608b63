"""Sums over what runs, and whether one workspace more still fits. Pure: no I/O.

Invariants: a workspace counts once, however often it is started again, and one without a limit
counts as endless.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlhub.options.amount import describe_size
from mlhub.quantities import format_number
from mlhub.texts import Text, join

TOTALS = ("servers", "cpu_limit", "mem_limit", "gpus", "volumes")


@dataclass(frozen=True)
class Reservation:
    """What one running (or just starting) workspace takes; None is without limit."""

    user: str
    server: str = ""
    groups: tuple[str, ...] = ()
    cpu_limit: float | None = None
    mem_limit: int | None = None
    gpus: int | None = 0
    volumes: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Who holds it: user and server name."""
        return (self.user, self.server)

    def amount(self, total: str) -> float:
        """Tell how much of a kind of total this workspace takes."""
        if total == "servers":
            return 1
        value = getattr(self, total)
        return math.inf if value is None else float(value)

    def to_state(self) -> dict[str, Any]:
        """Return what the hub keeps, so that the sums are right after a restart."""
        return {**asdict(self), "groups": list(self.groups)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Reservation:
        """Read back what ``to_state`` wrote."""
        return cls(**{**state, "groups": tuple(state.get("groups", ()))})


def sum_reserved(reserved: Iterable[Reservation], total: str) -> float:
    """Add up one kind of total."""
    return sum((reservation.amount(total) for reservation in reserved), 0.0)


def explain_excess(
    total: str, limit: float, reserved: float, wanted: float, whose: str
) -> str | None:
    """Return the sentence of a total that would be exceeded, or None where it fits."""
    # Sums of floats: three workspaces of 0.1 cores are not more than 0.3.
    if reserved + wanted <= limit + 1e-6:
        return None
    most = _show(total, limit)
    if total in ("servers", "volumes"):
        return _explain_count(total, limit, reserved, whose)
    if math.isinf(reserved + wanted):
        return Text(
            "%(whose)s may have %(most)s in all, and a workspace without a limit could take more."
            " Ask for a limit of %(total)s.",
            whose=whose,
            most=most,
            total=total,
        )
    room, needs = _plain(total, max(0.0, limit - reserved)), _plain(total, wanted)
    if not reserved:
        return Text(
            "%(whose)s may have %(most)s in all, and this workspace needs %(needs)s. Ask for at"
            " most %(room)s.",
            whose=whose,
            most=most,
            needs=needs,
            room=room,
        )
    is_full = limit - reserved <= 1e-6
    return Text(
        "%(whose)s may have %(most)s in all: %(taken)s taken, and this workspace needs %(needs)s."
        " %(cure)s",
        whose=whose,
        most=most,
        taken=_plain(total, reserved),
        needs=needs,
        cure=Text("Stop another one first.")
        if is_full
        else Text("Ask for at most %(room)s, or stop another one.", room=room),
    )


def _explain_count(total: str, limit: float, reserved: float, whose: str) -> Text:
    """Return the sentence about workspaces or volumes, which are counted."""
    is_servers = total == "servers"
    if not limit:
        if is_servers:
            return Text("%(whose)s may run no workspace here. Ask an administrator.", whose=whose)
        return Text("%(whose)s may use no volume here. Ask an administrator.", whose=whose)
    values = {
        "whose": whose,
        "most": _show(total, limit),
        "held": _plain(total, reserved),
        "cure": Text("Stop one first.") if reserved else Text("Ask an administrator."),
    }
    if is_servers:
        return Text("%(whose)s may run %(most)s at once, %(held)s already do. %(cure)s", **values)
    return Text("%(whose)s may use %(most)s at once, %(held)s already do. %(cure)s", **values)


def describe_totals(limits: Mapping[str, float]) -> str:
    """Write what all workspaces of a person may have together; "" where nothing limits that."""
    shown = [_show(total, limit) for total, limit in limits.items() if not math.isinf(limit)]
    if not shown:
        return ""
    *others, last = shown
    if others:
        last = Text("%(others)s and %(last)s", others=join(*others, between=", "), last=last)
    return Text("At once you may have at most %(totals)s in all.", totals=last)


def _show(total: str, amount: float) -> Text:
    if total == "mem_limit":
        return Text("%(size)s of memory", size=_plain(total, amount))
    if total == "disk":
        return Text("%(size)s of disk", size=describe_size(amount))
    one, many = {
        "servers": (Text("workspace"), Text("workspaces")),
        "cpu_limit": (Text("CPU"), Text("CPUs")),
        "gpus": (Text("GPU"), Text("GPUs")),
        "volumes": (Text("volume"), Text("volumes")),
    }[total]
    return join(_plain(total, amount), one if amount == 1 else many)


def _plain(total: str, amount: float) -> str:
    if total == "mem_limit":
        return describe_size(amount) if amount else "0"
    return format_number(round(amount, 3))
