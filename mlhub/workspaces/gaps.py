"""The times that this hub's database knows nothing of.

A database that was lost, or that came back from a backup, does not know what was made since. So the
hub writes down, as long as it runs, until when the database has seen everything (``note_seen``).
When a hub starts, the time from then to now is a gap: what carries this hub's labels and was made
in it may belong to people and servers that the database never heard of, and is no orphan.

A gap is forgotten once all that was found in it is known again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub import orm
from sqlalchemy import Float, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

SEEN_SECONDS = 60.0  # how often it is written down
# Clocks of a hub and of the place where workspaces run differ, and places tell whole seconds.
TOLERANCE_SECONDS = 60.0


class DatabaseSeen(orm.Base):
    """Until when the database has seen everything, in seconds since the epoch: one row."""

    __tablename__ = "mlhub_seen"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)


class DatabaseGap(orm.Base):
    """One gap that is not accounted for."""

    __tablename__ = "mlhub_gaps"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    began_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float] = mapped_column(Float)


@dataclass(frozen=True)
class Gap:
    """A time that the database knows nothing of, in seconds since the epoch."""

    began_at: float
    ended_at: float

    def covers(self, made_at: float) -> bool:
        """Return True if something was made in it."""
        return self.began_at <= made_at <= self.ended_at


def note_seen(db: Any, now: float) -> None:
    """Write down that the database has seen everything until now."""
    db.merge(DatabaseSeen(id=1, at=now))
    db.commit()


def open_gap(db: Any, now: float) -> Gap:
    """Begin the time of a hub: write down the gap before it, which lasts until it is closed.

    A database of an older version was last used when somebody last did something; a new one has
    seen nothing.
    """
    seen = db.get(DatabaseSeen, 1)
    began_at = seen.at if seen is not None else _read_last_use(db)
    gap = Gap(began_at - TOLERANCE_SECONDS, now + TOLERANCE_SECONDS)
    db.add(DatabaseGap(began_at=gap.began_at, ended_at=gap.ended_at))
    note_seen(db, now)
    return gap


def list_gaps(db: Any) -> list[Gap]:
    """List the gaps that are not accounted for."""
    return [Gap(row.began_at, row.ended_at) for row in db.query(DatabaseGap)]


def close_gaps(db: Any, made_at: list[float]) -> None:
    """Forget the gaps in which nothing was made of what is still unknown."""
    for row in db.query(DatabaseGap):
        if not any(Gap(row.began_at, row.ended_at).covers(each) for each in made_at):
            db.delete(row)
    db.commit()


def _read_last_use(db: Any) -> float:
    moments: list[datetime | None] = [
        db.query(func.max(table.last_activity)).scalar() for table in (orm.User, orm.Spawner)
    ]
    return max(
        (moment.replace(tzinfo=UTC).timestamp() for moment in moments if moment), default=0.0
    )
