"""How an account of the hub's own comes to be: what is accepted, and who registers whom."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from nativeauthenticator.orm import UserInfo
from sqlalchemy import null
from traitlets import Bool, Integer, Unicode

from mlhub.signin.native import rules
from mlhub.signin.native.password_checks import PasswordAuthenticator
from mlhub.signin.native.passwords import hash_password
from mlhub.texts import Text


class SignUpAuthenticator(PasswordAuthenticator):
    """The part of our authenticator that registers accounts."""

    minimum_password_length = Integer(
        rules.DEFAULT_MINIMUM_PASSWORD_CHARACTERS,
        config=True,
        help="Characters that a new password needs at least.",
    )
    check_common_password = Bool(True, config=True, help="Refuse passwords that are easy to guess.")
    max_pending_signups = Integer(
        1000, config=True, help="Accounts that may wait for authorization at the same time."
    )
    public_address = Unicode(
        "",
        config=True,
        help=(
            "Address under which people reach the hub, for printed links:"
            " `https://hub.example.org`."
        ),
    )

    def explain_signup(self, username: str, password: str, email: str = "") -> str:
        """Say what is wrong with a form, from the form alone; ``""`` if nothing is."""
        name = self.normalize_username(
            username
        )  # lower-casing can lengthen a name, or take it apart
        complaint = rules.explain_username(username) or rules.explain_username(name)
        complaint = (
            complaint or self.explain_password(password, username) or rules.explain_email(email)
        )
        if not complaint and not self.validate_username(name):
            complaint = Text(
                "This hub does not allow such a username. Ask an administrator which"
                " form names have here."
            )
        return complaint

    def explain_password(self, password: str, username: str = "") -> str:
        """Say why a password is refused; ``""`` if it is not."""
        return rules.explain_password(
            password,
            username,
            self.minimum_password_length,
            is_common_allowed=not self.check_common_password,
        )

    def is_reserved(self, username: str) -> bool:
        """Return True if a name is an administrator's, which nobody gets by signing up."""
        return username in self.list_admin_names() or self.accounts.is_hub_admin(username)

    def list_admin_names(self) -> list[str]:
        """Return the names of ``admin_users``, the one to set up first in front."""
        return sorted(
            {self.normalize_username(name) for name in self.admin_users},
            key=lambda name: (name != "admin", name),
        )

    async def sign_up(
        self, handler: Any, username: str, password: str, email: str = "", has_2fa: bool = False
    ) -> UserInfo | None:
        """Register an account if its name is free; takes the same time if it is not."""
        username = self.normalize_username(username)
        hashed = await self.hash(handler, password)
        if self.is_reserved(username) or self.accounts.find(username):
            return None
        # Somebody whom an administrator added is known already: being first to sign up proves
        # nothing.
        is_known = self.accounts.is_hub_user(username)
        authorized: Any = null() if is_known else self.open_signup
        return self.accounts.add(
            username, hashed, email=email or None, has_2fa=has_2fa, is_authorized=authorized
        )

    def mail_approval(self, account: UserInfo) -> None:
        """Mail a link by which somebody of an address in ``allow_self_approval_for`` authorizes
        themselves.
        """
        address, pattern = account.email or "", self.allow_self_approval_for
        # The whole address must match: a pattern without `$` would let in
        # name@example.org.evil.net.
        if account.is_authorized or not pattern or not re.fullmatch(pattern, address):
            return
        link = self.make_link(self.generate_approval_url(account.username).removeprefix("/"))
        account.login_email_sent = True
        self.db.commit()
        # In a thread and not awaited: SMTP blocks, and waiting would tell a free name from a taken
        # one.
        sending = asyncio.get_running_loop().run_in_executor(
            None, self.send_approval_email, address, link
        )
        sending.add_done_callback(
            lambda done: (
                done.exception()
                and self.log.error("A confirmation could not be mailed: %s", done.exception())
            )
        )

    def is_crowded(self) -> bool:
        """Return True if as many accounts wait for authorization as may wait."""
        return self.accounts.count_pending() >= self.max_pending_signups

    def get_unauthed_amount(self) -> int:
        """Return how many accounts wait for authorization."""
        return self.accounts.count_pending()

    def create_user(self, username: str, password: str, **kwargs: Any) -> UserInfo | None:
        """Register an account at once, for imports; people go through ``sign_up``."""
        username = self.normalize_username(username)
        if (
            self.explain_signup(username, password, kwargs.get("email") or "")
            or self.is_reserved(username)
            or self.accounts.find(username)
        ):
            return None
        return self.accounts.add(
            username, hash_password(password), is_authorized=self.open_signup, **kwargs
        )

    def make_link(self, path: str) -> str:
        """Return the address under which people reach a page of the hub."""
        app = self.parent
        if app.public_url:
            return f"{app.public_url.rstrip('/')}/hub/{path}"
        address = self.public_address or app.bind_url.removesuffix(app.base_url)
        return f"{address.rstrip('/')}{app.hub_prefix}{path}"
