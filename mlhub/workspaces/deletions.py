"""Deletions that were accepted and are not done yet, written down so that the end of a hub does not
end them.

The place where workspaces run may fail while something is deleted, and a hub may be killed. Whoever
has the name next must not get what was deleted, so it goes before the name is used again
(``complete_deletion``), and else when a hub starts.

Invariants: only what was there when the deletion was asked for goes, and its data to the trash;
what was made since is left alone.
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from sqlalchemy import Float, Integer, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from mlhub.identity import Identity
from mlhub.workspaces.port import Backend, Kind, Reason

# Places tell when something was made in whole seconds.
TOLERANCE_SECONDS = 2.0
_ORDER = (Kind.WORKSPACE, Kind.VOLUME)


class DueDeletion(orm.Base):
    """One deletion; ``asked_at`` is in seconds since the epoch."""

    __tablename__ = "mlhub_deletions"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    hub: Mapped[str] = mapped_column(Unicode(63))
    user: Mapped[str] = mapped_column(Unicode(255), index=True)
    server: Mapped[str] = mapped_column(Unicode(255))
    reason: Mapped[str] = mapped_column(Unicode(32))
    asked_at: Mapped[float] = mapped_column(Float)

    @property
    def identity(self) -> Identity:
        """Which workspace is to go."""
        return Identity(self.hub, self.user, self.server)


def note_deletion(db: Any, identity: Identity, reason: Reason, now: float) -> None:
    """Write down a deletion, in the transaction that is open."""
    db.add(
        DueDeletion(
            hub=identity.hub,
            user=identity.user,
            server=identity.server,
            reason=str(reason),
            asked_at=now,
        )
    )


def forget_deletion(db: Any, identity: Identity) -> None:
    """Forget the deletion of a workspace, which is done."""
    for row in _find(db, identity):
        db.delete(row)
    db.commit()


def list_deletions(db: Any) -> list[Identity]:
    """List the workspaces whose deletion is due."""
    return sorted({row.identity for row in db.query(DueDeletion)}, key=str)


async def complete_deletion(db: Any, backend: Backend, identity: Identity) -> None:
    """Do what is left of the deletion of a workspace, if one is due. Raises ``BackendError`` where
    the place fails; then it stays due.
    """
    rows = _find(db, identity)
    if not rows:
        return
    asked_at, reason = max((row.asked_at, Reason(row.reason)) for row in rows)
    resources = await backend.list_resources(identity.user)
    found = [
        each
        for each in resources
        if each.kind is not Kind.NETWORK
        and each.server == identity.server
        and identity.owns(each.labels)
        and each.trashed_at is None
        and each.created_at <= asked_at + TOLERANCE_SECONDS
    ]
    for each in sorted(found, key=lambda each: _ORDER.index(each.kind)):
        await backend.remove(each, reason)
    if not await backend.list_workspaces(identity.user):
        for each in resources:
            if each.kind is Kind.NETWORK:  # it stays where something starts in it just now
                await backend.remove(each, reason)
    forget_deletion(db, identity)


def _find(db: Any, identity: Identity) -> list[DueDeletion]:
    return list(
        db.query(DueDeletion).filter_by(
            hub=identity.hub, user=identity.user, server=identity.server
        )
    )
