"""Ports of workspaces that their owners open, one by one, to people and groups for a limited time.

JupyterHub's shares are of whole servers, and its scopes know no ports: these are rows of our own.

Invariants: each has an end. It opens that port alone (mlhub/tools), for as long as the policy lets
its owner share ports, and is no way into the workspace. It goes with the workspace, the person and
the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy import DateTime, ForeignKey, Integer, Unicode, event, or_
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from mlhub.errors import MLHubError, WorkspaceError
from mlhub.texts import Text
from mlhub.workspaces.spawner import find_workspace
from mlhub.workspaces.tools import find_declared, may_have_tools

MOST_SHARES = 100


class PortShare(orm.Expiring, orm.Base):
    """A port that is open to a person or a group. JupyterHub makes the table at its start."""

    __tablename__ = "mlhub_port_shares"
    # The number of one that is gone is on a page that somebody still has open.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    spawner_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("spawners.id", ondelete="CASCADE"), index=True
    )
    port: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[int | None] = mapped_column(
        Integer, ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    group_id: Mapped[int | None] = mapped_column(
        Integer, ForeignKey("groups.id", ondelete="CASCADE"), index=True
    )
    made_by: Mapped[str] = mapped_column(Unicode(255))
    expires_at: Mapped[datetime] = mapped_column(DateTime)

    spawner: Mapped[orm.Spawner] = relationship(orm.Spawner)
    user: Mapped[orm.User | None] = relationship(orm.User)
    group: Mapped[orm.Group | None] = relationship(orm.Group)


@dataclass(frozen=True)
class GivenPort:
    """To whom a port is open; ``kind`` is "user" or "group"."""

    number: int
    port: int
    kind: str
    name: str
    until: datetime


@dataclass(frozen=True)
class ReceivedPort:
    """A port of somebody else's workspace that is open to a person; ``name`` is what the site calls
    the program there, "" where it names none.

    ``app`` is the title of what is published there, "" for nothing; ``starts`` says whether its
    page, at ``app_url``, starts the workspace.
    """

    owner: str
    server: str
    title: str
    port: int
    name: str
    until: datetime
    url: str
    is_running: bool
    app: str = ""
    app_url: str = ""
    starts: bool = False


def is_let(spawner: Any, *flags: str) -> bool:
    """Return True if all these flags of the policy, as it is now, hold for the owner of a
    workspace; False where the policy cannot be read.
    """
    workspace = find_workspace(spawner)
    if workspace is None:  # the policy says nothing about a spawner class of the site's own
        return False
    try:
        person = workspace.make_person()
        return all(workspace.site.policy.find_flag(person, flag) for flag in flags)
    except MLHubError:
        return False


def may_share_ports(spawner: Any) -> bool:
    """Return True if the policy, as it is now, lets the owner of a workspace share its ports."""
    workspace = find_workspace(spawner)
    return (
        workspace is not None
        and may_have_tools(workspace)
        and is_let(spawner, "tools", "port_sharing")
    )


def give_port(
    db: Any, server: orm.Spawner, port: int, whom: Any, until: datetime, by: str
) -> PortShare:
    """Open a port to a person or a group (rows of JupyterHub's), or change until when.

    Raises ``WorkspaceError`` where the workspace is theirs, or has ``MOST_SHARES`` already.
    """
    if whom is server.user:
        raise WorkspaceError(Text("This workspace is theirs already."))
    rows = db.query(PortShare).filter_by(spawner_id=server.id)
    key = {"user_id" if isinstance(whom, orm.User) else "group_id": whom.id}
    row: PortShare | None = rows.filter_by(port=port, **key).first()
    if row is None:
        if rows.count() >= MOST_SHARES:
            raise WorkspaceError(
                Text(
                    "Ports of this workspace are shared %(most_shares)s times. Take one"
                    " back, or share with a group.",
                    most_shares=MOST_SHARES,
                )
            )
        row = PortShare(spawner_id=server.id, port=port, **key)
        db.add(row)
    row.made_by, row.expires_at = by, until
    db.commit()
    return row


def list_given_ports(db: Any, server: orm.Spawner) -> list[GivenPort]:
    """List to whom which ports of a workspace are open."""
    rows = db.query(PortShare).filter_by(spawner_id=server.id)
    return [describe(row) for row in _pick_good(rows).order_by(PortShare.port, PortShare.id)]


def describe(row: PortShare) -> GivenPort:
    """Describe a row for pages and programs."""
    whom: Any = row.user or row.group
    kind = "user" if row.user is not None else "group"
    return GivenPort(row.id, row.port, kind, whom.name, row.expires_at)


def tell_port(given: GivenPort) -> dict[str, Any]:
    """Return what the record tells of a share: which port, and to whom."""
    return {"port": given.port, "to" if given.kind == "user" else "to_group": given.name}


def take_back_port(db: Any, server: orm.Spawner, number: int) -> GivenPort | None:
    """End a share of a port; return which it was, None where it is gone already."""
    row = db.query(PortShare).filter_by(spawner_id=server.id, id=number).one_or_none()
    if row is None:
        return None
    found = describe(row)
    db.delete(row)
    db.commit()
    return found


def find_end(db: Any, person: orm.User, server: orm.Spawner, port: int) -> datetime | None:
    """Return until when a port is open to a person, by name or by a group; None where it is not."""
    rows = db.query(PortShare.expires_at).filter_by(spawner_id=server.id, port=port)
    return max((end for (end,) in _pick_theirs(rows, person)), default=None)


def list_triples(db: Any, servers: Iterable[int]) -> set[tuple[int, int, int]]:
    """List which ports of these servers are open to whom, as (server, person, port)."""
    rows = _pick_good(db.query(PortShare)).filter(PortShare.spawner_id.in_(list(servers)))
    return {
        (row.spawner_id, person.id, row.port)
        for row in rows
        for person in ([row.user] if row.user is not None else row.group.users if row.group else [])
    }


def list_received_ports(user: Any, users: Any) -> list[ReceivedPort]:
    """List the ports of others' workspaces that are open to a person or a group of theirs."""
    db: Any = object_session(user.orm_user)
    found: dict[tuple[str, str, int], ReceivedPort] = {}
    for row in _pick_theirs(db.query(PortShare), user.orm_user).order_by(PortShare.expires_at):
        server = row.spawner
        held = users[server.user.id]
        if held.name != user.name and may_share_ports(held.get_spawner(server.name)):
            found[held.name, server.name, row.port] = _describe_received(row, held)
    return [found[key] for key in sorted(found)]


def find_port_url(spawner: Any, port: int) -> str:
    """Return the address of a port of a workspace, as the site declares it there."""
    tool = find_declared(spawner, port)
    place = tool.place if tool is not None else f"{port}/"
    return f"{spawner.user.server_url(spawner.name)}tools/{place}"


def _describe_received(row: PortShare, owner: Any) -> ReceivedPort:
    server = row.spawner
    spawner = owner.get_spawner(server.name)
    tool = find_declared(spawner, row.port)
    return ReceivedPort(
        owner.name,
        server.name,
        (server.display_name or server.name) if server.name else "",
        row.port,
        tool.name if tool else "",
        row.expires_at,
        find_port_url(spawner, row.port),
        bool(spawner.ready),
    )


def _pick_good(rows: Any) -> Any:
    return rows.filter(PortShare.expires_at > utcnow(with_tz=False))


def _pick_theirs(rows: Any, person: orm.User) -> Any:
    groups = [group.id for group in person.groups]
    theirs = or_(PortShare.user_id == person.id, PortShare.group_id.in_(groups))
    return _pick_good(rows).filter(theirs)


@event.listens_for(orm.Spawner, "before_delete")
def _remove_of_server(mapper: Any, connection: Any, server: orm.Spawner) -> None:
    # By hand too: not every database enforces foreign keys, and a number may come back.
    connection.execute(PortShare.__table__.delete().where(PortShare.spawner_id == server.id))


@event.listens_for(orm.User, "before_delete")
def _remove_of_person(mapper: Any, connection: Any, person: orm.User) -> None:
    connection.execute(PortShare.__table__.delete().where(PortShare.user_id == person.id))


@event.listens_for(orm.Group, "before_delete")
def _remove_of_group(mapper: Any, connection: Any, group: orm.Group) -> None:
    connection.execute(PortShare.__table__.delete().where(PortShare.group_id == group.id))
