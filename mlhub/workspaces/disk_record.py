"""What was measured last of the disk that workspaces take."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlhub.policy.disk import DiskUse, Taken


@dataclass
class DiskRecord:
    """Remember it by person; ``taken`` is that of all in bytes, None as long as nothing is
    known.
    """

    taken: int | None = None
    measured_at: float = 0.0
    _by_user: dict[str, list[Taken]] = field(default_factory=dict)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, taken: Iterable[Taken], at: float) -> None:
        """Put a new measurement in the place of the one before."""
        by_user: dict[str, list[Taken]] = defaultdict(list)
        for each in taken:
            by_user[each.user].append(each)
        self._by_user, self.measured_at = dict(by_user), at
        self.taken = sum(each.size for found in by_user.values() for each in found)

    def find(self, user: str, person: str) -> DiskUse | None:
        """Return what somebody has; None where nothing was measured yet."""
        if self.taken is None:
            return None
        return DiskUse.of(self._by_user.get(user, ()), person, self.measured_at)

    def sum_by_name(self, user: str) -> int:
        """Return what carries somebody's name, of whoever has had it; 0 where nobody knows."""
        return sum(each.size for each in self._by_user.get(user, ()))

    def ask_again(self) -> None:
        """Have it measured sooner than it would be, because somebody tidies up."""
        self._wanted.set()

    async def wait_until_due(self, at_least: float, at_most: float) -> None:
        """Wait until it is to be measured again, in seconds."""
        await asyncio.sleep(at_least)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), max(0.0, at_most - at_least))
        self._wanted.clear()
