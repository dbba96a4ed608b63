"""The table of accounts in the hub's database: every query on it stands here.

Invariants: each method is one short transaction; a name matches only itself, whatever the
database's collation takes for equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import DDL, false, func, inspect, or_

from mlhub.signin.native.rules import MAX_USERNAME_CHARACTERS


class Accounts:
    """Find, add, change and remove accounts."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def find(self, username: str) -> UserInfo | None:
        """Return the account of a normalized name."""
        if not username or "\0" in username or len(username) > MAX_USERNAME_CHARACTERS:
            return None
        account = self._db.query(UserInfo).filter(UserInfo.username == username).first()
        return account if account is not None and account.username == username else None

    def find_judged(self, username: str) -> UserInfo | None:
        """Return the account that says whether a person may be here.

        None where there is none, and where somebody has signed up under the name of a person who
        was here without an account: whoever that is, it says nothing of the person.
        """
        account = self.find(username)
        return None if account is None or account.is_authorized is None else account

    def count_pending(self) -> int:
        """Return how many accounts wait for authorization."""
        return int(self._db.query(func.count(UserInfo.id)).filter(_is_pending()).scalar() or 0)

    def list(
        self, *, search: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[UserInfo], int]:
        """Return a page of accounts, those that wait first, and the number of all that match."""
        query = self._db.query(UserInfo)
        if search:
            query = query.filter(UserInfo.username.contains(search, autoescape=True))
        total = query.count()
        page = (
            query.order_by(func.coalesce(UserInfo.is_authorized, false()), UserInfo.username)
            .offset(offset)
            .limit(limit)
            .all()
        )
        return page, total

    def list_without(self, *, search: str = "", limit: int = 100) -> Collection[str]:
        """Return names of people whom the hub knows and who have no account, or only a sign-up
        that somebody made under their name.
        """
        known = self._db.query(UserInfo.username).filter(UserInfo.is_authorized.isnot(None))
        query = self._db.query(orm.User.name).filter(orm.User.name.notin_(known))
        if search:
            query = query.filter(orm.User.name.contains(search, autoescape=True))
        return [name for (name,) in query.order_by(orm.User.name).limit(limit)]

    def list_groups(self, usernames: Collection[str]) -> dict[str, Sequence[str]]:
        """Return the groups of those who have some, by name."""
        query = self._db.query(orm.User.name, orm.Group.name).join(orm.User.groups)
        found = defaultdict(list)
        for user, group in query.filter(orm.User.name.in_(usernames)).order_by(orm.Group.name):
            found[user].append(group)
        return dict(found)

    def add(self, username: str, hashed: bytes, **fields: Any) -> UserInfo | None:
        """Add an account if its name is free."""
        if self._db.query(UserInfo.id).filter(UserInfo.username == username).first():
            return None
        account = UserInfo(username=username, password=hashed, **fields)
        self._db.add(account)
        self._db.commit()
        return account

    def put(self, username: str, hashed: bytes) -> UserInfo:
        """Make an authorized account, or take over the one of that name."""
        account = self.find(username)
        if account is None:
            account = UserInfo(username=username)
            self._db.add(account)
        account.password = hashed
        account.is_authorized = True
        account.has_2fa = (
            False  # a second factor set by whoever registered the name before must not remain
        )
        self._db.commit()
        self.end_sessions(username)
        return account

    def set_password(self, account: UserInfo, hashed: bytes) -> None:
        """Replace a password and end the sessions opened with the old one."""
        account.password = hashed
        self._db.commit()
        self.end_sessions(account.username)

    def authorize(self, account: UserInfo) -> None:
        """Let somebody in."""
        account.is_authorized = True
        self._db.commit()

    def withdraw(self, account: UserInfo, *, keep_tokens: Collection[str] = ()) -> None:
        """Let somebody in no more; sessions and tokens end too, but for ``keep_tokens``.

        Those of running servers end with these, which a correction within a moment keeps.
        """
        account.is_authorized = False
        self._db.commit()
        kept = {
            token.id for secret in keep_tokens if (token := orm.APIToken.find(self._db, secret))
        }
        self.end_sessions(account.username, keep=kept)

    def remove(self, username: str) -> None:
        """Remove an account if there is one."""
        account = self.find(username)
        if account is not None:
            self._db.delete(account)
            self._db.commit()

    def end_sessions(self, username: str, *, keep: set[int] | None = None) -> None:
        """Make every login cookie of a person invalid; with ``keep``, all tokens but those too."""
        user = orm.User.find(self._db, username)
        if user is None:
            return
        user.cookie_id = orm.new_token()
        for token in list(user.api_tokens):
            if token.session_id is not None or (keep is not None and token.id not in keep):
                self._db.delete(token)
        self._db.commit()

    def is_hub_user(self, username: str) -> bool:
        """Return True if the hub knows a person of that name."""
        return orm.User.find(self._db, username) is not None

    def is_hub_admin(self, username: str) -> bool:
        """Return True if the hub's database makes that person an administrator."""
        user = orm.User.find(self._db, username)
        return user is not None and bool(user.admin)


def create_table(db: Any) -> None:
    """Make the table of accounts, or add the columns that an older version did not know."""
    table, bind = UserInfo.__table__, db.get_bind()
    table.create(bind, checkfirst=True)
    existing = {column["name"] for column in inspect(bind).get_columns(table.name)}
    with bind.begin() as connection:
        for column in table.columns:
            if column.name not in existing:
                kind = column.type.compile(bind.dialect)
                connection.execute(DDL(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))


def _is_pending() -> Any:
    return or_(UserInfo.is_authorized.is_(False), UserInfo.is_authorized.is_(None))
