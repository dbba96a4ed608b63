"""For how long a workspace may go unused, and how old it may become. Pure: no I/O, and the time is
always given.

Invariants: a workspace is stopped where the rules that hold for its owner at this moment say so,
and a warning comes before. Times are seconds since the epoch, durations are seconds; infinity is no
limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mlhub.options.amount import LIMIT_SCHEMA, UNLIMITED, or_unlimited
from mlhub.options.option import Setting, StrictModel
from mlhub.texts import Text

SHORTEST = 60.0
_LONGEST = 3650 * 86_400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WORDS = (
    (Text("1 day"), Text("%(number)s days"), 86_400),
    (Text("1 hour"), Text("%(number)s hours"), 3600),
    (Text("1 minute"), Text("%(number)s minutes"), 60),
    (Text("1 second"), Text("%(number)s seconds"), 1),
)
_DURATION = re.compile(r"(\d{1,9})[ ]?([smhd])?", re.ASCII)


def parse_duration(value: Any) -> float:
    """Read seconds: ``90m``, ``2h``, ``3d``; a bare number is seconds. Raises ``ValueError``."""
    cure = "Write e.g. 90m, 2h or 3d."
    text = str(value).strip() if isinstance(value, int | str) else ""
    match = None if isinstance(value, bool) else _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"is not a duration. {cure}")
    seconds = float(int(match[1]) * _UNITS[match[2] or "s"])
    if not SHORTEST <= seconds <= _LONGEST:
        raise ValueError(f"is out of range: 1m to 3650d. {cure}")
    return seconds


def describe_duration(seconds: float) -> str:
    """Write "2 hours", or ``unlimited``."""
    if math.isinf(seconds):
        return UNLIMITED
    one, many, size = next(each for each in _WORDS if seconds % each[2] == 0 or each[2] == 1)
    number = int(seconds // size)
    return one if number == 1 else Text(many, number=number)


Duration = Annotated[float, BeforeValidator(or_unlimited(parse_duration)), LIMIT_SCHEMA]


class IdleRule(StrictModel):
    """Say when a workspace is stopped that runs."""

    timeout: Duration | None = Field(
        default=None,
        description=(
            "How long a workspace may go unused until it is stopped, such as `2h`. Unset:"
            " `MLHUB_CULL_TIMEOUT`, where `MLHUB_CULL_ENABLED` is on."
        ),
    )
    max_age: Duration | None = Field(
        default=None,
        description=(
            "How long a workspace may run until it is stopped although it is used, such as `3d`."
            " Unset: `MLHUB_CULL_MAX_AGE`, where `MLHUB_CULL_ENABLED` is on."
        ),
    )


@dataclass(frozen=True)
class IdleLimits:
    """Hold what the rules say to one person."""

    timeout: Setting
    max_age: Setting

    @classmethod
    def of(cls, settings: Mapping[str, Setting]) -> IdleLimits:
        """Take the limits out of all that the rules say (``resolve_settings``)."""
        return cls(settings["idle.timeout"], settings["idle.max_age"])


@dataclass(frozen=True)
class PlannedStop:
    """When a workspace is stopped if nothing changes, and the limit that says so.

    ``is_idle``: because nobody uses it; who uses it puts that off.
    """

    at: float
    limit: Setting
    is_idle: bool

    @property
    def reason(self) -> str:
        """Why, as the end of a sentence."""
        duration = describe_duration(self.limit.value)
        if self.is_idle:
            return Text("nobody has used it for %(duration)s", duration=duration)
        return Text("it has run for %(duration)s, the longest it may", duration=duration)

    def is_near(self, now: float, warning: float) -> bool:
        """Return True if it is time to warn: so many seconds ahead, half the limit at the most."""
        return now >= self.at - min(warning, self.limit.value / 2)


def plan_stop(limits: IdleLimits, started_at: float, used_at: float) -> PlannedStop | None:
    """Return the stop that comes first, or None for never."""
    stops = (
        PlannedStop(max(started_at, used_at) + limits.timeout.value, limits.timeout, True),
        PlannedStop(started_at + limits.max_age.value, limits.max_age, False),
    )
    first = min(stops, key=lambda stop: stop.at)
    return None if math.isinf(first.at) else first
