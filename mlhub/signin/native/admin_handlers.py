"""The pages on which administrators let people in: authorize, discard, set a password.

Invariants: GET changes nothing, POST needs the XSRF token, and nobody changes an administrator's
account without being one.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web
from tornado.escape import url_escape
from tornado.httputil import url_concat

from mlhub.signin.departure import remove_person
from mlhub.signin.native.done import describe_done
from mlhub.signin.native.lookalikes import describe_letters
from mlhub.texts import Text
from mlhub.web.pages import AccountPage
from mlhub.workspaces.tokens import list_running_tokens

PAGE_SIZE = 100


class AdminPage(AccountPage):
    """Base of the pages for administrators."""

    def refuse_above_own_rank(self, username: str) -> None:
        """Keep those who may manage users, but are no administrators, away from administrators'
        accounts.
        """
        if self.authenticator.is_reserved(username) and not self.current_user.admin:
            raise web.HTTPError(
                403, Text("Only an administrator may change an administrator's account.")
            )

    def find_account(self, username: str) -> Any:
        """Return an account that may be changed by whoever asks."""
        account = self.authenticator.accounts.find(username)
        if account is None:
            raise web.HTTPError(
                404, Text("There is no such account. Somebody may have discarded it.")
            )
        self.refuse_above_own_rank(account.username)
        return account

    async def ask(self, question: str, verb: str, *sentences: str, **values: Any) -> None:
        """Ask before something is done to an account."""
        await self.show(
            "question.html",
            question=question,
            verb=verb,
            sentences=sentences,
            action=self.request.path,
            way_back=f"{self.hub.base_url}authorize",
            **values,
        )

    def list_workspaces(self, username: str) -> list[str]:
        """List what somebody has, in words."""
        person = self.find_user(username)
        rows = person.all_spawners() if person is not None else ()
        names = [
            (
                f"“{row.display_name or row.name}”" if row.name else Text("the default workspace"),
                row,
            )
            for row in rows
            if row.name or row.active or row.orm_spawner.last_activity
        ]
        return [
            Text("%(what)s, which runs", what=what) if row.active else what for what, row in names
        ]

    def tell(self, done: str, username: str) -> None:
        """Lead to the list, which says what was done."""
        query = {"done": done, "name": username}
        self.redirect(url_concat(f"{self.hub.base_url}authorize", query))

    def read_done(self) -> str:
        """Say what was done, as the address has it; nothing where that is not how things are."""
        name = self.get_query_argument("name", "")[:128]
        return describe_done(self.authenticator.accounts, self.get_query_argument("done", ""), name)

    async def show_accounts(self, *, search: str = "") -> None:
        """Show one page of accounts, those that wait for authorization first."""
        offset = (
            max(0, int(text))
            if (text := self.get_query_argument("offset", "0")).isdigit() and len(text) < 9
            else 0
        )
        accounts, total = self.authenticator.accounts.list(
            search=search, offset=offset, limit=PAGE_SIZE
        )
        await self.show(
            "authorization-area.html",
            self.read_done(),
            alert="success",
            accounts=accounts,
            locked=self.authenticator.list_locked(),
            groups=self.authenticator.accounts.list_groups([each.username for each in accounts]),
            total=total,
            offset=offset,
            page_size=PAGE_SIZE,
            search=search,
            describe_letters=describe_letters,
            admin_names=self.authenticator.list_admin_names(),
            people_without_account=self.authenticator.accounts.list_without(
                search=search, limit=PAGE_SIZE
            ),
            names_without_account=[
                name
                for name in self.authenticator.list_admin_names()
                if not self.authenticator.accounts.find(name)
            ],
        )


class AuthorizationAreaHandler(AdminPage):
    """List accounts."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self) -> None:
        """Show a page of accounts; ``?search=`` narrows it."""
        await self.show_accounts(search=self.get_query_argument("search", "")[:128])


class AuthorizeHandler(AdminPage):
    """Let one person in, or out."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Show that person's row, or ask (``?action=withdraw``); nothing changes."""
        if self.get_query_argument("action", "") != "withdraw":
            await self.show_accounts(search=user_name)
            return
        name = self.find_account(user_name).username
        await self.ask(
            Text("Unauthorize %(name)s?", name=name),
            Text("Unauthorize"),
            Text(
                "%(name)s is signed out everywhere and cannot sign in any more."
                " Workspaces that run are stopped.",
                name=name,
            ),
            Text(
                "Password, SSH keys, workspaces and files are kept: authorize them"
                " again, and all is as before."
            ),
            sent={"action": "withdraw"},
        )

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Authorize (``action=authorize``) or withdraw the authorization (``action=withdraw``)."""
        action = self.field("action")
        if action not in {"authorize", "withdraw"}:
            raise web.HTTPError(400, Text("The action is neither 'authorize' nor 'withdraw'."))
        account = self.find_account(user_name)
        if action == "withdraw" and account.username == self.current_user.name:
            raise web.HTTPError(
                400, Text("You cannot withdraw your own authorization. Ask another administrator.")
            )
        if action == "authorize":
            self.authenticator.accounts.authorize(account)
        else:
            person = self.find_user(account.username)
            self.authenticator.accounts.withdraw(account, keep_tokens=list_running_tokens(person))
        self.log.info("%r: %s %r.", self.current_user.name, action, account.username)
        self.tell(action, account.username)


class DiscardHandler(AdminPage):
    """Throw away a sign-up that was never authorized."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Ask; nothing changes."""
        name = self._find(user_name).username
        items = self.list_workspaces(name)
        removed = [Text("What there is of theirs is removed; its data moves to the trash:")]
        await self.ask(
            Text("Discard the sign-up of %(name)s?", name=name),
            Text("Discard"),
            Text(
                "The account is removed, and the name is free for whoever signs up"
                " next. %(name)s would have to sign up again.",
                name=name,
            ),
            *(removed if items else []),
            items=items,
        )

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Discard the sign-up."""
        account = self._find(user_name)
        # Somebody may have been in by this account: the next to register the name must not find
        # what they left. A sign-up under the name of a person who has none is not that person.
        is_judged = self.authenticator.accounts.find_judged(account.username)
        person = self.find_user(account.username) if is_judged else None
        if person is not None:
            if person.name == self.current_user.name:
                raise web.HTTPError(
                    400, Text("You cannot discard your own account. Ask another administrator.")
                )
            await remove_person(self, person)
        self.authenticator.accounts.remove(account.username)
        self.log.info("%r: discard %r.", self.current_user.name, user_name)
        self.tell("discard", user_name)

    def _find(self, user_name: str) -> Any:
        account = self.find_account(user_name)
        if account.is_authorized:
            raise web.HTTPError(
                409, Text("This account is authorized. Withdraw the authorization first.")
            )
        return account


class SetPasswordHandler(AdminPage):
    """Give somebody else a password; makes their account if the hub knows them without one."""

    def _refuse(self, user_name: str) -> None:
        # With a password one becomes that person, which is more than `admin:users` grants.
        if not self.current_user.admin:
            raise web.HTTPError(
                403, Text("Only an administrator may set somebody else's password.")
            )
        accounts = self.authenticator.accounts
        if accounts.find(user_name) is None and not accounts.is_hub_user(user_name):
            raise web.HTTPError(
                404, Text("There is no such user. Add the user on the admin page first.")
            )

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Show the form."""
        self._refuse(user_name)
        await self.show(
            "change-password-admin.html",
            user_name=user_name,
            quoted_name=url_escape(user_name, plus=False),
        )

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Set the password; that person's sessions end."""
        self._refuse(user_name)
        native, password = self.authenticator, self.field("new_password")
        values: dict[str, Any] = {
            "user_name": user_name,
            "quoted_name": url_escape(user_name, plus=False),
        }
        complaint = native.explain_password(password, user_name)
        if password != self.field("new_password_confirmation"):
            complaint = Text("The two passwords differ. Type the same one twice.")
        if complaint:
            await self.show("change-password-admin.html", complaint, status=400, **values)
            return
        hashed = await native.hash(self, password)
        account = native.accounts.find(user_name)
        if account is None:
            native.accounts.put(user_name, hashed)
        else:
            native.accounts.set_password(account, hashed)
        native.password_lockout.forget(user_name)
        native.attempts.forget(user_name)
        self.log.info("%r set the password of %r.", self.current_user.name, user_name)
        if user_name == self.current_user.name:
            self.set_login_cookie(self.current_user)
            self.redirect(f"{self.hub.base_url}change-password?done=yes")
            return
        await self.show(
            "change-password-admin.html", Text("The password is set."), alert="success", **values
        )


def list_admin_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [
        (r"/authorize", AuthorizationAreaHandler),
        (r"/authorize/([^/]*)", AuthorizeHandler),
        (r"/discard/([^/]*)", DiscardHandler),
        (r"/change-password/([^/]+)", SetPasswordHandler),
    ]
