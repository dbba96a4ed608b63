"""When a workspace is started and stopped by the clock. Pure: no I/O beyond the time zone database,
and the time is always given.

Invariants: a schedule has at most one start and one stop for each of its days. A time that the
clocks leave out, when they are put forward, is as long after midnight as if they were not; of one
that comes twice the first counts. Times are seconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from mlhub.formats import parse_zone
from mlhub.options.option import Option, Reason, Refusal, Request, Setting, StrictModel
from mlhub.texts import Text

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(7))
NOTHING = "none"
CURE = Text("Write e.g. mon-fri 09:00-18:00 Europe/Berlin, -18:00 for a stop alone, or none.")
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d"
_SCHEDULE = re.compile(
    rf"(?:(?P<days>[a-z]{{3,5}}(?:[,-][a-z]{{3}})*)[ ]+)?"
    rf"(?P<start>{_TIME})?-(?P<stop>{_TIME})?(?:[ ]+(?P<zone>\S{{1,64}}))?",
    re.IGNORECASE | re.ASCII,
)


class EventKind(StrEnum):
    """What happens to a workspace."""

    START = "start"
    STOP = "stop"


@dataclass(frozen=True, order=True)
class Event:
    """What happens when."""

    at: float
    kind: EventKind


@dataclass(frozen=True)
class Schedule:
    """Hold days (0 is Monday), start and stop in minutes after midnight, and the name of a time
    zone, "" for the hub's.

    A stop that is not after the start is one of the next day.
    """

    start: int | None = None
    stop: int | None = None
    days: tuple[int, ...] = EVERY_DAY
    zone: str = ""

    def __bool__(self) -> bool:
        """Return True if it says anything."""
        return self.start is not None or self.stop is not None

    def __str__(self) -> str:
        """Write it as ``parse_schedule`` reads it."""
        if not self:
            return NOTHING
        days = "" if self.days == EVERY_DAY else _write_days(self.days)
        times = f"{_write_time(self.start)}-{_write_time(self.stop)}"
        return " ".join(word for word in (days, times, self.zone) if word)

    @property
    def is_overnight(self) -> bool:
        """Return True if the stop is one of the next day."""
        return self.start is not None and self.stop is not None and self.stop <= self.start


def parse_schedule(value: Any) -> Schedule:
    """Read ``mon-fri 09:00-18:00 Europe/Berlin``; raise ``ValueError``."""
    text = " ".join(value.split()) if isinstance(value, str) and len(value) <= 120 else ""
    if isinstance(value, Schedule):
        return value
    if text.lower() == NOTHING:
        return Schedule()
    match = _SCHEDULE.fullmatch(text)
    if match is None or (match["start"] is None and match["stop"] is None):
        raise ValueError(Text("is no schedule. %(cure)s", cure=CURE))
    start, stop = _read_time(match["start"]), _read_time(match["stop"])
    if start == stop:
        raise ValueError(Text("starts and stops at the same time. %(cure)s", cure=CURE))
    return Schedule(start, stop, _read_days(match["days"]), _read_zone(match["zone"]))


def list_events(schedule: Schedule, after: float, until: float, zone: str) -> list[Event]:
    """List what happens after one time and until another, that one included; ``zone`` is the hub's.

    A span of more than a few days costs time.
    """
    place = ZoneInfo(schedule.zone or zone)
    # A stop of the next day belongs to the day before, and a date may be another one elsewhere.
    first = datetime.fromtimestamp(after, place).date() - timedelta(days=2)
    last = datetime.fromtimestamp(until, place).date() + timedelta(days=1)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    # A set, because a whole day that a calendar leaves out has the moments of the next one.
    events = {event for day in days for event in _list_of_day(schedule, day, place)}
    return sorted(event for event in events if after < event.at <= until)


def find_next(
    schedule: Schedule, now: float, zone: str, kind: EventKind | None = None
) -> Event | None:
    """Return what happens next, of one kind or of both; None where nothing ever does."""
    events = list_events(schedule, now, now + 9 * 86_400, zone)
    return next((event for event in events if kind in (None, event.kind)), None)


def explain_outside(schedule: Schedule, bounds: Schedule) -> str:
    """Return why a schedule is not within bounds, as a sentence; "" where it is."""
    if schedule.zone not in ("", bounds.zone):
        return Text(
            "has another time zone than %(zone)s.", zone=bounds.zone or Text("that of the hub")
        )
    if schedule.is_overnight:
        return Text("runs over midnight.")
    start, stop = schedule.start, schedule.stop
    if bounds.stop is not None:
        if stop is None or not set(bounds.days) <= set(schedule.days):
            return Text(
                "has to stop by %(time)s on %(days)s.",
                time=_write_time(bounds.stop),
                days=_write_days(bounds.days),
            )
        if stop > bounds.stop:
            return Text("stops after %(time)s.", time=_write_time(bounds.stop))
    if start is not None:
        if bounds.start is None:
            return Text("has a start. A stop alone may be chosen.")
        if start < bounds.start:
            return Text("starts before %(time)s.", time=_write_time(bounds.start))
        if not set(schedule.days) <= set(bounds.days):
            return Text("has other days than %(days)s.", days=_write_days(bounds.days))
    return ""


ScheduleText = Annotated[
    Schedule, BeforeValidator(parse_schedule), WithJsonSchema({"type": "string"})
]


class ScheduleRule(StrictModel):
    """Say when workspaces are started and stopped by the clock."""

    default: ScheduleText | None = Field(
        default=None,
        description=(
            "Schedule when nobody chooses one, such as `mon-fri 09:00-18:00 Europe/Berlin`;"
            " `-18:00` stops and starts nothing, `none` is no schedule. Without a time zone"
            " `MLHUB_TIMEZONE` counts. It holds for a workspace that was started once."
        ),
    )
    within: ScheduleText | None = Field(
        default=None,
        description=(
            "What a schedule that people choose has to lie within, such as `mon-fri 08:00-20:00`:"
            " no start is earlier, no stop later, and there has to be a stop. Where it has no start"
            " itself, nobody chooses one."
        ),
    )

    @model_validator(mode="after")
    def _default_fits(self) -> ScheduleRule:
        if self.within is not None and self.within.is_overnight:
            raise ValueError("has a within over midnight. Write two times of one day.")
        default, within = self.default, self.within
        if default and within is not None and (trouble := explain_outside(default, within)):
            raise ValueError(f"has a default outside its own within: it {trouble} Change one.")
        return self


@dataclass(frozen=True, kw_only=True)
class ScheduleOption(Option):
    """A schedule."""

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return what was asked, else the default."""
        asked, within = request.asked.get(self.name), self.find_maximum(request)
        if asked is None:
            default = request.find_setting(self.name, "default")
            if default is None:
                return Schedule(), Reason("no rule says anything")
            return default.value, Reason("default", default.source)
        if within is None:
            return asked, Reason("as asked", request.settings["options"].source)
        if trouble := explain_outside(asked, within.value):
            sentence = Text(
                "%(name)s=%(asked)s is outside what you may choose: it %(trouble)s"
                " Stay within %(within)s.",
                name=self.name,
                asked=asked,
                trouble=trouble,
                within=within.value,
            )
            raise Refusal(self.name, sentence, within.source)
        named = replace(asked, zone=asked.zone or within.value.zone) if asked else asked
        return named, Reason(f"as asked; within {within.value}", within.source)

    def find_maximum(self, request: Request) -> Setting | None:
        """Return what bounds a schedule."""
        within = request.find_setting(self.name, "within")
        return within if within is not None and within.value else None

    def write(self, value: Any) -> Any:
        """Return it as text."""
        return str(value)

    def show_default(self, value: Any) -> str:
        """Write it as it is typed; no schedule is nothing."""
        return str(value) if value else ""


def _read_zone(name: str | None) -> str:
    return parse_zone(name) if name else ""


def _list_of_day(schedule: Schedule, day: date, place: ZoneInfo) -> Iterator[Event]:
    if day.weekday() not in schedule.days:
        return
    if schedule.start is not None:
        yield Event(_find_moment(day, schedule.start, place), EventKind.START)
    if schedule.stop is not None:
        end = day + timedelta(days=1) if schedule.is_overnight else day
        yield Event(_find_moment(end, schedule.stop, place), EventKind.STOP)


def _find_moment(day: date, minutes: int, place: ZoneInfo) -> float:
    hour, minute = divmod(minutes, 60)
    # fold=0: https://peps.python.org/pep-0495/ says the same of gaps and of times that come twice.
    return datetime.combine(day, time(hour, minute), place).astimezone(UTC).timestamp()


def _read_time(text: str | None) -> int | None:
    if text is None:
        return None
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _write_time(minutes: int | None) -> str:
    return "" if minutes is None else f"{minutes // 60:02}:{minutes % 60:02}"


def _read_days(text: str | None) -> tuple[int, ...]:
    if text is None or text.lower() == "daily":
        return EVERY_DAY
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(
                Text("names days that are none: %(text)s. %(cure)s", text=text, cure=CURE)
            )
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(begin + number) % 7 for number in range((end - begin) % 7 + 1)}
    return tuple(sorted(found))


def _write_days(days: tuple[int, ...]) -> str:
    if days == EVERY_DAY:
        return Text("all days")
    is_range = len(days) > 2 and days == tuple(range(days[0], days[-1] + 1))
    return f"{DAYS[days[0]]}-{DAYS[days[-1]]}" if is_range else ",".join(DAYS[day] for day in days)


SCHEDULE = ScheduleOption(
    name="schedule",
    label="Schedule",
    description=(
        "When the workspace is started and stopped by the clock, such as `mon-fri 09:00-18:00"
        " Europe/Berlin`; `none` is never."
    ),
    help="Starts and stops by the clock, such as mon-fri 09:00-18:00, or -18:00 for a stop alone.",
)
