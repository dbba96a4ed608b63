"""Apps: ports that their owners publish under a title and an address of the hub's.

Whom an app is for is what its port's shares say (port_sharing.py): publishing opens nothing to
anybody. Beside its title it has a command that starts it again when it has died, and may let those
whom it is for start the workspace.

Invariants: an app holds for as long as the policy lets its owner publish. It goes with the
workspace. An address is made of the owner's name and the title, and is that of one app.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jupyterhub import orm
from jupyterhub.slugs import is_valid_display_name
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import Boolean, ForeignKey, Integer, Unicode, UniqueConstraint, event
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from mlhub.errors import WorkspaceError
from mlhub.texts import Text
from mlhub.workspaces.port_sharing import (
    ReceivedPort,
    find_port_url,
    is_let,
    list_received_ports,
    may_share_ports,
)
from mlhub.workspaces.server_names import make_server_name
from mlhub.workspaces.tools import ToolLink

MOST_APPS = 20
MOST_TITLE = 60
MOST_COMMAND = 1000


class PublishedApp(orm.Base):
    """A port that is an app. JupyterHub makes the table at its start."""

    __tablename__ = "mlhub_published_apps"
    # The number of one that is gone is on a page that somebody still has open.
    __table_args__ = (UniqueConstraint("spawner_id", "port"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    spawner_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("spawners.id", ondelete="CASCADE"), index=True
    )
    port: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Unicode(30), index=True)
    title: Mapped[str] = mapped_column(Unicode(MOST_TITLE))
    command: Mapped[str] = mapped_column(Unicode(MOST_COMMAND))
    starts: Mapped[bool] = mapped_column(Boolean)

    spawner: Mapped[orm.Spawner] = relationship(orm.Spawner)


def may_publish(spawner: Any) -> bool:
    """Return True if the policy, as it is now, lets the owner of a workspace publish apps."""
    return may_share_ports(spawner) and is_let(spawner, "publishing")


def publish(
    db: Any, server: orm.Spawner, port: int, title: str, command: str, *, starts: bool
) -> PublishedApp:
    """Make an app of a port, or change it. Raises ``WorkspaceError``."""
    title = " ".join(title.split())
    name = _make_name(title)
    if len(command) > MOST_COMMAND or not command.isprintable():
        raise WorkspaceError(
            Text(
                "A command is one line of at most %(most)s characters. Put a longer one into a"
                " file, and run that.",
                most=MOST_COMMAND,
            )
        )
    other = find_app(db, server.user, name)
    row = find_app_at(db, server, port)
    if other is not None and other is not row:
        raise WorkspaceError(
            Text(
                "The app %(what)s at port %(port)s has this address already. Choose another title.",
                what=repr(other.title),
                port=other.port,
            )
        )
    if row is None:
        if db.query(PublishedApp).filter_by(spawner_id=server.id).count() >= MOST_APPS:
            raise WorkspaceError(
                Text("This workspace has %(most)s apps. Take one back first.", most=MOST_APPS)
            )
        row = PublishedApp(spawner_id=server.id, port=port)
        db.add(row)
    row.name, row.title, row.command, row.starts = name, title, command, starts
    db.commit()
    return row


def _make_name(title: str) -> str:
    """Make the last part of an app's address of its title."""
    if not title or len(title) > MOST_TITLE:
        raise WorkspaceError(
            Text("The title of an app is a text of 1 to %(most)s characters.", most=MOST_TITLE)
        )
    if not is_valid_display_name(title):
        raise WorkspaceError(
            Text("%(title)s has characters that cannot be seen. Leave them out.", title=repr(title))
        )
    name = make_server_name(title)
    if not name:
        raise WorkspaceError(
            Text(
                "“%(typed)s” has no letter or digit that can stand in an address. Add one.",
                typed=title,
            )
        )
    return name


def take_back_app(db: Any, server: orm.Spawner, number: int) -> PublishedApp | None:
    """Make an app a mere port again; return which it was, None where it is gone already."""
    row: PublishedApp | None = (
        db.query(PublishedApp).filter_by(spawner_id=server.id, id=number).one_or_none()
    )
    if row is not None:
        db.delete(row)
        db.commit()
    return row


def find_app(db: Any, owner: orm.User, name: str) -> PublishedApp | None:
    """Find an app of a person's by the last part of its address."""
    rows = db.query(PublishedApp).join(orm.Spawner, orm.Spawner.id == PublishedApp.spawner_id)
    found: PublishedApp | None = rows.filter(
        orm.Spawner.user_id == owner.id, PublishedApp.name == name
    ).first()
    return found


def find_app_at(db: Any, server: orm.Spawner, port: int) -> PublishedApp | None:
    """Find the app that a port of a workspace is."""
    found: PublishedApp | None = (
        db.query(PublishedApp).filter_by(spawner_id=server.id, port=port).one_or_none()
    )
    return found


def list_apps(db: Any, server: orm.Spawner) -> list[PublishedApp]:
    """List the apps of a workspace."""
    return list(db.query(PublishedApp).filter_by(spawner_id=server.id).order_by(PublishedApp.port))


def link_apps(spawner: Any) -> tuple[ToolLink, ...]:
    """List the buttons for the apps of a workspace that runs."""
    row = spawner.orm_spawner
    apps = list_apps(object_session(row), row)
    return tuple(
        ToolLink(each.title, find_port_url(spawner, each.port))
        for each in apps
        if may_publish(spawner)
    )


def make_address(base_url: str, owner: orm.User, app: PublishedApp) -> str:
    """Return the path of an app's page; ``base_url`` is the hub's own prefix."""
    return str(url_path_join(base_url, "apps", url_escape_path(owner.name), app.name))


def list_ports_and_apps(user: Any, users: Any, base_url: str) -> list[ReceivedPort]:
    """List the ports of others' workspaces that are open to a person or a group of theirs, with
    what those are called that are apps.
    """
    db: Any = object_session(user.orm_user)
    found = []
    for port in list_received_ports(user, users):
        owner = users[port.owner]
        spawner = owner.get_spawner(port.server)
        app = find_app_at(db, spawner.orm_spawner, port.port)
        if app is not None and may_publish(spawner):
            address = make_address(base_url, owner.orm_user, app)
            port = replace(port, app=app.title, app_url=address, starts=app.starts)
        found.append(port)
    return found


@event.listens_for(orm.Spawner, "before_delete")
def _remove_of_server(mapper: Any, connection: Any, server: orm.Spawner) -> None:
    # By hand too: not every database enforces foreign keys, and a number may come back.
    connection.execute(PublishedApp.__table__.delete().where(PublishedApp.spawner_id == server.id))
