"""How long people's workspaces ran, and what they had meanwhile, day by day.

Invariants: what is counted is what was granted, because nobody else could have it meanwhile: an
hour of a workspace with two cores is two hours of CPU, whatever it computed. What has no limit is
in no sum but the hours. Days are those of UTC. A person's days are theirs alone, also once somebody
else has their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

from jupyterhub import orm
from sqlalchemy import (
    Date,
    Float,
    Integer,
    Unicode,
    UniqueConstraint,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from mlhub.policy.quota import Reservation
from mlhub.quantities import GIBIBYTE
from mlhub.workspaces.holder import PersonKey

KEPT_DAYS = 800
HOUR = 3600.0


class UsageDay(orm.Base):
    """What the workspaces of one person came to on one day. JupyterHub makes the table at its
    start.
    """

    __tablename__ = "mlhub_usage"
    __table_args__ = (UniqueConstraint("day", "person"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    day: Mapped[date] = mapped_column(Date, index=True)
    person: Mapped[str] = mapped_column(Unicode(32), index=True)  # PersonKey.key
    name: Mapped[str] = mapped_column(Unicode(255), index=True)
    hours: Mapped[float] = mapped_column(Float, default=0.0)
    cpu_hours: Mapped[float] = mapped_column(Float, default=0.0)
    memory_hours: Mapped[float] = mapped_column(Float, default=0.0)  # GB
    gpu_hours: Mapped[float] = mapped_column(Float, default=0.0)
    disk: Mapped[float] = mapped_column(Float, default=0.0)  # bytes, the most of the day


@dataclass(frozen=True)
class Amounts:
    """What was granted in some time: hours; hours times cores, GB and GPUs; and the most bytes of
    disk.
    """

    hours: float = 0.0
    cpu_hours: float = 0.0
    memory_hours: float = 0.0
    gpu_hours: float = 0.0
    disk: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        sums = {name: getattr(self, name) + getattr(other, name) for name in SUMMED}
        return Amounts(**sums, disk=max(self.disk, other.disk))


SUMMED = ("hours", "cpu_hours", "memory_hours", "gpu_hours")
COLUMNS = tuple(field.name for field in fields(Amounts))


def count(reserved: Reservation | None, seconds: float) -> Amounts:
    """Count what one workspace that runs has had in some seconds."""
    hours = seconds / HOUR
    if reserved is None:
        return Amounts(hours)
    return Amounts(
        hours,
        (reserved.cpu_limit or 0) * hours,
        (reserved.mem_limit or 0) / GIBIBYTE * hours,
        (reserved.gpus or 0) * hours,
    )


def add_to_day(session: Any, day: date, counted: Mapping[int, tuple[str, Amounts]]) -> None:
    """Add to the rows of a day what was counted: number of a person's row → name, amounts."""
    numbers = select(PersonKey.user_id, PersonKey.key).where(PersonKey.user_id.in_(counted))
    # A number comes back once a person is gone; the last key is that of whoever has it now.
    keys = dict(session.execute(numbers.order_by(PersonKey.id)).all())
    days = select(UsageDay.person, UsageDay.id).where(
        UsageDay.day == day, UsageDay.person.in_(keys.values())
    )
    known = dict(session.execute(days).all())
    for number, key in keys.items():
        name, amounts = counted[number]
        if key in known:
            added = {each: getattr(UsageDay, each) + getattr(amounts, each) for each in SUMMED}
            if amounts.disk:
                more = UsageDay.disk < amounts.disk
                added["disk"] = case((more, amounts.disk), else_=UsageDay.disk)
            session.execute(update(UsageDay).where(UsageDay.id == known[key]).values(**added))
        else:
            found = {each: getattr(amounts, each) for each in COLUMNS}
            session.add(UsageDay(day=day, person=key, name=name, **found))
    session.commit()


def forget_old_days(session: Any, today: date) -> None:
    """Remove the days that nobody asks for any more."""
    session.execute(delete(UsageDay).where(UsageDay.day < today - timedelta(days=KEPT_DAYS)))
    session.commit()


@dataclass(frozen=True)
class Whose:
    """Whose days are asked for: those of one ``person`` by their key, of all who have had a
    ``name``, of the members of a ``group``, or, where all are "", everybody's.
    """

    person: str = ""
    name: str = ""
    group: str = ""

    def list_conditions(self) -> Iterable[Any]:
        """List what a row has to fulfil."""
        if self.person:
            yield UsageDay.person == self.person
        if self.name:
            yield UsageDay.name == self.name
        if self.group:
            yield UsageDay.person.in_(_select_members().where(orm.Group.name == self.group))


def read_days(session: Any, whose: Whose, since: date, until: date) -> dict[date, Amounts]:
    """Return the amounts of each day from ``since`` to ``until``, empty days as well."""
    rows = session.execute(
        select(UsageDay.day, *_list_sums(), func.sum(UsageDay.disk))
        .where(UsageDay.day >= since, UsageDay.day <= until, *whose.list_conditions())
        .group_by(UsageDay.day)
    )
    found = {day: Amounts(*map(float, amounts)) for day, *amounts in rows}
    count_days = (until - since).days + 1
    days = [since + timedelta(days=number) for number in range(count_days)]
    return {day: found.get(day, Amounts()) for day in days}


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


def list_sums(
    session: Any, listing: Listing, since: date, until: date
) -> tuple[list[tuple[str, Amounts]], int]:
    """Return a page of people or groups with what they had in a time, and how many there are.

    A group's sum is that of its members of now.
    """
    name: Any = UsageDay.name
    most = func.max(UsageDay.disk)
    query = select(name, *_list_sums(), most).where(UsageDay.day >= since, UsageDay.day <= until)
    if listing.by == "group":
        name = orm.Group.name
        query = select(name, *_list_sums(), most).select_from(UsageDay)
        query = _join_groups(query.join(PersonKey, PersonKey.key == UsageDay.person))
        query = query.where(UsageDay.day >= since, UsageDay.day <= until)
    if listing.search:
        query = query.where(func.lower(name).contains(listing.search.lower(), autoescape=True))
    query = query.group_by(name)
    total = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    order = (
        name
        if listing.sort == "name"
        else [*_list_sums(), most][COLUMNS.index(listing.sort)].desc()
    )
    rows = session.execute(query.order_by(order, name).offset(listing.offset).limit(listing.limit))
    return [(str(whose), Amounts(*map(float, amounts))) for whose, *amounts in rows], total


def _list_sums() -> list[Any]:
    return [func.sum(getattr(UsageDay, name)) for name in SUMMED]


def _join_groups(query: Any) -> Any:
    # The number of a row comes back: its key is a person's only where the name is theirs, too.
    joined = query.join(
        orm.User, (orm.User.id == PersonKey.user_id) & (orm.User.name == PersonKey.name)
    )
    return joined.join(orm.User.groups)


def _select_members() -> Any:
    return _join_groups(select(PersonKey.key).select_from(PersonKey))
