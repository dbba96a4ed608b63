"""What all people or groups had in a time, a page of them at once.

Invariants: days that are over are read and added up once, a day at a time, because whoever reads
keeps others from writing to SQLite. The day of now and who is in which group are read each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any

from mlhub.admin.usage import Amounts, add_up, read_groups, read_people
from mlhub.workspaces.hub_database import ask_beside

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sums:
    """What people had, by their key and the name they had then, and what all of them had by day."""

    people: Mapping[tuple[str, str], Amounts] = field(default_factory=dict)
    days: Mapping[date, Amounts] = field(default_factory=dict)

    def add_day(self, day: date, rows: Iterable[tuple[str, str, Amounts]]) -> Sums:
        """Return the sums with what people had on one day more."""
        people, rows = dict(self.people), list(rows)
        for person, name, amounts in rows:
            known = people.get((person, name))
            people[person, name] = known + amounts if known else amounts
        return Sums(people, {**self.days, day: add_up([amounts for _, _, amounts in rows])})

    def add_up_names(self) -> Mapping[str, Amounts]:
        """Add up what was had by all who have had a name."""
        found: dict[str, Amounts] = {}
        for (_, name), amounts in self.people.items():
            found[name] = found[name] + amounts if name in found else amounts
        return found

    def add_up_groups(self, groups: Mapping[str, list[str]]) -> Mapping[str, Amounts]:
        """Add up what members of groups had; ``groups`` are keys of people by name."""
        people: dict[str, Amounts] = {}
        for (person, _), amounts in self.people.items():
            people[person] = people[person] + amounts if person in people else amounts
        found = {
            group: [people[person] for person in members if person in people]
            for group, members in groups.items()
        }
        return {group: add_up(amounts) for group, amounts in found.items() if amounts}


class PastUsage:
    """Remember the sums of the days that are over; ``factory`` makes sessions of the database."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._lock = asyncio.Lock()
        self._today = date.min
        self._known: dict[date, Sums] = {}  # by their first day

    async def find(self, since: date, today: date) -> Sums:
        """Return the sums of the days from ``since`` to the one before ``today``."""
        async with self._lock:
            if today != self._today:
                self._today, self._known = today, {}
            if since not in self._known:
                sums = Sums()
                for number in range((today - since).days):
                    day = since + number * ONE_DAY
                    sums = await ask_beside(self._factory, partial(_add_day, day=day, sums=sums))
                self._known[since] = sums
            return self._known[since]

    async def forget(self, day: date) -> None:
        """Read again what was written late."""
        async with self._lock:
            if day < self._today:
                self._known = {}


def _add_day(session: Any, day: date, sums: Sums) -> Sums:
    return sums.add_day(day, read_people(session, day))


@dataclass(frozen=True)
class Listing:
    """Which people or groups are listed: those whose name has ``search`` in it, the most of
    ``sort`` first.
    """

    by: str = "person"
    search: str = ""
    sort: str = "hours"
    offset: int = 0
    limit: int | None = 50


@dataclass(frozen=True)
class Listed:
    """A page of people or groups, how many there are, and what everybody had by day."""

    rows: list[tuple[str, Amounts]]
    total: int
    days: Mapping[date, Amounts]


def list_sums(session: Any, listing: Listing, past: Sums, today: date) -> Listed:
    """Return who had what in the past and today. A group's sum is that of who is in it now."""
    sums = past.add_day(today, read_people(session, today))
    found = (
        sums.add_up_groups(read_groups(session)) if listing.by == "group" else sums.add_up_names()
    )
    search = listing.search.lower()
    rows = [(name, had) for name, had in found.items() if search in name.lower()]
    rows.sort(key=lambda row: row[0])
    if listing.sort != "name":
        rows.sort(key=lambda row: getattr(row[1], listing.sort), reverse=True)
    end = None if listing.limit is None else listing.offset + listing.limit
    return Listed(rows[listing.offset : end], len(rows), sums.days)
