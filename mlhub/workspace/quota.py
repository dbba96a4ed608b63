"""Sums over what runs, and whether one workspace more still fits. Pure: no I/O.

Promise: a workspace counts once, however often it is started again, and one without a limit counts as endless.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlhub.workspace.values import format_number, format_size

TOTALS = ("servers", "cpu_limit", "mem_limit", "gpus", "volumes")


@dataclass(frozen=True)
class Holding:
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
    def from_state(cls, state: Mapping[str, Any]) -> Holding:
        """Read back what ``to_state`` wrote."""
        return cls(**{**state, "groups": tuple(state.get("groups", ()))})


def sum_held(held: Iterable[Holding], total: str) -> float:
    """Add up one kind of total."""
    return sum((holding.amount(total) for holding in held), 0.0)


def explain_excess(total: str, limit: float, held: float, wanted: float, whose: str) -> str | None:
    """Return the sentence of a total that would be exceeded, or None where it fits."""
    # Sums of floats: three workspaces of 0.1 cores are not more than 0.3.
    if held + wanted <= limit + 1e-6:
        return None
    most = _show(total, limit)
    if total in ("servers", "volumes"):
        verb = "run" if total == "servers" else "use"
        if not limit:
            return f"{whose} may {verb} no {total.removesuffix('s').replace('server', 'workspace')} here. Ask an administrator."
        return f"{whose} may {verb} {most} at once, {_plain(total, held)} already do. " + (
            "Stop one first." if held else "Ask an administrator."
        )
    if math.isinf(held + wanted):
        return f"{whose} may have {most} in all, and a workspace without a limit could take more. Ask for a limit of {total}."
    room = _plain(total, max(0.0, limit - held))
    if not held:
        return f"{whose} may have {most} in all, and this workspace needs {_plain(total, wanted)}. Ask for at most {room}."
    cure = "Stop another one first." if limit - held <= 1e-6 else f"Ask for at most {room}, or stop another one."
    return f"{whose} may have {most} in all: {_plain(total, held)} taken, and this workspace needs {_plain(total, wanted)}. {cure}"


def _show(total: str, amount: float) -> str:
    noun = {"servers": "workspace", "cpu_limit": "CPU", "gpus": "GPU", "volumes": "volume", "mem_limit": "of memory"}[total]
    return f"{_plain(total, amount)} {noun}{'' if amount == 1 or total == 'mem_limit' else 's'}"


def _plain(total: str, amount: float) -> str:
    if total == "mem_limit":
        return format_size(amount) if amount else "0"
    return format_number(round(amount, 3))
