"""All workspaces of all people, as rows: searched, sorted and cut to a page by the database.

Invariants: a page costs three statements, whatever number of people there are, and no person is
loaded for it who is not on the page; what runs is told by the hub's memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jupyterhub import orm
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Text,
    and_,
    cast,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from mlhub.policy.model import Person

PAGE_SIZE = 50
STATES = ("running", "stopped")
SORTS = ("owner", "image", "expires", "seen", "state")


@dataclass(frozen=True)
class Question:
    """Hold which workspaces are wanted, and in which order.

    ``search`` is part of a name of a person or workspace, or of an image; ``state`` is one of
    ``STATES``, or "" for both.
    """

    search: str = ""
    state: str = ""
    sort: str = "owner"
    is_descending: bool = False
    offset: int = 0
    limit: int = PAGE_SIZE


@dataclass(frozen=True)
class Row:
    """One workspace, as the database has it; ``image`` is "" where nobody chose one."""

    user_id: int
    owner: str
    is_admin: bool
    server: str
    title: str
    image: str
    expires_at: int | None
    last_activity: datetime | None
    is_running: bool


def read_page(db: Any, question: Question) -> tuple[list[Row], dict[str, Person], int]:
    """Return one page of workspaces, their owners by name, and how many there are in all."""
    rows, total = list_rows(db, question)
    if question.offset and not rows:  # the last page is gone since
        return read_page(db, replace(question, offset=0))
    return rows, list_people(db, rows), total


def list_rows(db: Any, question: Question) -> tuple[list[Row], int]:
    """Return one page of workspaces, and how many there are in all."""
    spawner, user = orm.Spawner, orm.User
    known = _Known(db.get_bind().dialect.name)
    wanted = and_(_was_used(), *_narrow(question, known))
    columns = (
        user.id,
        user.name,
        user.admin,
        spawner.name,
        spawner.display_name,
        known.image,
        known.expires_at,
        spawner.last_activity,
        spawner.server_id.is_not(None),
    )
    found = db.execute(
        select(*columns)
        .select_from(spawner)
        .join(user, spawner.user_id == user.id)
        .where(wanted)
        .order_by(*_order(question, known))
        .offset(question.offset)
        .limit(question.limit)
    )
    rows = [_make_row(*values) for values in found]
    if len(rows) < question.limit and (rows or not question.offset):
        return rows, question.offset + len(rows)  # the last page says how many there are
    source = select(func.count()).select_from(spawner).join(user, spawner.user_id == user.id)
    return rows, db.execute(source.where(wanted)).scalar_one()


def list_people(db: Any, rows: Iterable[Row]) -> dict[str, Person]:
    """Return the owners of a page's workspaces by name, as the policy knows them."""
    owners = {row.user_id: row for row in rows}
    groups: dict[int, list[str]] = defaultdict(list)
    member = orm.user_group_map.c
    found = db.execute(
        select(member.user_id, orm.Group.name)
        .join(orm.Group, orm.Group.id == member.group_id)
        .where(member.user_id.in_(owners))
    )
    for user_id, group in found:
        groups[user_id].append(group)
    return {
        row.owner: Person(row.owner, tuple(groups[user_id]), row.is_admin)
        for user_id, row in owners.items()
    }


class _Known:
    """What a spawner's state holds, as columns."""

    def __init__(self, dialect: str) -> None:
        state = self._read("state", dialect)
        expires_at = cast(state["expires_at"].as_string(), BigInteger)  # beyond 2038
        self.expires_at: ColumnElement[Any] = func.nullif(expires_at, 0)
        # What it was started from; what was chosen is all that an older version knew.
        self.image: ColumnElement[Any] = func.coalesce(
            state["granted_image"].as_string(),
            state[("accepted_options", "image")].as_string(),
            self._read("user_options", dialect)["image"].as_string(),
        )

    @staticmethod
    def _read(name: str, dialect: str) -> Any:
        # By its name: JupyterHub's type of that column would have the statement compiled each time.
        text: ColumnElement[Any] = literal_column(f"spawners.{name}", Text)
        # PostgreSQL keeps it as text and takes it for nothing else by itself; SQLite's own CAST
        # would make a number of it.
        return cast(text, JSON) if dialect == "postgresql" else type_coerce(text, JSON)


def _was_used() -> ColumnElement[bool]:
    """Leave out default workspaces that nobody has ever started: everybody has such a row."""
    spawner = orm.Spawner
    return or_(
        spawner.name != "",
        spawner.server_id.is_not(None),
        spawner.started.is_not(None),
        spawner.last_activity.is_not(None),
    )


def _narrow(question: Question, known: _Known) -> list[ColumnElement[bool]]:
    spawner, wanted = orm.Spawner, []
    if question.search:
        places = (orm.User.name, spawner.name, spawner.display_name, known.image)
        wanted.append(or_(*(each.icontains(question.search, autoescape=True) for each in places)))
    if question.state:
        is_running = spawner.server_id.is_not(None)
        wanted.append(is_running if question.state == "running" else ~is_running)
    return wanted


def _order(question: Question, known: _Known) -> list[Any]:
    """Return the order; what has no value comes last either way, and names decide the rest."""
    spawner = orm.Spawner
    columns: dict[str, Any] = {
        "owner": orm.User.name,
        "image": known.image,
        "expires": known.expires_at,
        "seen": spawner.last_activity,
        "state": spawner.server_id.is_(None),
    }
    column = columns[question.sort]
    first = column.desc() if question.is_descending else column.asc()
    return [column.is_(None), first, orm.User.name, spawner.name]


def _make_row(
    user_id: int,
    owner: str,
    is_admin: bool,
    server: str,
    title: str | None,
    image: str | None,
    expires_at: int | None,
    last_activity: datetime | None,
    is_running: bool,
) -> Row:
    return Row(
        user_id,
        owner,
        bool(is_admin),
        server,
        title or server,
        image or "",
        expires_at,
        last_activity,
        bool(is_running),
    )
