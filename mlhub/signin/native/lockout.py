"""Count failed attempts and say when the next one may be made. Pure: no I/O, the clock is handed
in.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any


@dataclass
class _Count:
    count: float
    last: float


class _Counts:
    """Keep a count for each of at most ``max_keys`` keys; the one that changed longest ago goes
    first.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        *,
        max_keys: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.seconds = seconds
        self.max_keys = max_keys
        self._clock = clock
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def forget(self, key: Hashable) -> None:
        """Drop what was counted against a key."""
        self._counts.pop(key, None)

    def forget_all(self, is_meant: Callable[[Any], bool]) -> None:
        """Drop what was counted against some keys."""
        for key in list(filter(is_meant, self._counts)):
            del self._counts[key]

    def _add(self, key: Hashable) -> None:
        now = self._clock()
        entry = self._counts.setdefault(key, _Count(0, now))
        entry.count += 1
        entry.last = now
        self._counts.move_to_end(key)
        while len(self._counts) > self.max_keys:
            self._counts.popitem(last=False)


class Lockout(_Counts):
    """Refuse a key for ``seconds`` after ``limit`` attempts that were not followed by ``forget``.

    An attempt counts *before* its outcome is known, so that many guesses sent at once count
    like guesses sent one by one. Attempts made while locked do not lengthen the lock.
    ``limit=0`` switches it off.
    """

    def wait(self, key: Hashable) -> float:
        """Return for how many seconds a key is locked, without counting anything."""
        entry = self._counts.get(key)
        if self.limit <= 0 or entry is None:
            return 0.0
        left = entry.last + self.seconds - self._clock()
        if left <= 0:
            del self._counts[key]
            return 0.0
        return left if entry.count >= self.limit else 0.0

    def list_locked(self) -> dict[Any, float]:
        """Return the seconds that each locked key has to wait."""
        waits = {key: self.wait(key) for key in list(self._counts)}
        return {key: seconds for key, seconds in waits.items() if seconds}

    def begin(self, key: Hashable) -> float:
        """Count one attempt; return 0 if it may go on, else the seconds to wait."""
        wait = self.wait(key)
        if not wait and self.limit > 0:
            self._add(key)
        return wait


class Budget(_Counts):
    """Let through ``limit`` attempts of a key at once, and as many more in each ``seconds``, spread
    evenly. ``limit=0``: any number.
    """

    def begin(self, key: Hashable) -> float:
        """Count one attempt; return 0 if it may go on, else the seconds until one may."""
        if self.limit <= 0:
            return 0.0
        pace = self.seconds / self.limit
        entry = self._counts.get(key)
        if entry is not None:
            # What was spent comes back as time goes by.
            now = self._clock()
            entry.count = max(0.0, entry.count - (now - entry.last) / pace)
            entry.last = now
            if entry.count > self.limit - 1:
                return (entry.count - self.limit + 1) * pace
        self._add(key)
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """Take back one attempt, which succeeded."""
        if entry := self._counts.get(key):
            entry.count = max(0.0, entry.count - 1)
