"""What people's workspaces take of the disk, as it was measured last, and whether one more may
start. Pure: no I/O.

Invariants: only a start is refused, and never the one in which its owner could tidy up: a workspace
that has files already starts, as long as no other one of theirs runs. Where nothing was measured
nothing is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlhub.options.amount import describe_size
from mlhub.texts import Text

TOTAL = "disk"
MINUTE = 60.0


@dataclass(frozen=True)
class Taken:
    """What one thing of a workspace takes; ``size`` in bytes, ``person`` as its label says."""

    user: str
    server: str
    person: str
    size: int
    is_trashed: bool = False


@dataclass(frozen=True)
class DiskUse:
    """Hold what one person has on the disk; sizes in bytes, ``trashed`` is part of ``taken``.

    ``servers`` are the names of workspaces that have files. ``measured_at`` is in seconds since the
    epoch.
    """

    taken: int
    trashed: int = 0
    servers: frozenset[str] = field(default_factory=frozenset)
    measured_at: float = 0.0

    @classmethod
    def of(cls, taken: Iterable[Taken], person: str, measured_at: float) -> DiskUse:
        """Add up what carries somebody's name, but for what was made for somebody before them."""
        own = [each for each in taken if each.person in ("", person)]
        return cls(
            sum(each.size for each in own),
            sum(each.size for each in own if each.is_trashed),
            frozenset(each.server for each in own if each.size and not each.is_trashed),
            measured_at,
        )

    def describe(self) -> str:
        """Write how much it is, for its owner."""
        size = describe_size(self.taken)
        if not self.trashed:
            return Text("Your files take %(size)s.", size=size)
        trashed = describe_size(self.trashed)
        return Text(
            "Your files take %(size)s, %(trashed)s of it in the trash.", size=size, trashed=trashed
        )


def explain_disk_excess(
    limit: float, use: DiskUse | None, server: str, runs_others: bool, now: float
) -> str | None:
    """Return the sentence about a start that there is no disk for, or None where it may be."""
    if use is None or math.isinf(limit) or use.taken <= limit:
        return None
    if server in use.servers and not runs_others:
        return None
    minutes = max(0, round((now - use.measured_at) / MINUTE))
    ago = Text("1 minute ago") if minutes == 1 else Text("%(number)s minutes ago", number=minutes)
    trashed = Text(", %(size)s of them in the trash", size=describe_size(use.trashed))
    return Text(
        "You may have %(most)s of disk in all, and your files take %(taken)s%(trashed)s (measured"
        " %(ago)s). Start a workspace that has files, it alone, and delete some there; or remove"
        " for good what is in the trash. It is measured again soon. An administrator may allow"
        " more.",
        most=describe_size(limit),
        taken=describe_size(use.taken),
        trashed=trashed if use.trashed else "",
        ago=ago,
    )
