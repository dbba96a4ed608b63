"""Workspaces that their owners share: with people, with groups, or by a link, for a limited time.

They are JupyterHub's own shares and share codes, so its REST API has them, too. JupyterHub removes
what has expired once an hour, and a share that came by a code never expires. Here both end in time,
and mlhub/hub/guests.py puts out within seconds who is inside.

Invariants: each share that is made here has an end. A link is shown once, and whoever comes by it
may enter as long as it would have been good.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import object_session
from tornado import web

from mlhub.errors import WorkspaceError
from mlhub.quantities import parse_days
from mlhub.texts import Text
from mlhub.workspaces.port_sharing import PortShare, is_let, list_given_ports, may_share_ports

MOST_DAYS = 365
MOST_SHARES = 100
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class GivenShare:
    """Who may enter a workspace, or a link to it. ``kind`` is "user", "group" or "link"; the
    ``name`` of a link is how it begins. ``until`` is None for ever.
    """

    number: int
    kind: str
    name: str
    until: datetime | None


@dataclass(frozen=True)
class SharedWorkspace:
    """A workspace of somebody else that is shared with a person; ``until`` is None for ever."""

    owner: str
    server: str
    title: str
    until: datetime | None
    url: str
    is_running: bool


def may_be_shared(spawner: Any) -> bool:
    """Return True if the policy lets the owner of a workspace share it."""
    return is_let(spawner, "sharing")


def shows_sharing(spawner: Any) -> bool:
    """Return True if its owner has something to do on the page that shares a workspace."""
    row = spawner.orm_spawner
    if may_be_shared(spawner) or may_share_ports(spawner):
        return True
    return bool(row.shares or row.share_codes or list_given_ports(object_session(row), row))


def can_share(handler: Any, owner: str, server: str) -> bool:
    """Return True if whoever asks a page may share a workspace: it is theirs, or a role says so.

    A token of the owner's opens no more than it opens itself.
    """
    if handler.current_user.name == owner:
        return may_run_in(handler, owner, server)
    return bool(handler.has_scope(f"shares!server={owner}/{server}"))


def may_run_in(handler: Any, owner: str, server: str) -> bool:
    """Return True if whoever asks may both enter a workspace and start it."""
    own = ("access:servers", "servers")
    return all(handler.has_scope(f"{scope}!server={owner}/{server}") for scope in own)


def find_shareable(handler: Any, owner: str, server: str) -> Any:
    """Find the spawner of a workspace that whoever asks may share."""
    user = handler.find_user(owner)
    if user is None or server not in user.orm_spawners:
        raise web.HTTPError(404, Text("There is no such workspace."))
    if not can_share(handler, owner, server):
        raise web.HTTPError(403, Text("Only its owner shares a workspace."))
    return user.get_spawner(server)


def list_given(db: Any, server: orm.Spawner) -> list[GivenShare]:
    """List who may enter a workspace because it is shared, and the links that are still good."""
    found = []
    for share in db.query(orm.Share).filter_by(spawner_id=server.id).order_by(orm.Share.id):
        whom = share.user or share.group
        if whom is not None and not share.expired:
            kind = "user" if share.user else "group"
            found.append(GivenShare(share.id, kind, whom.name, share.expires_at))
    codes = db.query(orm.ShareCode).filter_by(spawner_id=server.id)
    for code in codes.filter(orm.ShareCode.expires_at > utcnow(with_tz=False)):
        found.append(GivenShare(code.id, "link", f"{code.prefix}…", code.expires_at))
    return found


def list_received(user: Any, users: Any) -> list[SharedWorkspace]:
    """List the workspaces of others that are shared with a person or a group of theirs."""
    row = user.orm_user
    shares = [*row.shared_with_me, *(each for group in row.groups for each in group.shared_with_me)]
    found: dict[tuple[str, str], SharedWorkspace] = {}
    for share in shares:
        owner, server = share.owner, share.spawner
        if owner is None or server is None or owner.name == user.name or share.expired:
            continue
        held = users[owner.id]
        spawner = dict.get(held.spawners, server.name)
        title = (server.display_name or server.name) if server.name else ""
        found[owner.name, server.name] = SharedWorkspace(
            owner.name,
            server.name,
            title,
            share.expires_at,
            held.server_url(server.name),
            bool(spawner is not None and spawner.ready),
        )
    return [found[key] for key in sorted(found)]


def list_groups(handler: Any, spawner: Any) -> list[str]:
    """List the groups with which whoever asks may share a workspace: its owner's, for
    administrators all.
    """
    if handler.current_user.admin:
        return [name for (name,) in handler.db.query(orm.Group.name).order_by(orm.Group.name)]
    return sorted(group.name for group in spawner.user.orm_user.groups)


def find_whom(handler: Any, spawner: Any, name: str, group: str) -> Any:
    """Return the group, or the person, with whom somebody wants to share (rows of JupyterHub's).
    Raises ``WorkspaceError``.
    """
    if group:
        if group not in list_groups(handler, spawner):
            raise WorkspaceError(
                Text("You cannot share with the group %(group)s.", group=repr(group[:100]))
            )
        return orm.Group.find(handler.db, group)
    whom = orm.User.find(handler.db, handler.authenticator.normalize_username(name))
    if whom is None:
        raise WorkspaceError(
            f"There is nobody here called {name[:100]!r}." if name else "Enter a username."
        )
    return whom


def read_until(text: str) -> datetime:
    """Return the end of a share from the days that somebody typed. Raises ``WorkspaceError``."""
    try:
        days = float(parse_days(text.strip() or "7"))
    except ValueError:
        days = math.nan
    if not 0 < days <= MOST_DAYS:
        raise WorkspaceError(
            Text(
                "%(text)s is no number of days from 0.01 to %(most_days)s.",
                text=repr(text[:40]),
                most_days=MOST_DAYS,
            )
        )
    return utcnow(with_tz=False) + timedelta(days=days)


def give(db: Any, server: orm.Spawner, whom: Any, until: datetime) -> None:
    """Share a workspace with a person or a group (rows of JupyterHub's), or change until when.

    Raises ``WorkspaceError`` where it is theirs, or where it has ``MOST_SHARES`` already.
    """
    if whom is server.user:
        raise WorkspaceError(Text("This workspace is theirs already."))
    _check_number(db, server)
    share = orm.Share.grant(db, server, whom)
    share.expires_at = until
    db.commit()


def make_link(db: Any, server: orm.Spawner, until: datetime) -> str:
    """Return the code of a new link; nobody can read it again."""
    _check_number(db, server)
    scope = f"access:servers!server={server.user.name}/{server.name}"
    seconds = int((until - utcnow(with_tz=False)).total_seconds())
    _, code = orm.ShareCode.new(db, server, scopes=[scope], expires_in=max(1, seconds))
    return str(code)


def take_back(db: Any, server: orm.Spawner, kind: str, number: int) -> str:
    """End a share or a link; return the name of whose share it was, "" for a link or where it is
    gone already.

    Whoever came by a link has a share of their own, which stays.
    """
    row = orm.ShareCode if kind == "link" else orm.Share
    found = db.query(row).filter_by(spawner_id=server.id, id=number).one_or_none()
    if found is None:
        return ""
    name = "" if kind == "link" else (found.user or found.group).name
    db.delete(found)
    db.commit()
    return name


def accept(db: Any, code: str, person: orm.User) -> orm.Share:
    """Let a person in by a link, as long as that is good. Raises ``WorkspaceError``."""
    link = find_link(db, code)
    if link.owner is person:
        raise WorkspaceError(Text("This workspace is yours."))
    before = orm.Share.find(db, link.spawner, person)
    until = link.expires_at if before is None else before.expires_at
    share = link.exchange(person)
    # What was shared with them by name keeps its own end, where that is later.
    share.expires_at = None if until is None else max(until, link.expires_at)
    db.commit()
    return share


def find_link(db: Any, code: str) -> orm.ShareCode:
    """Return what a code is for. Raises ``WorkspaceError`` where it is good for nothing."""
    link = orm.ShareCode.find(db, code=code) if code else None
    if link is None or link.expired:
        raise WorkspaceError(
            Text("This link has expired or was taken back. Ask whoever sent it for another one.")
        )
    return link


async def start_sharing(app: Any) -> None:
    """End shares in time; ``app`` is JupyterHub."""
    app.share_ending = asyncio.create_task(_end_in_time(app))


async def _end_in_time(app: Any) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            orm.Share.purge_expired(app.db)
            PortShare.purge_expired(app.db)
        except SQLAlchemyError:
            app.db.rollback()
            app.log.exception("Shares that have expired could not be ended")


def _check_number(db: Any, server: orm.Spawner) -> None:
    if len(list_given(db, server)) >= MOST_SHARES:
        raise WorkspaceError(
            Text(
                "This workspace has %(most_shares)s shares and links. Take one back,"
                " or share it with a group.",
                most_shares=MOST_SHARES,
            )
        )
