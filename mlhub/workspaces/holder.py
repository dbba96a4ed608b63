"""Who holds a name now, and what that name has left behind for them.

Invariants: what was made for one person is never another's because a name is taken again.

A name comes back, and so does the number of a row in the hub's database. So each row of a person
gets a key that does not, together with the row; it is written on what is made for that person
(``mlhub.user_id``). Keys stay when people go: that is how a database tells what somebody had who
held the name before.

Two kinds of things carry no key of this database, and are used again where nobody else can be
meant:

- Made by a version without keys: by whoever held the name when it was made, which is this person
  only if they were there.
- Made under another database, which was lost: there the name is all there is to tell people by.
  The first person of that name in this database gets it, nobody after them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jupyterhub import orm
from sqlalchemy import Boolean, DateTime, Integer, Unicode, event, insert
from sqlalchemy.orm import Mapped, mapped_column

LABEL_PERSON = "mlhub.user_id"
KEPT_ASIDE = (
    "The volume %s was made for somebody else who was %r before. It is in the trash now; whoever "
    "has the name now begins without it."
)
# Places tell when something was made in whole seconds; some databases round likewise.
TOLERANCE = timedelta(seconds=2)


class PersonKey(orm.Base):
    """The key of one row of ``users``, and what that row was when it was made. JupyterHub makes the
    table at its start.
    """

    __tablename__ = "mlhub_people"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(Unicode(32), unique=True)
    user_id: Mapped[int] = mapped_column(
        Integer, index=True
    )  # no foreign key: this row outlives that one
    name: Mapped[str] = mapped_column(Unicode(255), index=True)
    created: Mapped[datetime | None] = mapped_column(DateTime)


class DatabaseKey(orm.Base):
    """The key of this database, and whether everybody who was ever in it has one."""

    __tablename__ = "mlhub_database"

    key: Mapped[str] = mapped_column(Unicode(32), primary_key=True)
    is_complete: Mapped[bool] = mapped_column(Boolean)


@dataclass(frozen=True)
class Holder:
    """The person who holds a name. Pure: no I/O once made."""

    database: str
    key: str
    since: datetime | None
    is_first: bool
    is_database_complete: bool

    @classmethod
    def of(cls, user: Any) -> Holder:
        """Look up a person of JupyterHub's."""
        database = ensure_keys(user.db)
        row = _find(user.db, user)
        first = (
            user.db.query(PersonKey.key)
            .filter(PersonKey.name == user.name)
            .order_by(PersonKey.id)
            .first()
        )
        return cls(
            database.key,
            row.key,
            user.created,
            first is not None and first[0] == row.key,
            database.is_complete,
        )

    @property
    def label(self) -> str:
        """What stands on things that are made for this person; a word on Kubernetes, too."""
        return f"{self.database}.{self.key}"

    def may_use(self, labels: Mapping[str, str] | None, made_at: float) -> bool:
        """Return True if what carries this person's name was made for them; ``made_at`` is in
        seconds since the epoch.
        """
        made_for = (labels or {}).get(LABEL_PERSON, "")
        if made_for.startswith(f"{self.database}."):
            return made_for == self.label
        if not made_for and (
            self.since is None
            or made_at >= (self.since.replace(tzinfo=UTC) - TOLERANCE).timestamp()
        ):
            return True
        return self.is_first and (bool(made_for) or self.is_database_complete)


@dataclass(frozen=True)
class Return:
    """How somebody whom the database does not know comes back: by the ``key`` that stands on what
    they have, by their name alone where that is "", or not at all, for ``reason``.
    """

    key: str = ""
    reason: str = ""


def judge_return(db: Any, name: str, labels: Iterable[str]) -> Return:
    """Judge whether an unknown person may be made of what carries their name. ``labels`` are the
    ``Holder.label`` of it, "" where an older version made it.

    Whoever was deleted stays so, and nobody gets what may be of two.
    """
    database = ensure_keys(db)
    own = {label for label in labels if label.startswith(f"{database.key}.")}
    others = {label for label in labels if label and label not in own}
    keys = {label.partition(".")[2] for label in own}
    if db.query(PersonKey.key).filter(PersonKey.key.in_(keys)).first():
        return Return(reason="The person was deleted.")
    databases = {label.partition(".")[0] for label in others}
    if len(keys) > 1 or (keys and others) or len(databases) < len(others):
        return Return(reason="Several people had that name.")
    if keys:  # this database gave that key, before an older state of it came back
        return Return(key=keys.pop())
    if db.query(PersonKey.key).filter(PersonKey.name == name).first():
        return Return(reason="Somebody else has had that name in this database.")
    return Return()


def keep_key(db: Any, user: Any, key: str) -> None:
    """Have a person (``orm.User``) who is known again keep the key of before."""
    row = _find(db, user)
    row.key = key
    db.commit()


def ensure_keys(db: Any) -> DatabaseKey:
    """Make the keys that an older version's database lacks, and return the database's own."""
    database = db.query(DatabaseKey).first()
    if database is not None:
        return database
    known = {user_id for (user_id,) in db.query(PersonKey.user_id)}
    lacking = [user for user in db.query(orm.User) if user.id not in known]
    database = DatabaseKey(key=secrets.token_hex(6), is_complete=not lacking)
    db.add(database)
    db.add_all(PersonKey(**_describe(user)) for user in lacking)
    db.commit()
    return database


def _find(db: Any, user: Any) -> PersonKey:
    """Find the key of a row, or make one; a row that only has the number of another one is somebody
    else's.
    """
    for row in (
        db.query(PersonKey).filter(PersonKey.user_id == user.id).order_by(PersonKey.id.desc())
    ):
        is_as_old = row.created == user.created or (
            row.created and user.created and abs(row.created - user.created) <= TOLERANCE
        )
        if row.name == user.name and is_as_old:
            return row
    row = PersonKey(
        **_describe(user)
    )  # of a database that an older version, or another program, has written meanwhile
    db.add(row)
    db.commit()
    return row


def _describe(user: Any) -> dict[str, Any]:
    return {
        "key": secrets.token_hex(8),
        "user_id": user.id,
        "name": user.name,
        "created": user.created,
    }


@event.listens_for(orm.User, "after_insert")
def _make_key(mapper: Any, connection: Any, user: orm.User) -> None:
    connection.execute(insert(PersonKey).values(**_describe(user)))
