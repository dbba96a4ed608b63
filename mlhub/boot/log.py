"""The lines of boot and of the supervisor in the container's log. Standard library only."""

from __future__ import annotations

import time


def say(line: str) -> None:
    """Write one line to the container's log."""
    print(f"[MLHub {time.strftime('%H:%M:%S')}] {line}", flush=True)
