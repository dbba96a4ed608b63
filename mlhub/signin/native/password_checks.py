"""Passwords, checked and hashed off the event loop; how often somebody tries, whose turn it is."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from typing import Any

from nativeauthenticator import NativeAuthenticator
from tornado import web
from traitlets import Integer, default

from mlhub.errors import TooManyAttemptsError
from mlhub.signin.native.accounts import Accounts, create_table
from mlhub.signin.native.attempts import KNOWN, Attempts
from mlhub.signin.native.lockout import Lockout
from mlhub.signin.native.passwords import PasswordHasher
from mlhub.signin.origin import find_source, friendly_errors


class PasswordAuthenticator(NativeAuthenticator):
    """The part of our authenticator that has the accounts, and checks passwords."""

    allowed_failed_logins = Integer(
        5,
        config=True,
        help=(
            "Failed attempts after which a name is locked for the browser or address they came"
            " from; 0 switches the lock off."
        ),
    )
    seconds_before_next_try = Integer(
        600, config=True, help="Seconds for which a name stays locked."
    )

    @default("allow_all")
    def _allow_all_default(self) -> bool:
        # Safe here and only here: `authenticate` lets nobody in who was not authorized.
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
        # Of those who are signed in already: a borrowed session is no way to try passwords, nor to
        # lock anybody out.
        self.password_lockout = Lockout(self.allowed_failed_logins, self.seconds_before_next_try)
        self.setup_lockout = Lockout(self.allowed_failed_logins or 5, self.seconds_before_next_try)
        self.hasher = PasswordHasher()
        self.attempts = Attempts(
            self.allowed_failed_logins, self.seconds_before_next_try, self.hasher.workers
        )

    def refuse_if_locked(self, lockout: Lockout, key: str, subject: str) -> None:
        """Count one attempt; raise 429 when there were too many."""
        with friendly_errors():
            if wait := lockout.begin(key):
                raise TooManyAttemptsError(subject, wait)

    def list_locked(self) -> dict[str, int]:
        """Return for how many minutes each name is locked, for some of those who try it."""
        found = self.password_lockout.list_locked()
        for name, seconds in self.attempts.list_locked().items():
            found[name] = max(seconds, found.get(name, 0.0))
        return {name: math.ceil(seconds / 60) for name, seconds in found.items()}

    def unlock(self, username: str) -> None:
        """Let somebody try their password again."""
        self.password_lockout.forget(username)
        self.attempts.unlock(username)

    async def verify(
        self, handler: web.RequestHandler, password: str, hashed: bytes | None
    ) -> bool:
        """Return True if a password belongs to a hash, off the event loop, when it is the asker's
        turn.
        """
        with friendly_errors():
            async with self._turn(handler):
                return await self.hasher.verify(password, hashed)

    async def hash(self, handler: web.RequestHandler, password: str) -> bytes:
        """Return the hash to keep of a password, made off the event loop, when it is the asker's
        turn.
        """
        with friendly_errors():
            async with self._turn(handler):
                return await self.hasher.hash(password)

    def _turn(self, handler: web.RequestHandler) -> AbstractAsyncContextManager[None]:
        if handler.current_user:
            return self.attempts.turns.take(f"person {handler.current_user.name}", KNOWN)
        source = find_source(handler.request.remote_ip)
        return self.attempts.turns.take(source, self.attempts.find_lane(source))
