"""Add people, and make the links by which they choose their passwords: for pages, REST and the
command alike.

Raises ``web.HTTPError`` with a sentence for whoever cannot be invited.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from tornado import web

from mlhub.signin.native.invitations import SECONDS, Invitations
from mlhub.signin.native.rules import explain_username
from mlhub.texts import Text


class Inviter:
    """Invite people in the name of ``by``; ``authenticator`` is ours, ``secret`` the hub's."""

    def __init__(self, authenticator: Any, db: Any, secret: bytes, by: str) -> None:
        self.authenticator, self.db, self.by = authenticator, db, by
        self.invitations = Invitations(secret)

    def check(self, name: str) -> None:
        """Refuse a name that nobody can have, and whoever is kept out."""
        complaint = explain_username(name)
        if complaint or not self.authenticator.validate_username(name):
            raise web.HTTPError(
                400,
                Text(
                    "%(name)s: %(problem)s Nobody is added.",
                    name=repr(name),
                    problem=complaint or Text("This hub allows no such username."),
                ),
            )
        self._check_authorized(name)

    def put_into_group(self, person: orm.User, group: str) -> None:
        """Put somebody into a group, which is made where there is none."""
        if not group:
            return
        found = orm.Group.find(self.db, group)
        if found is None:
            found = orm.Group(name=group)
            self.db.add(found)
        if person not in found.users:
            found.users.append(person)
        self.db.commit()

    def invite(self, name: str) -> dict[str, Any]:
        """Make a link for a person whom the hub knows; who has none gets an account by using it."""
        person = orm.User.find(self.db, name)
        if person is None:
            raise web.HTTPError(
                404, Text("%(name)s is nobody here. Add them first.", name=repr(name))
            )
        account = self._check_authorized(name)
        expires_at = int(time.time()) + SECONDS
        code = self.invitations.make(person, account, expires_at)
        self.authenticator.log.info("%r made a link for %r.", self.by, name)
        moment = datetime.fromtimestamp(expires_at, UTC)
        return {
            "user": name,
            "url": self.authenticator.make_link(f"invitation?code={quote(code)}"),
            "expires_at": moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def _check_authorized(self, name: str) -> Any:
        account = self.authenticator.accounts.find(name)
        if account is not None and account.is_authorized is False:
            raise web.HTTPError(
                409,
                Text(
                    "The authorization of %(name)s was withdrawn. Authorize them first.",
                    name=repr(name),
                ),
            )
        return account
