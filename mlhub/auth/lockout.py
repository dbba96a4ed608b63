"""Count failed attempts and say when the next one may be made. Pure: no I/O, the clock is handed in."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass
class _Failures:
    count: int
    last: float


class Lockout:
    """Refuse a key for ``seconds`` after ``limit`` attempts that were not followed by ``forget``.

    An attempt counts *before* its outcome is known, so that many guesses sent at once count
    like guesses sent one by one. Attempts made while locked do not lengthen the lock.
    ``limit=0`` switches it off. At most ``max_keys`` keys are kept, the oldest goes first.
    """

    def __init__(self, limit: int, seconds: float, *, max_keys: int = 20_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.seconds = seconds
        self.max_keys = max_keys
        self._clock = clock
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def begin(self, key: Hashable) -> float:
        """Count one attempt; return 0 if it may go on, else the seconds to wait."""
        if self.limit <= 0:
            return 0.0
        now = self._clock()
        entry = self._failures.get(key)
        if entry and now - entry.last >= self.seconds:
            entry = None
        if entry is None:
            entry = self._failures[key] = _Failures(0, now)
        if entry.count >= self.limit:
            return entry.last + self.seconds - now
        entry.count += 1
        entry.last = now
        self._failures.move_to_end(key)
        while len(self._failures) > self.max_keys:
            self._failures.popitem(last=False)
        return 0.0

    def forget(self, key: Hashable) -> None:
        """Drop what was counted against a key, after an attempt that succeeded."""
        self._failures.pop(key, None)
