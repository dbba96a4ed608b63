"""How long people's workspaces ran, and what they had meanwhile, day by day.

Invariants: what is counted is what was granted, because nobody else could have it meanwhile: an
hour of a workspace with two cores is two hours of CPU, whatever it computed. What has no limit is
in no sum but the hours. Days are those of UTC. A person's days are theirs alone, also once somebody
else has their name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
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
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from mlhub.policy.quota import Reservation
from mlhub.quantities import GIBIBYTE
from mlhub.workspaces.holder import PersonKey

KEPT_DAYS = 800
LOOKED_AT_DAYS = 30  # unless somebody asks for others
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


@dataclass(frozen=True, slots=True)
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
        return Amounts(  # written out: the page about everybody does it for each of them
            self.hours + other.hours,
            self.cpu_hours + other.cpu_hours,
            self.memory_hours + other.memory_hours,
            self.gpu_hours + other.gpu_hours,
            self.disk if self.disk > other.disk else other.disk,
        )


def add_up(found: Collection[Amounts]) -> Amounts:
    """Add up many; far sooner than one to the other."""
    return Amounts(
        sum(each.hours for each in found),
        sum(each.cpu_hours for each in found),
        sum(each.memory_hours for each in found),
        sum(each.gpu_hours for each in found),
        max((each.disk for each in found), default=0.0),
    )


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


def _make_addition() -> Any:
    values: dict[str, Any] = {
        each: getattr(UsageDay, each) + bindparam(f"more_{each}") for each in SUMMED
    }
    disk = bindparam("more_disk", type_=Float)
    values["disk"] = case((UsageDay.disk < disk, disk), else_=UsageDay.disk)
    return update(UsageDay.__table__).where(UsageDay.id == bindparam("row")).values(values)


_ADDITION = _make_addition()


def add_to_day(session: Any, day: date, counted: Mapping[int, tuple[str, Amounts]]) -> None:
    """Add to the rows of a day what was counted: number of a person's row → name, amounts."""
    numbers = select(PersonKey.user_id, PersonKey.key).where(PersonKey.user_id.in_(counted))
    # A number comes back once a person is gone; the last key is that of whoever has it now.
    keys = dict(session.execute(numbers.order_by(PersonKey.id)).all())
    days = select(UsageDay.person, UsageDay.id).where(
        UsageDay.day == day, UsageDay.person.in_(keys.values())
    )
    known = dict(session.execute(days).all())
    more, new = [], []
    for number, key in keys.items():
        name, amounts = counted[number]
        found = {each: getattr(amounts, each) for each in COLUMNS}
        if key in known:
            more.append({"row": known[key], **{f"more_{each}": found[each] for each in COLUMNS}})
        else:
            new.append({"day": day, "person": key, "name": name, **found})
    # All at once: whoever writes to SQLite keeps the hub itself from it.
    connection = session.connection()
    if more:
        connection.execute(_ADDITION, more)
    if new:
        connection.execute(insert(UsageDay.__table__), new)
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


def read_people(session: Any, day: date) -> list[tuple[str, str, Amounts]]:
    """Return what everybody had on a day: key of a person, their name, amounts."""
    amounts = [getattr(UsageDay, name) for name in COLUMNS]
    rows = session.execute(
        select(UsageDay.person, UsageDay.name, *amounts).where(UsageDay.day == day)
    )
    return [(person, name, Amounts(*had)) for person, name, *had in rows]


def read_groups(session: Any) -> dict[str, list[str]]:
    """Return the keys of the members of each group, by the group's name."""
    query = _join_groups(select(orm.Group.name, PersonKey.key).select_from(PersonKey))
    found: dict[str, list[str]] = defaultdict(list)
    for group, person in session.execute(query):
        found[group].append(person)
    return found


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
