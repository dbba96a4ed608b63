"""Notice when somebody loses a group or a role, and with it perhaps the way into somebody else's
workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyterhub import orm
from sqlalchemy import event
from sqlalchemy.orm.attributes import PASSIVE_NO_INITIALIZE, get_history

# Either side of a membership may be the one that the hub has loaded.
_SIDES = {
    orm.User: ("groups", "roles"),
    orm.Group: ("users", "roles"),
    orm.Role: ("users", "groups", "scopes"),
}


def watch_memberships(db: Any, note_access_revoked: Callable[[], None]) -> None:
    """Call ``note_access_revoked`` whenever the hub writes that somebody has a group or a role
    less, or that a role opens less.
    """

    def look(session: Any, *_: Any) -> None:
        if any(isinstance(row, orm.Group | orm.Role) for row in session.deleted) or any(
            _has_less(row) for row in session.dirty
        ):
            note_access_revoked()

    event.listen(db, "before_flush", look)


def _has_less(row: Any) -> bool:
    # Nothing is loaded for it: what was not loaded was not changed either.
    return any(
        get_history(row, side, PASSIVE_NO_INITIALIZE).deleted for side in _SIDES.get(type(row), ())
    )
