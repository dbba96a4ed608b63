"""Read whom the hub knows out of its database, whole and at one moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from jupyterhub import orm
from sqlalchemy import Text, func, literal_column, select
from sqlalchemy.exc import SQLAlchemyError

from mlhub.cleanup.evidence import Census, Clock
from mlhub.errors import EvidenceError
from mlhub.workspaces.gaps import list_gaps
from mlhub.workspaces.holder import DatabaseKey, PersonKey
from mlhub.workspaces.hub_database import ask_beside


async def take_census(factory: Callable[[], Any], listed_at: float, clock: Clock) -> Census:
    """Read everybody, in a session of its own and beside the event loop.

    Raises ``EvidenceError`` where the database does not answer.
    """
    try:
        return await ask_beside(factory, lambda session: _read(session, listed_at, clock))
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise EvidenceError(
            f"The hub's database does not answer ({reason}), so nothing is removed. The next pass"
            " asks again."
        ) from error


def _read(session: Any, listed_at: float, clock: Clock) -> Census:
    # One statement sees one moment. What is parsed is parsed later: a reader holds up writers.
    everybody = (
        select(orm.User.name, orm.Spawner.name, literal_column("spawners.state", Text))
        .select_from(orm.User)
        .outerjoin(orm.Spawner, orm.Spawner.user_id == orm.User.id)
    )
    read_at = clock()
    rows = session.execute(everybody).all()
    count = session.execute(select(func.count()).select_from(orm.User)).scalar_one()
    database = session.execute(select(DatabaseKey.key)).scalar() or ""
    keys = session.execute(select(PersonKey.key)).scalars().all()
    gaps = tuple(list_gaps(session))
    people: dict[str, dict[str, Mapping[str, Any]]] = {}
    for user, server, state in rows:
        servers = people.setdefault(user, {})
        if server is not None:
            servers[server] = _read_state(state)
    holders = frozenset(f"{database}.{key}" for key in keys)
    return Census(people, count, listed_at, read_at, holders, gaps)


def _read_state(text: str | None) -> Mapping[str, Any]:
    """Return what is kept of a server, as far as cleanup looks at it."""
    if not text or '"expires_at"' not in text:
        return {}
    expires_at = json.loads(text).get("expires_at")
    return {"expires_at": expires_at} if isinstance(expires_at, int) else {}
