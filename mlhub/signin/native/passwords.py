"""Hash and verify passwords with bcrypt, away from the event loop.

Invariants: one verification takes the same time whether or not there is a hash to compare with, and
no input raises.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import bcrypt

from mlhub.signin.native.rules import MAX_PASSWORD_BYTES

NICENESS = 15


def hash_password(password: str) -> bytes:
    """Return the bcrypt hash to keep. The caller has checked the length."""
    return bcrypt.hashpw(password.encode("utf-8", "replace"), bcrypt.gensalt())


def is_password(password: str, hashed: bytes | None) -> bool:
    """Return True if a password belongs to a hash.

    Without a hash spend the same time and say no.
    """
    # bcrypt before version 5 cut at 72 bytes silently; hashes made then must still verify.
    secret = password.encode("utf-8", "replace")[:MAX_PASSWORD_BYTES]
    try:
        if hashed is None:
            bcrypt.hashpw(secret, bcrypt.gensalt())
            return False
        return bcrypt.checkpw(secret, hashed)
    except ValueError:  # a NUL character, or a stored hash that is none
        return False


class PasswordHasher:
    """Run bcrypt in threads of its own, so that the hub answers everybody else meanwhile. Who asks
    has a turn (``Turns``).
    """

    def __init__(self, workers: int | None = None) -> None:
        # bcrypt releases the interpreter lock; one core stays free for the event loop.
        self.workers = workers or max(1, min(4, (os.cpu_count() or 2) - 1))
        self._executor = ThreadPoolExecutor(self.workers, "bcrypt", initializer=_give_way)

    async def hash(self, password: str) -> bytes:
        """Return the hash to keep."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, hash_password, password
        )

    async def verify(self, password: str, hashed: bytes | None) -> bool:
        """Return True if a password belongs to a hash."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, is_password, password, hashed
        )


def _give_way() -> None:
    """Put this thread, on Linux alone, behind all others of the container: each answer of the hub
    would wait for the end of its slice.
    """
    with suppress(OSError):  # where something forbids even that, passwords are checked all the same
        os.nice(NICENESS)
