"""Sign-in with names and passwords that the hub keeps itself; its parts lie beside this module.

``MLHubNativeAuthenticator`` makes NativeAuthenticator 1.3 work on JupyterHub 6 and safe on a
public address: strict defaults, a lock-out, hashing off the event loop, answers that do not tell
who has an account, no change by GET, and nobody who grabs the administrator's name.
"""

from __future__ import annotations

import hmac
import time
from typing import Any

import onetimepass
from jupyterhub.utils import maybe_future
from nativeauthenticator.orm import UserInfo
from tornado import web

from mlhub.signin.native import rules
from mlhub.signin.native.attempts import Attempt
from mlhub.signin.native.browsers import find_browser, remember_browser
from mlhub.signin.native.first_admin import FirstAdminAuthenticator
from mlhub.signin.origin import find_source, friendly_errors, is_gone
from mlhub.texts import Text

NOT_AUTHORIZED = Text(
    "Your account has not been authorized yet. Ask an administrator of this hub, then sign in"
    " again."
)
_TOTP_SECONDS = 30


class MLHubNativeAuthenticator(FirstAdminAuthenticator):
    """Authenticate people by accounts in the hub's own database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._used_tokens: dict[str, int] = {}

    async def authenticate(self, handler: web.RequestHandler, data: dict[str, str]) -> str | None:
        """Return the name of the person who knows its password and may come in.

        Raises ``web.HTTPError`` with a sentence where too many failed (429, whether or not the name
        exists) and, only after the right password, for an account that waits for authorization
        (403).
        """
        username = self.normalize_username(data.get("username") or "")
        password = data.get("password") or ""
        if not username or len(username) > rules.MAX_USERNAME_CHARACTERS or not password:
            return None
        attempt = Attempt(
            username, find_source(handler.request.remote_ip), find_browser(handler, username)
        )
        with friendly_errors():
            async with self.attempts.turn(attempt):
                account = self.accounts.find(username)
                hashed = account.password if account else None
                # Who has gone meanwhile needs no answer, and costs no hash.
                is_right = not is_gone(handler.request) and await self.hasher.verify(
                    password, hashed
                )
        # Others ran while the password was checked: the account may have changed or gone.
        account = self.accounts.find(username) if is_right else None
        if (
            account is None
            or account.password != hashed
            or not self._accepts_token(account, data.get("2fa") or "")
        ):
            self.attempts.fail(attempt)
            return None
        self.attempts.succeed(attempt)
        if not account.is_authorized:
            raise web.HTTPError(403, NOT_AUTHORIZED)
        remember_browser(handler, username)
        return username

    def _accepts_token(self, account: UserInfo, token: str) -> bool:
        """Check a one-time password (RFC 6238, one step of clock skew); each is accepted once."""
        if not account.has_2fa:
            return True
        now, used = int(time.time()) // _TOTP_SECONDS, self._used_tokens.get(account.username, 0)
        for step in (now - 1, now, now + 1):
            expected = onetimepass.get_totp(
                account.otp_secret, as_string=True, clock=step * _TOTP_SECONDS
            )
            if step > used and hmac.compare_digest(expected, token.encode()):
                self._used_tokens[account.username] = step
                return True
        return False

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        """End the session of somebody whose account was removed or is no longer authorized."""
        account = self.accounts.find_judged(user.name)
        if account is None:
            # Somebody for whom an administrator runs a workspace: its token is theirs, a login is
            # not.
            return bool(getattr(handler, "_token_authenticated", False))
        if not account.is_authorized:
            return False
        return await maybe_future(super().refresh_user(user, handler))

    def delete_user(self, user: Any) -> None:
        """Remove the account together with the hub's user."""
        self.accounts.remove(user.name)
        self._used_tokens.pop(user.name, None)
        self.allowed_users.discard(user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return the pages of this authenticator; the same paths as upstream's."""
        from mlhub.signin.native.admin_handlers import list_admin_handlers
        from mlhub.signin.native.handlers import list_handlers
        from mlhub.signin.native.invitation_handlers import list_invitation_handlers
        from mlhub.signin.native.person_api import list_person_api_handlers
        from mlhub.signin.native.person_pages import list_person_handlers

        # Our page.html shows its links where these variables are set.
        app.template_vars.setdefault("native_accounts", True)
        app.template_vars.setdefault(
            "pending_signups",
            lambda user: self.accounts.count_pending() if user and user.admin else 0,
        )
        return [
            *list_handlers(),
            *list_admin_handlers(),
            *list_person_handlers(),
            *list_person_api_handlers(),
            *list_invitation_handlers(),
        ]
