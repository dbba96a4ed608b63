"""The table of people's SSH keys in the hub's database: every query on it stands here.

Invariants: each method is one short transaction; a key belongs to one person and goes with that
person; whoever registered a callback is told of each key that lets nobody in any more, after the
commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import DateTime, ForeignKey, Integer, Unicode, event, func, inspect, or_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, joinedload, mapped_column, relationship
from tornado.log import app_log

from mlhub.errors import KeyTakenError, SSHKeyError
from mlhub.ssh.public_keys import PublicKey
from mlhub.texts import Text

MAX_KEYS = 50
MAX_NAME_CHARACTERS = 100
TOUCH_RESOLUTION = timedelta(minutes=1)

RemovedCallback = Callable[[str, list[str]], None]


class SshKey(orm.Base):
    """One public key of one person. JupyterHub makes the table at its start, in an old database
    too.
    """

    __tablename__ = "mlhub_ssh_keys"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    user_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(Unicode(MAX_NAME_CHARACTERS))
    kind: Mapped[str] = mapped_column(Unicode(64))
    bits: Mapped[int] = mapped_column(Integer)
    body: Mapped[str] = mapped_column(Unicode(4096))  # 16384 bits of RSA are 2,760 characters
    fingerprint: Mapped[str] = mapped_column(Unicode(64), unique=True, index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime)
    last_used_from: Mapped[str | None] = mapped_column(Unicode(64))

    user: Mapped[orm.User] = relationship(orm.User)
    limit: Mapped[KeyLimit | None] = relationship(
        "KeyLimit", lazy="joined", cascade="all, delete-orphan", single_parent=True
    )

    def opens(self, owner: str, server: str) -> bool:
        """Return True unless the key is for one workspace alone, and this is another one."""
        limit = self.limit
        return limit is None or (self.user.name == owner and limit.server == server)

    @property
    def line(self) -> str:
        """The key as a line of OpenSSH, without options and comment."""
        return f"{self.kind} {self.body}"


class KeyLimit(orm.Base):
    """Says of a key that it opens one workspace of its owner's alone, by the server's name."""

    __tablename__ = "mlhub_ssh_key_limits"

    key_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("mlhub_ssh_keys.id", ondelete="CASCADE"), primary_key=True
    )
    server: Mapped[str] = mapped_column(Unicode(255))


class SshKeys:
    """Find, add, touch and remove keys; times are UTC without a zone, as JupyterHub's own."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._watch = _Watch.of(db)

    def on_removed(self, callback: RemovedCallback) -> None:
        """Call ``callback(user_name, fingerprints)`` after each commit that took keys away or
        locked their owner out.
        """
        self._watch.callbacks.append(callback)

    def on_access_revoked(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` after each commit that changed or withdrew what people share."""
        self._watch.narrowed_callbacks.append(callback)

    def list(self, user: Any) -> list[SshKey]:
        """Return a person's keys, the oldest first."""
        return list(
            self._db.query(SshKey)
            .filter(SshKey.user_id == user.id)
            .order_by(SshKey.created_at, SshKey.id)
        )

    def find(self, fingerprint: str) -> SshKey | None:
        """Return the key of a fingerprint, with its owner, by one query."""
        # Of the owner, only the row: roles, groups and shares follow when somebody asks for them.
        bare = joinedload(SshKey.user, innerjoin=True).lazyload("*")
        key = self._db.query(SshKey).options(bare).filter(SshKey.fingerprint == fingerprint).first()
        # Base64 tells upper from lower case; a database's collation may not.
        return key if key is not None and key.fingerprint == fingerprint else None

    def add(
        self,
        user: Any,
        name: str,
        key: PublicKey,
        now: datetime,
        limit: KeyLimit | None = None,
        used_up: Any = None,
    ) -> SshKey:
        """Register a key for a person, with ``limit`` for one workspace of theirs alone; the row
        ``used_up`` goes in the same moment.

        Raises ``KeyTakenError`` if it is registered, and ``SSHKeyError`` for a bad name or the 51st
        key.
        """
        name = name.strip() or key.comment or f"{key.kind} of {now:%Y-%m-%d}"
        if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise SSHKeyError(
                Text(
                    "The name of a key is one line of at most %(max_name_characters)s"
                    " characters. Choose another.",
                    max_name_characters=MAX_NAME_CHARACTERS,
                )
            )
        existing = self.find(key.fingerprint)
        if existing is not None:
            raise _make_taken_error(user, existing)
        self._check_number(user)
        row = SshKey(user_id=user.id, name=name, created_at=now, limit=limit, **_describe(key))
        self._db.add(row)
        if used_up is not None:
            self._db.delete(used_up)
        try:
            self._db.commit()
        except IntegrityError:
            self._db.rollback()
            raise _make_taken_error(user, self.find(key.fingerprint)) from None
        return row

    def _check_number(self, user: Any) -> None:
        held = self._db.query(func.count(SshKey.id)).filter(SshKey.user_id == user.id)
        if held.scalar() >= MAX_KEYS:
            raise SSHKeyError(
                Text(
                    "There are %(max_keys)s keys already, which is the most that one"
                    " person may have. Remove one first.",
                    max_keys=MAX_KEYS,
                )
            )

    def remove(self, user: Any, key_id: int) -> bool:
        """Remove a key of this person; tell whether there was one."""
        key = self._db.query(SshKey).filter(SshKey.id == key_id, SshKey.user_id == user.id).first()
        if key is None:
            return False
        self._db.delete(key)
        self._db.commit()
        return True

    def touch(self, fingerprint: str, now: datetime, address: str) -> None:
        """Note that a key was used; writes at most once a minute for each key, so a flood of logins
        costs nothing.
        """
        is_due = or_(SshKey.last_used_at.is_(None), SshKey.last_used_at < now - TOUCH_RESOLUTION)
        statement = update(SshKey).where(SshKey.fingerprint == fingerprint, is_due)
        self._db.execute(
            statement.values(last_used_at=now, last_used_from=address[:64]),
            execution_options=_IN_PYTHON,
        )
        self._db.commit()  # in any case: on SQLite the statement alone locks the database


_WATCH = "mlhub.ssh_keys"
# The session's own objects follow the update, without a second query.
_IN_PYTHON = {"synchronize_session": "evaluate"}


def _describe(key: PublicKey) -> dict[str, Any]:
    names = ("kind", "bits", "body", "fingerprint")
    return {name: getattr(key, name) for name in names}


def _make_taken_error(user: Any, existing: SshKey | None) -> KeyTakenError:
    if existing is not None and existing.user_id == user.id:
        return KeyTakenError(Text("This key is registered here already. There is nothing to do."))
    return KeyTakenError(
        Text(
            "This key is registered for another account of this hub. Make one of"
            " your own: ssh-keygen -t ed25519"
        )
    )


class _Watch:
    """Watch a session for keys that stop letting anybody in: removed, deleted with their owner, or
    their owner locked out.
    """

    def __init__(self, db: Any) -> None:
        self.callbacks: list[RemovedCallback] = []
        self.narrowed_callbacks: list[Callable[[], None]] = []
        self._is_narrowed = False
        self._gone: dict[str, set[str]] = defaultdict(set)
        event.listen(db, "before_flush", self._collect)
        event.listen(db, "after_bulk_delete", self._collect_bulk)
        event.listen(db, "after_commit", self._announce)
        event.listen(db, "after_rollback", self._forget)

    @classmethod
    def of(cls, db: Any) -> _Watch:
        """Return the one watch of a session."""
        watch: _Watch = db.info.get(_WATCH) or db.info.setdefault(_WATCH, cls(db))
        return watch

    def _forget(self, session: Any) -> None:
        self._gone.clear()
        self._is_narrowed = False

    def _collect_bulk(self, context: Any) -> None:
        # How JupyterHub withdraws all shares of a server, without loading them.
        self._is_narrowed |= issubclass(context.mapper.class_, orm.Share)

    def _collect(self, session: Any, *_: Any) -> None:
        self._is_narrowed |= any(
            isinstance(row, orm.Share) for row in (*session.deleted, *session.dirty)
        )
        with session.no_autoflush:
            for row in list(session.deleted):
                if isinstance(row, orm.User):
                    for key in session.query(SshKey).filter(SshKey.user_id == row.id).all():
                        # By hand too: not every database enforces foreign keys.
                        session.delete(key)
                        self._gone[row.name].add(key.fingerprint)
                elif isinstance(row, orm.Spawner):
                    self._remove_limited(session, row)
                elif isinstance(row, SshKey):
                    self._gone[row.user.name].add(row.fingerprint)
            for account in [
                row for row in session.dirty if isinstance(row, UserInfo) and not row.is_authorized
            ]:
                if inspect(account).attrs.is_authorized.history.has_changes():
                    keys = (
                        session.query(SshKey.fingerprint)
                        .join(orm.User)
                        .filter(orm.User.name == account.username)
                    )
                    self._gone[account.username].update(fingerprint for (fingerprint,) in keys)

    def _remove_limited(self, session: Any, server: orm.Spawner) -> None:
        """Remove the keys of a workspace that goes: a later one of its name is not theirs."""
        limited = session.query(SshKey).join(KeyLimit, KeyLimit.key_id == SshKey.id)
        for key in limited.filter(
            SshKey.user_id == server.user_id, KeyLimit.server == server.name
        ).all():
            session.delete(key)
            self._gone[key.user.name].add(key.fingerprint)

    def _announce(self, session: Any) -> None:
        gone, self._gone = self._gone, defaultdict(set)
        is_narrowed, self._is_narrowed = self._is_narrowed, False
        for tell in self.narrowed_callbacks if is_narrowed else []:
            tell()
        for name, fingerprints in gone.items():
            for callback in self.callbacks if fingerprints else []:
                try:
                    callback(name, sorted(fingerprints))
                except Exception:  # noqa: BLE001 - a callback's own fault, whatever it is
                    # The change is committed; whoever made it is not to be told otherwise.
                    app_log.exception("Nobody could be told that SSH keys of %r are gone", name)
