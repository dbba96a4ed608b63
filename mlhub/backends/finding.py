"""What a check of an installation finds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

CLOCK_SECONDS = 5.0


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    FAILS = "fails"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do about it."""

    level: Level
    subject: str
    text: str
    cure: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, cure: str) -> Finding:
    """Return a finding that somebody should know of."""
    return Finding(Level.WARNING, subject, text, cure)


def fail(subject: str, text: str, cure: str) -> Finding:
    """Return a finding that keeps people from their work."""
    return Finding(Level.FAILS, subject, text, cure)


def judge_clock(theirs: float, place: str, now: float | None = None) -> Finding:
    """Compare a clock with this container's: certificates, tokens and expiry need both to agree."""
    difference = abs(theirs - (time.time() if now is None else now))
    if difference < CLOCK_SECONDS:
        return ok("clock", f"It agrees with that of {place}.")
    return warn(
        "clock",
        f"It differs from that of {place} by {difference:.0f} seconds.",
        "Keep both hosts in time, by NTP.",
    )
