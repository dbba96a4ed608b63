"""Sign-in with names and passwords that the hub keeps itself.

``MLHubNativeAuthenticator`` makes NativeAuthenticator 1.3 work on JupyterHub 6 and safe on a
public address: strict defaults, a lock-out, hashing off the event loop, answers that do not tell
who has an account, no change by GET, and nobody who grabs the administrator's name.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from typing import Any

import onetimepass
from jupyterhub.utils import maybe_future
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado import web
from traitlets import Any as AnyTrait
from traitlets import Bool, Integer, Unicode, default

from mlhub.auth import rules
from mlhub.auth.accounts import Accounts, create_table
from mlhub.auth.lockout import Lockout
from mlhub.auth.passwords import PasswordHasher, hash_password
from mlhub.auth.setup import burn_setup_code, ensure_setup_code, is_setup_code
from mlhub.errors import CapacityError, SettingsError

_TOTP_SECONDS = 30


class MLHubNativeAuthenticator(NativeAuthenticator):
    """Authenticate people by accounts in the hub's own database."""

    minimum_password_length = Integer(
        rules.DEFAULT_MINIMUM_PASSWORD_CHARACTERS, config=True, help="Characters that a new password needs at least."
    )
    check_common_password = Bool(True, config=True, help="Refuse passwords that are easy to guess.")
    allowed_failed_logins = Integer(5, config=True, help="Failed attempts after which a name is locked; 0 switches the lock off.")
    seconds_before_next_try = Integer(600, config=True, help="Seconds for which a name stays locked.")
    max_pending_signups = Integer(1000, config=True, help="Accounts that may wait for authorisation at the same time.")
    admin_password: Any = AnyTrait(
        None, allow_none=True, config=True, help="Password (text or SecretStr) of the first administrator; the account is made at start."
    )
    setup_directory = Unicode(
        "", config=True, help="Directory of the one-time setup code for the first administrator. Empty: there is no such code."
    )
    public_address = Unicode(
        "", config=True, help="Address under which people reach the hub, for printed links: `https://hub.example.org`."
    )

    @default("allow_all")
    def _allow_all_default(self) -> bool:
        # Safe here and only here: `authenticate` lets nobody in who was not authorised.
        # A site that names its `allowed_users` means them, so they are not overruled.
        return not self.allowed_users

    @default("db")
    def _db_default(self) -> Any:
        return self._deprecated_db_session

    def add_new_table(self) -> None:
        """Make the table of accounts, or add the columns that an older version did not know."""
        create_table(self.db)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_all  # noqa: B018 - decided now, before the hub adds names to `allowed_users`
        self.accounts = Accounts(self.db)
        self.lockout = Lockout(self.allowed_failed_logins, self.seconds_before_next_try)
        self.setup_lockout = Lockout(self.allowed_failed_logins or 5, self.seconds_before_next_try)
        self.hasher = PasswordHasher()
        self._used_tokens: dict[str, int] = {}

    # --- signing in -------------------------------------------------------------------------

    async def authenticate(self, handler: web.RequestHandler, data: dict[str, str]) -> str | None:
        """Return the name of the person who knows its password and may come in.

        Raises ``web.HTTPError`` with a sentence for a locked name (429, whether or not it exists)
        and, only after the right password, for an account that waits for authorisation (403).
        """
        username = self.normalize_username(data.get("username") or "")
        password = data.get("password") or ""
        if not username or len(username) > rules.MAX_USERNAME_CHARACTERS or not password:
            return None
        self.refuse_if_locked(self.lockout, username, "this name")
        account = self.accounts.find(username)
        hashed = account.password if account else None
        if not await self.verify(password, hashed):
            return None
        # Others ran while the password was checked: the account may have changed or gone.
        account = self.accounts.find(username)
        if account is None or account.password != hashed or not self._accepts_token(account, data.get("2fa") or ""):
            return None
        self.lockout.forget(username)
        if not account.is_authorized:
            raise web.HTTPError(403, "Your account has not been authorised yet. Ask an administrator of this hub, then sign in again.")
        return username

    def refuse_if_locked(self, lockout: Lockout, key: str, subject: str) -> None:
        """Count one attempt; raise 429 when there were too many."""
        wait = lockout.begin(key)
        if wait:
            minutes = max(1, round(wait / 60))
            raise web.HTTPError(429, f"Too many failed attempts for {subject}. Try again in {minutes} minute{'s' * (minutes > 1)}.")

    async def verify(self, password: str, hashed: bytes | None) -> bool:
        """Tell whether a password belongs to a hash, off the event loop."""
        try:
            return await self.hasher.verify(password, hashed)
        except CapacityError as error:
            raise web.HTTPError(503, str(error)) from error

    async def hash(self, password: str) -> bytes:
        """Return the hash to keep of a password, made off the event loop."""
        try:
            return await self.hasher.hash(password)
        except CapacityError as error:
            raise web.HTTPError(503, str(error)) from error

    def _accepts_token(self, account: UserInfo, token: str) -> bool:
        """Check a one-time password (RFC 6238, one step of clock skew); each is accepted once."""
        if not account.has_2fa:
            return True
        now, used = int(time.time()) // _TOTP_SECONDS, self._used_tokens.get(account.username, 0)
        for step in (now - 1, now, now + 1):
            expected = onetimepass.get_totp(account.otp_secret, as_string=True, clock=step * _TOTP_SECONDS)
            if step > used and hmac.compare_digest(expected, token.encode()):
                self._used_tokens[account.username] = step
                return True
        return False

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        """End the session of somebody whose account was removed or is no longer authorised."""
        account = self.accounts.find(user.name)
        if account is None:
            # Somebody for whom an administrator runs a workspace: its token is theirs, a login is not.
            return bool(getattr(handler, "_token_authenticated", False))
        if not account.is_authorized:
            return False
        return await maybe_future(super().refresh_user(user, handler))

    # --- signing up -------------------------------------------------------------------------

    def explain_signup(self, username: str, password: str, email: str = "") -> str:
        """Say what is wrong with a form, from the form alone; ``""`` if nothing is."""
        name = self.normalize_username(username)  # lower-casing can lengthen a name, or take it apart
        complaint = rules.explain_username(username) or rules.explain_username(name)
        complaint = complaint or self.explain_password(password, username) or rules.explain_email(email)
        if not complaint and not self.validate_username(name):
            complaint = "This hub does not allow such a username. Ask an administrator which form names have here."
        return complaint

    def explain_password(self, password: str, username: str = "") -> str:
        """Say why a password is refused; ``""`` if it is not."""
        return rules.explain_password(password, username, self.minimum_password_length, is_common_allowed=not self.check_common_password)

    def is_reserved(self, username: str) -> bool:
        """Tell whether a name is an administrator's, which nobody gets by signing up."""
        return username in self.list_admin_names() or self.accounts.is_hub_admin(username)

    def list_admin_names(self) -> list[str]:
        """Return the names of ``admin_users``, the one to set up first in front."""
        return sorted({self.normalize_username(name) for name in self.admin_users}, key=lambda name: (name != "admin", name))

    async def sign_up(self, username: str, password: str, email: str = "", has_2fa: bool = False) -> UserInfo | None:
        """Register an account if its name is free; takes the same time if it is not."""
        username = self.normalize_username(username)
        hashed = await self.hash(password)
        if self.is_reserved(username) or self.accounts.find(username):
            return None
        # Somebody whom an administrator added is known already: being first to sign up proves nothing.
        authorized = self.open_signup and not self.accounts.is_hub_user(username)
        return self.accounts.add(username, hashed, email=email or None, has_2fa=has_2fa, is_authorized=authorized)

    def mail_approval(self, account: UserInfo) -> None:
        """Mail a link by which somebody of an address in ``allow_self_approval_for`` authorises themselves."""
        address, pattern = account.email or "", self.allow_self_approval_for
        # The whole address must match: a pattern without `$` would let in name@example.org.evil.net.
        if account.is_authorized or not pattern or not re.fullmatch(pattern, address):
            return
        link = self.make_link(self.generate_approval_url(account.username).removeprefix("/"))
        account.login_email_sent = True
        self.db.commit()
        # In a thread and not awaited: SMTP blocks, and waiting would tell a free name from a taken one.
        sending = asyncio.get_running_loop().run_in_executor(None, self.send_approval_email, address, link)
        sending.add_done_callback(
            lambda done: done.exception() and self.log.error("A confirmation could not be mailed: %s", done.exception())
        )

    def is_crowded(self) -> bool:
        """Tell whether as many accounts wait for authorisation as may wait."""
        return self.accounts.count_pending() >= self.max_pending_signups

    def get_unauthed_amount(self) -> int:
        """Return how many accounts wait for authorisation."""
        return self.accounts.count_pending()

    def create_user(self, username: str, password: str, **kwargs: Any) -> UserInfo | None:
        """Register an account at once, for imports; people go through ``sign_up``."""
        username = self.normalize_username(username)
        if self.explain_signup(username, password, kwargs.get("email") or "") or self.is_reserved(username) or self.accounts.find(username):
            return None
        return self.accounts.add(username, hash_password(password), is_authorized=self.open_signup, **kwargs)

    def delete_user(self, user: Any) -> None:
        """Remove the account together with the hub's user."""
        self.accounts.remove(user.name)
        self._used_tokens.pop(user.name, None)
        self.allowed_users.discard(user.name)

    # --- the first administrator ------------------------------------------------------------

    def check_allow_config(self) -> None:
        """Prepare the first administrator; the hub calls this once, when its database is ready."""
        super().check_allow_config()
        names = self.list_admin_names()
        if not names:
            self.log.warning("c.Authenticator.admin_users is empty: nobody can administrate this hub. Name at least one person.")
            return
        if self.admin_password and not self._has_admin():
            self.create_admin(getattr(self.admin_password, "get_secret_value", lambda: self.admin_password)())
        self.announce_setup()

    def create_admin(self, password: str) -> None:
        """Make the first administrator's account with this password. Raises ``SettingsError`` if it is too weak."""
        name = self.list_admin_names()[0]
        complaint = self.explain_password(password, name)
        if complaint:
            raise SettingsError(f"MLHUB_ADMIN_PASSWORD is refused. {complaint}")
        self.accounts.put(name, hash_password(password))
        self.log.info("Created the administrator %r with the password of MLHUB_ADMIN_PASSWORD.", name)

    def announce_setup(self) -> None:
        """Keep a setup code, and log its link, as long as there is no administrator."""
        if not self.setup_directory:
            return
        code = ensure_setup_code(self.setup_directory, has_admin=self._has_admin())
        if code:
            link = self.make_link(f"signup?setup={code}")
            self.log.warning("This hub has no administrator yet. Open this link once to choose the password: %s", link)

    def make_link(self, path: str) -> str:
        """Return the address under which people reach a page of the hub."""
        app = self.parent
        if not self.public_address and app.public_url:
            return f"{app.public_url.rstrip('/')}/hub/{path}"
        address = self.public_address or app.bind_url.removesuffix(app.base_url)
        return f"{address.rstrip('/')}{app.hub_prefix}{path}"

    @property
    def awaits_setup(self) -> bool:
        """Tell whether the first administrator is still to be set up."""
        return bool(self.setup_directory) and bool(self.admin_users) and not self._has_admin()

    async def set_up_admin(self, code: str, username: str, password: str) -> bool:
        """Register an administrator by the one-time code; tell whether the code was right."""
        username = self.normalize_username(username)
        if not self.awaits_setup or username not in self.list_admin_names() or not is_setup_code(self.setup_directory, code):
            return False
        hashed = await self.hash(password)
        # Burnt first: of two who send the code at the same moment one gets the account.
        if not burn_setup_code(self.setup_directory, code):
            return False
        self.accounts.put(username, hashed)
        self.log.warning("The administrator %r was set up; the setup code is used up.", username)
        return True

    def _has_admin(self) -> bool:
        return any((account := self.accounts.find(name)) and account.is_authorized for name in self.list_admin_names())

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return the pages of this authenticator; the same paths as upstream's."""
        from mlhub.auth.admin_handlers import list_admin_handlers
        from mlhub.auth.handlers import list_handlers

        # Our page.html shows its links where these variables are set.
        app.template_vars.setdefault("native_accounts", True)
        app.template_vars.setdefault("pending_signups", lambda user: self.accounts.count_pending() if user and user.admin else 0)
        return list_handlers() + list_admin_handlers()
