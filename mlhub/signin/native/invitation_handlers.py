"""Administrators make links; whoever gets one chooses a password and is signed in.

Invariants: GET changes nothing. Only administrators make links: with one, one becomes that person.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator
from typing import Any

from jupyterhub import orm
from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.signin.native.admin_handlers import AdminPage
from mlhub.signin.native.invitations import DAYS, Claim, Invitations, read_claim
from mlhub.signin.native.inviting import Inviter
from mlhub.texts import Text
from mlhub.web.handlers import MLHubAPIHandler, MLHubHandler
from mlhub.web.pages import AccountPage

MAX_NAMES = 200
EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
GONE = Text(
    "This link has expired or was used already. Ask an administrator of this hub for another one."
)


class InvitationMixin(MLHubHandler):
    """What pages and REST have in common."""

    @property
    def inviter(self) -> Inviter:
        """Whoever asks, inviting."""
        secret = self.settings["cookie_secret"]
        return Inviter(self.authenticator, self.db, secret, self.current_user.name)

    def check_administrator(self) -> None:
        """Refuse whoever is no administrator."""
        if not self.current_user.admin:
            raise web.HTTPError(403, Text("Only an administrator may invite people."))


class InvitePage(InvitationMixin, AdminPage):
    """Make links for one or many people, and add those whom the hub does not know."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self) -> None:
        """Show the form."""
        self.check_administrator()
        await self._show(names=self.get_query_argument("names", "")[:128])

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self) -> None:
        """Make the links, or none where a line is wrong."""
        self.check_administrator()
        text = self.field("names")
        try:
            wanted = list(self._read(text))
            for name, _, _ in wanted:
                self.inviter.check(name)
            links = [{**self._add(name, group), "email": email} for name, group, email in wanted]
        except web.HTTPError as error:
            await self._show(error.log_message or "", status=error.status_code, names=text[:20000])
            return
        await self._show(links=links)

    async def _show(self, message: str = "", *, status: int = 200, **values: Any) -> None:
        await self.show("invite.html", message, status=status, days=DAYS, **values)

    def _read(self, text: str) -> Iterator[tuple[str, str, str]]:
        """Yield name, group and e-mail address of each line, as spreadsheets write them: ``name``,
        ``name, group`` or ``name, group, e-mail``.
        """
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
        rows = [row for row in rows if any(row)]
        if rows and [cell.lower() for cell in rows[0][1:2]] == ["group"]:
            del rows[0]  # the heads of the columns
        if not rows:
            raise web.HTTPError(400, Text("Write one name a line."))
        if len(rows) > MAX_NAMES:
            raise web.HTTPError(
                400,
                Text(
                    "These are %(rows)s lines. Invite %(max_names)s at a time.",
                    rows=len(rows),
                    max_names=MAX_NAMES,
                ),
            )
        for row in rows:
            name, group, email, *more = [*row, "", ""]
            if any(more) or (email and not EMAIL.fullmatch(email)):
                raise web.HTTPError(
                    400,
                    Text(
                        "%(row)s is not a name, a group and an e-mail address. Nobody is added.",
                        row=repr(", ".join(row)),
                    ),
                )
            yield self.authenticator.normalize_username(name), group, email

    def _add(self, name: str, group: str) -> dict[str, Any]:
        inviter = self.inviter
        inviter.put_into_group(self.user_from_username(name).orm_user, group)
        return inviter.invite(name)


class InvitationAPIHandler(InvitationMixin, MLHubAPIHandler):
    """A link by which a person chooses a password."""

    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Make the link."""
        # A service may do this only where it could do everything to people.
        if not getattr(self.current_user, "admin", False):
            raise web.HTTPError(403, Text("Only an administrator may invite people."))
        self.answer(self.inviter.invite(user_name), 201)


class InvitationPage(InvitationMixin, AccountPage):
    """Choose a password by a link."""

    async def get(self) -> None:
        """Show the form, or that the link is worth nothing."""
        code = self.get_query_argument("code", "")
        claim = self._find(code)
        if claim is None:
            await self.show("invitation.html", GONE, alert="warning", status=410)
            return
        await self.show("invitation.html", user_name=claim.name, code=code)

    async def post(self) -> None:
        """Set the password and sign in."""
        code, password = self.field("code"), self.field("new_password")
        claim = self._find(code)
        if claim is None:
            await self.show("invitation.html", GONE, alert="warning", status=410)
            return
        native = self.authenticator
        complaint = native.explain_password(password, claim.name)
        if password != self.field("new_password_confirmation"):
            complaint = Text("The two passwords differ. Type the same one twice.")
        values = {"user_name": claim.name, "code": code}
        if complaint:
            await self.show("invitation.html", complaint, status=400, **values)
            return
        hashed = await native.hash(self, password)
        # Hashing takes a while, in which somebody else may have used the link.
        if self._find(code) is None:
            await self.show("invitation.html", GONE, alert="warning", status=410)
            return
        account = native.accounts.find(claim.name)
        if account is not None and account.is_authorized:
            native.accounts.set_password(account, hashed)
        else:
            # A sign-up of that name is by whoever came first, and not theirs.
            native.accounts.put(claim.name, hashed)
        native.password_lockout.forget(claim.name)
        native.attempts.forget(claim.name)
        self.log.info("%r chose a password by a link.", claim.name)
        user = await self.login_user({"username": claim.name, "password": password})
        if user is not None:
            self.redirect(self.get_next_url(user))
            return
        await self.show(
            "invitation.html",
            Text("Your password is set. Sign in now."),
            alert="success",
            is_done=True,
        )

    def _find(self, code: str) -> Claim | None:
        """Return whom a link is for if it is good now."""
        claim = read_claim(code)
        person = orm.User.find(self.db, claim.name) if claim else None
        if claim is None or person is None or person.name != claim.name:
            return None
        account = self.authenticator.accounts.find(claim.name)
        if account is not None and account.is_authorized is False:
            return None
        invitations = Invitations(self.settings["cookie_secret"])
        return claim if invitations.check(code, claim, person, account, time.time()) else None


def list_invitation_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [
        (r"/invite", InvitePage),
        (r"/invitation", InvitationPage),
        (r"/api/users/([^/]+)/invitation", InvitationAPIHandler),
    ]
