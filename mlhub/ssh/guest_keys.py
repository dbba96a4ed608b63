"""Keys that open exactly one workspace, and the links by which somebody without an account
registers one.

Invariants: such a key is listed among the keys of the workspace's owner, who may remove it, and
opens that one workspace alone. A link works once and until it expires, and only its hash is kept.
Both go with the workspace.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from jupyterhub import orm
from sqlalchemy import DateTime, ForeignKey, Integer, Unicode, event
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mlhub.errors import SSHKeyError
from mlhub.ssh.keys import KeyLimit, SshKey, SshKeys
from mlhub.ssh.public_keys import parse_public_key
from mlhub.texts import Text

MAX_LINKS = 50
GONE = "This link has expired or was used already. Ask whoever sent it for another one."


class KeyLink(orm.Base):
    """A link by which one key may be registered for one workspace. JupyterHub makes the table at
    its start.
    """

    __tablename__ = "mlhub_ssh_key_links"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    spawner_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("spawners.id", ondelete="CASCADE"), index=True
    )
    hashed: Mapped[str] = mapped_column(Unicode(64), unique=True)
    made_by: Mapped[str] = mapped_column(Unicode(255))
    expires_at: Mapped[datetime] = mapped_column(DateTime)

    spawner: Mapped[orm.Spawner] = relationship(orm.Spawner)


def make_link(db: Any, server: orm.Spawner, by: str, now: datetime, days: float) -> str:
    """Return the code of a new link; nobody can read it again. Raises ``SSHKeyError``."""
    db.query(KeyLink).filter(KeyLink.expires_at <= now).delete()
    if db.query(KeyLink).filter_by(spawner_id=server.id).count() >= MAX_LINKS:
        raise SSHKeyError(
            Text(
                "There are %(max_links)s links for this workspace. Take one back first.",
                max_links=MAX_LINKS,
            )
        )
    code = secrets.token_urlsafe(32)
    until = now + timedelta(days=days)
    db.add(KeyLink(spawner_id=server.id, hashed=_hash(code), made_by=by, expires_at=until))
    db.commit()
    return code


def find_link(db: Any, code: str, now: datetime) -> KeyLink:
    """Return the link of a code. Raises ``SSHKeyError`` where it is good for nothing."""
    link: KeyLink | None = db.query(KeyLink).filter_by(hashed=_hash(code)).first()
    if link is None or link.expires_at <= now or link.spawner is None:
        raise SSHKeyError(GONE)
    return link


def list_links(db: Any, server: orm.Spawner, now: datetime) -> list[KeyLink]:
    """List the links of a workspace that are still good."""
    return list(
        db.query(KeyLink)
        .filter(KeyLink.spawner_id == server.id, KeyLink.expires_at > now)
        .order_by(KeyLink.id)
    )


def remove_link(db: Any, server: orm.Spawner, number: int) -> None:
    """Take a link back; one that is gone is no error."""
    db.query(KeyLink).filter_by(spawner_id=server.id, id=number).delete()
    db.commit()


def use_link(db: Any, code: str, name: str, text: str, now: datetime) -> SshKey:
    """Register a key by a link, which is used up then. Raises ``SSHKeyError``."""
    link = find_link(db, code, now)
    return add_limited(db, link.spawner, name, text, now, used_up=link)


def add_limited(
    db: Any,
    server: orm.Spawner,
    name: str,
    text: str,
    now: datetime,
    used_up: KeyLink | None = None,
) -> SshKey:
    """Register a key for one workspace. Raises ``SSHKeyError``."""
    limit = KeyLimit(server=server.name)
    return SshKeys(db).add(server.user, name, parse_public_key(text), now, limit, used_up)


def list_limited(db: Any, server: orm.Spawner) -> list[SshKey]:
    """List the keys that open this workspace alone."""
    mine = [key for key in SshKeys(db).list(server.user) if key.limit is not None]
    return [key for key in mine if key.limit and key.limit.server == server.name]


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


@event.listens_for(orm.Spawner, "before_delete")
def _remove_links(mapper: Any, connection: Any, server: orm.Spawner) -> None:
    # By hand too: not every database enforces foreign keys, and a number may come back.
    connection.execute(KeyLink.__table__.delete().where(KeyLink.spawner_id == server.id))
