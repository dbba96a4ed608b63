"""Hash and verify passwords with bcrypt, away from the event loop.

Promise: one verification takes the same time whether or not there is a hash to compare with,
no input raises, and the number of waiting jobs is bounded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from mlhub.auth.rules import MAX_PASSWORD_BYTES
from mlhub.errors import CapacityError

MAX_WAITING = 64


def hash_password(password: str) -> bytes:
    """Return the bcrypt hash to keep. The caller has checked the length."""
    return bcrypt.hashpw(password.encode("utf-8", "replace"), bcrypt.gensalt())


def is_password(password: str, hashed: bytes | None) -> bool:
    """Tell whether a password belongs to a hash; without a hash spend the same time and say no."""
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
    """Run bcrypt in threads of its own, so that the hub answers everybody else meanwhile."""

    def __init__(self, workers: int | None = None, max_waiting: int = MAX_WAITING) -> None:
        # bcrypt releases the interpreter lock; one core stays free for the event loop.
        self._executor = ThreadPoolExecutor(workers or max(1, min(4, (os.cpu_count() or 2) - 1)), thread_name_prefix="bcrypt")
        self._max_waiting = max_waiting
        self._waiting = 0

    async def hash(self, password: str) -> bytes:
        """Return the hash to keep. Raises ``CapacityError`` when too many wait already."""
        result = await self._run(hash_password, password)
        assert isinstance(result, bytes)
        return result

    async def verify(self, password: str, hashed: bytes | None) -> bool:
        """Tell whether a password belongs to a hash. Raises ``CapacityError`` when too many wait already."""
        return bool(await self._run(is_password, password, hashed))

    async def _run(self, function: Callable[..., object], *args: object) -> object:
        if self._waiting >= self._max_waiting:
            raise CapacityError("Very many people are signing in at this moment. Try again in a few seconds.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        finally:
            self._waiting -= 1
