"""How long something takes where the machine has nothing else to do."""

from __future__ import annotations

import re
import time
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
# What somebody waits for by choice takes no longer on a busy machine: so much is believed of it.
MOST_TIMES_SLOWER = 3


class Stopwatch:
    """Count the seconds from now on, less those in which some program of the machine waited for a
    processor; but a third of all at least.

    So a limit holds on a machine that has time, a busy one is not blamed on whoever is measured,
    and nothing takes three times as long unnoticed. Where Linux does not tell (no pressure stall
    information), all seconds count.
    """

    def __init__(self) -> None:
        self._began, self._stalled_before = time.monotonic(), read_stalled()

    @property
    def elapsed(self) -> float:
        """All seconds."""
        return time.monotonic() - self._began

    def read(self) -> float:
        """The seconds that count."""
        elapsed = self.elapsed
        idle = elapsed - (read_stalled() - self._stalled_before)
        return max(idle, elapsed / MOST_TIMES_SLOWER)


def read_stalled() -> float:
    """Return the seconds since the machine's start in which some program waited so."""
    try:
        found = re.search(r"^some .*total=(\d+)", PRESSURE.read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found[1]) / 1e6 if found else 0.0
