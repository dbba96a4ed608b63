"""The buttons of the page of people, for programs.

====  =============================  ============================================================
PUT   ``users/{user}/authorization`` ``{"is_authorized": true}`` lets somebody in, ``false`` out
POST  ``users/{user}/unlock``        ends the lock after wrong passwords
====  =============================  ============================================================

Both take the scope ``admin:users``.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.texts import Text
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.tokens import list_running_tokens


class AccountAPIHandler(MLHubAPIHandler):
    """Base of what is done to an account."""

    def find_account(self, user_name: str) -> Any:
        """Return an account that may be changed by whoever asks."""
        account = self.authenticator.accounts.find(user_name)
        if account is None:
            raise web.HTTPError(404, Text("There is no such account."))
        asks = self.current_user
        is_administrator = bool(getattr(asks, "admin", False))
        if self.authenticator.is_reserved(account.username) and not is_administrator:
            raise web.HTTPError(
                403, Text("Only an administrator may change an administrator's account.")
            )
        if account.username == asks.name:
            raise web.HTTPError(400, Text("Ask another administrator to do this for you."))
        return account


class AuthorizationAPIHandler(AccountAPIHandler):
    """Whether a person may sign in."""

    @needs_scope("admin:users")
    async def put(self, user_name: str) -> None:
        """Let somebody in, or out; what runs of somebody who is let out is stopped."""
        account = self.find_account(user_name)
        wanted = self.read_body("is_authorized").get("is_authorized")
        if not isinstance(wanted, bool):
            raise web.HTTPError(400, Text('"is_authorized" is neither true nor false.'))
        accounts = self.authenticator.accounts
        if wanted:
            accounts.authorize(account)
        else:
            kept = list_running_tokens(self.find_user(account.username))
            accounts.withdraw(account, keep_tokens=kept)
        self.log.info("%r: is_authorized=%s of %r.", self.current_user.name, wanted, user_name)
        self.answer({"user": account.username, "is_authorized": wanted})


class UnlockAPIHandler(AccountAPIHandler):
    """The lock after wrong passwords."""

    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """End it; where there is none, nothing changes."""
        name = self.find_account(user_name).username
        self.authenticator.unlock(name)
        self.log.info("%r: unlock %r.", self.current_user.name, name)
        self.set_status(204)


def list_person_api_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [
        (r"/api/users/([^/]+)/authorization", AuthorizationAPIHandler),
        (r"/api/users/([^/]+)/unlock", UnlockAPIHandler),
    ]
