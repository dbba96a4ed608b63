"""The pages on which administrators let people in: authorise, discard, set a password.

Promise: GET changes nothing, POST needs the XSRF token, and nobody changes an administrator's
account without being one.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web
from tornado.escape import url_escape

from mlhub.auth.handlers import AccountPage

PAGE_SIZE = 100


class AdminPage(AccountPage):
    """Base of the pages for administrators."""

    def refuse_above_own_rank(self, username: str) -> None:
        """Keep those who may manage users, but are no administrators, away from administrators' accounts."""
        if self.authenticator.is_reserved(username) and not self.current_user.admin:
            raise web.HTTPError(403, "Only an administrator may change an administrator's account.")

    async def show_accounts(self, message: str = "", *, search: str = "", status: int = 200) -> None:
        """Show one page of accounts, those that wait for authorisation first."""
        offset = max(0, int(text)) if (text := self.get_query_argument("offset", "0")).isdigit() and len(text) < 9 else 0
        accounts, total = self.authenticator.accounts.list(search=search, offset=offset, limit=PAGE_SIZE)
        await self.show(
            "authorization-area.html",
            message,
            status=status,
            accounts=accounts,
            total=total,
            offset=offset,
            page_size=PAGE_SIZE,
            search=search,
            admin_names=self.authenticator.list_admin_names(),
            names_without_account=[name for name in self.authenticator.list_admin_names() if not self.authenticator.accounts.find(name)],
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
        """Show that person's row; nothing changes."""
        await self.show_accounts(search=user_name)

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Authorise (``action=authorize``) or withdraw the authorisation (``action=withdraw``)."""
        account, action = self.authenticator.accounts.find(user_name), self.field("action")
        if account is None:
            raise web.HTTPError(404, "There is no such account. Somebody may have discarded it.")
        if action not in {"authorize", "withdraw"}:
            raise web.HTTPError(400, "The action is neither 'authorize' nor 'withdraw'.")
        self.refuse_above_own_rank(account.username)
        if action == "withdraw" and account.username == self.current_user.name:
            raise web.HTTPError(400, "You can not withdraw your own authorisation. Ask another administrator.")
        if action == "authorize":
            self.authenticator.accounts.authorize(account)
        else:
            person = self.find_user(account.username)
            running = [spawner.api_token for spawner in person.spawners.values() if spawner.active] if person else []
            self.authenticator.accounts.withdraw(account, keep_tokens=[token for token in running if token])
        self.log.info("%r: %s %r.", self.current_user.name, action, account.username)
        self.redirect(f"{self.hub.base_url}authorize")


class DiscardHandler(AdminPage):
    """Throw away a sign-up that was never authorised."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Show that person's row; nothing changes."""
        await self.show_accounts(search=user_name)

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Discard the sign-up."""
        account = self.authenticator.accounts.find(user_name)
        if account is None:
            raise web.HTTPError(404, "There is no such account. Somebody may have discarded it.")
        self.refuse_above_own_rank(account.username)
        if account.is_authorized:
            raise web.HTTPError(409, "This account is authorised. Withdraw the authorisation first.")
        self.authenticator.accounts.remove(account.username)
        self.log.info("%r: discard %r.", self.current_user.name, user_name)
        self.redirect(f"{self.hub.base_url}authorize")


class SetPasswordHandler(AdminPage):
    """Give somebody else a password; makes their account if the hub knows them without one."""

    def _refuse(self, user_name: str) -> None:
        # With a password one becomes that person, which is more than `admin:users` grants.
        if not self.current_user.admin:
            raise web.HTTPError(403, "Only an administrator may set somebody else's password.")
        accounts = self.authenticator.accounts
        if accounts.find(user_name) is None and not accounts.is_hub_user(user_name):
            raise web.HTTPError(404, "There is no such user. Add the user on the admin page first.")

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Show the form."""
        self._refuse(user_name)
        await self.show("change-password-admin.html", user_name=user_name, quoted_name=url_escape(user_name, plus=False))

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Set the password; that person's sessions end."""
        self._refuse(user_name)
        native, password = self.authenticator, self.field("new_password")
        values: dict[str, Any] = {"user_name": user_name, "quoted_name": url_escape(user_name, plus=False)}
        complaint = native.explain_password(password, user_name)
        if password != self.field("new_password_confirmation"):
            complaint = "The two passwords differ. Type the same one twice."
        if complaint:
            await self.show("change-password-admin.html", complaint, status=400, **values)
            return
        hashed = await native.hash(password)
        account = native.accounts.find(user_name)
        if account is None:
            native.accounts.put(user_name, hashed)
        else:
            native.accounts.set_password(account, hashed)
        native.lockout.forget(user_name)
        self.log.info("%r set the password of %r.", self.current_user.name, user_name)
        if user_name == self.current_user.name:
            self.set_login_cookie(self.current_user)
        await self.show("change-password-admin.html", "The password is set.", alert="success", **values)


def list_admin_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [
        (r"/authorize", AuthorizationAreaHandler),
        (r"/authorize/([^/]*)", AuthorizeHandler),
        (r"/discard/([^/]*)", DiscardHandler),
        (r"/change-password/([^/]+)", SetPasswordHandler),
    ]
