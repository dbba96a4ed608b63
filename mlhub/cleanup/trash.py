"""The trash of a hub: what is in it, whose it is, until when, and how it comes back.

Invariants: what somebody sees and restores was made for them, not for whoever had their name
before. What comes back is a server of the person's again, at once, with as much time as a new one
would have; where that cannot be, it stays in the trash. Nothing is removed for good here that
nobody asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from jupyterhub.slugs import is_valid_safe_slug

from mlhub.errors import MLHubError, OptionsError, VolumeGoneError, WorkspaceError
from mlhub.identity import Identity
from mlhub.policy.expiry import begin_expiry
from mlhub.settings import Settings
from mlhub.texts import Text
from mlhub.workspaces.deletions import complete_deletion
from mlhub.workspaces.holder import Holder
from mlhub.workspaces.port import Backend, Kind, Reason, Recipient, Resource
from mlhub.workspaces.start import PolicyEnforcement

SETTING = "mlhub_trash"
DAY = 86_400
WHY = {
    Reason.DELETED: Text("deleted"),
    Reason.PERSON_DELETED: Text("the account was deleted"),
    Reason.EXPIRED: Text("expired"),
    Reason.NAME_TAKEN: Text("somebody else has the name now"),
    Reason.ORPHANED: Text("the hub knew no owner"),
    Reason.UNKNOWN: Text("not known"),
}
Check = Callable[[Any, str], Awaitable[None]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrashItem:
    """One thing in the trash. ``until`` is when it may be removed for good at the earliest, None
    where that is not known, or nothing removes it by itself; ``is_owners`` tells whether whoever
    has the name now is the one it was made for.
    """

    resource: Resource
    until: float | None
    is_owners: bool

    @property
    def name(self) -> str:
        """What it is restored and removed by."""
        return self.resource.name

    @property
    def why(self) -> str:
        """Why it is there, for people."""
        return WHY[self.resource.trashed_because]

    @property
    def trashed_at(self) -> datetime | None:
        """Since when it is there; None where that is not known."""
        return _read_time(self.resource.trashed_at)

    @property
    def expires_at(self) -> datetime | None:
        """When it may be removed for good."""
        return _read_time(self.until)

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "id": self.name,
            "user": self.resource.user,
            "server": self.resource.server or "",
            "is_owners": self.is_owners,
            "trashed_at": _write_time(self.trashed_at),
            "reason": str(self.resource.trashed_because) or "unknown",
            "until": _write_time(self.expires_at),
        }


class Trash:
    """List, restore and remove what is in the trash; ``app`` is JupyterHub."""

    def __init__(self, app: Any, settings: Settings, backend: Backend, hub: str) -> None:
        self.app, self.settings, self.backend, self.hub = app, settings, backend, hub

    async def list_own(self, user: Any) -> list[TrashItem]:
        """List what was made for a person, the latest first."""
        holder = Holder.of(user)
        found = _pick(await self.backend.list_resources(user.name))
        return [
            TrashItem(each, self.find_end(each), True)
            for each in found
            if holder.may_use(each.labels, each.created_at)
        ]

    async def list_all(self) -> list[TrashItem]:
        """List what is in the trash, whoever it was made for, the latest first."""
        found = _pick(await self.backend.list_resources())
        holders: dict[str, Holder | None] = {}
        return [
            TrashItem(each, self.find_end(each), self._is_owners(each, holders)) for each in found
        ]

    async def find_own(self, user: Any, name: str) -> TrashItem:
        """Find one thing that was made for a person; raise ``VolumeGoneError`` where there is
        none.
        """
        return _find(await self.list_own(user), name)

    async def find(self, name: str) -> TrashItem:
        """Find one thing, whoever it was made for; raise ``VolumeGoneError`` where there is
        none.
        """
        return _find(await self.list_all(), name)

    async def restore(
        self, item: TrashItem, user: Any, server: str, check: Check | None = None
    ) -> None:
        """Bring one thing back as a server of a person's. Raises ``WorkspaceError`` where that
        cannot be.

        ``check`` refuses names of servers that the person may not have.
        """
        _refuse_leaving(user)
        await _check_server(user, server, check)
        probe = await user.spawner.make_probe()
        expires_at = begin_expiry(probe.make_circumstances(counts_grant=False))
        identity, holder = Identity(self.hub, user.name, server), Holder.of(user)
        held = item.resource
        is_theirs = (held.user, held.server or "") == (identity.user, identity.server)
        is_plain = is_theirs and holder.may_use(held.labels, held.created_at)
        recipient = None if is_plain else Recipient(identity, holder.label)
        # What was deleted before must not go again, with what comes back.
        for each in {Identity(self.hub, held.user, held.server or ""), identity}:
            await complete_deletion(self.app.db, self.backend, each)
        await self.backend.restore(held, recipient)
        try:
            _refuse_leaving(user)
        except WorkspaceError:
            # Their account goes, and may have gone before this was theirs again.
            await self.backend.delete_workspace(identity, Reason.PERSON_DELETED)
            raise
        await self._make_server(user, server, expires_at)

    async def remove(self, item: TrashItem) -> None:
        """Remove one thing for good. Raises ``VolumeInUseError`` where something runs with it."""
        await self.backend.remove(item.resource)

    def find_end(self, resource: Resource) -> float | None:
        """Return when something may be removed for good at the earliest."""
        if not resource.trashed_at or not is_emptied(self.settings):
            return None
        return resource.trashed_at + self.settings.trash_retention_days * DAY

    def _is_owners(self, resource: Resource, holders: dict[str, Holder | None]) -> bool:
        if resource.user not in holders:
            user = self.app.users.get(resource.user)
            holders[resource.user] = Holder.of(user) if user is not None else None
        holder = holders[resource.user]
        return holder is not None and holder.may_use(resource.labels, resource.created_at)

    async def _make_server(self, user: Any, server: str, expires_at: int) -> None:
        spawner = user.get_or_create_spawner(server, server)
        if spawner.active:  # without a volume; the next start takes this one
            return
        if isinstance(spawner, PolicyEnforcement):
            # What was handed out has run its time; what may be chosen is for the next start.
            spawner.grant = replace(
                spawner.grant, handed_out=None, handed_out_by=None, expires_at=expires_at
            )
            spawner.orm_spawner.state = spawner.get_state()
        user.db.commit()
        try:
            await spawner.note_expiry()
        except MLHubError as error:  # the database holds
            log.warning("The new expiry of %s is not on its volume: %s", spawner._log_name, error)


def is_emptied(settings: Settings) -> bool:
    """Return True if the hub removes by itself what was in the trash for long enough."""
    return settings.is_cleanup_service_enabled and settings.cleanup_interval_seconds > 0


def _refuse_leaving(user: Any) -> None:
    if getattr(user, "is_leaving", False):
        raise WorkspaceError(Text("The person is being deleted, so nothing is restored for them."))


async def _check_server(user: Any, server: str, check: Check | None) -> None:
    if not server or server in user.orm_spawners:
        return
    if not is_valid_safe_slug(server):
        raise OptionsError(
            Text(
                "%(server)s cannot be a workspace's name. Write lowercase letters,"
                " digits and single hyphens between them, a letter first.",
                server=repr(server),
            )
        )
    if check is not None:
        await check(user, server)


def _pick(found: Iterable[Resource]) -> list[Resource]:
    trashed = [each for each in found if each.kind is Kind.VOLUME and each.trashed_at is not None]
    return sorted(trashed, key=lambda each: (-(each.trashed_at or 0), each.name))


def _find(items: Iterable[TrashItem], name: str) -> TrashItem:
    found = next((each for each in items if each.name == name), None)
    if found is None:
        raise VolumeGoneError(
            Text(
                "The trash does not hold this any more, or it is not yours: it was"
                " restored, or removed for good. Look at what the trash holds now."
            )
        )
    return found


def _read_time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _write_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
