"""Which attempts to sign in are let through, and whose turn it is. No JupyterHub; the clock is
handed in.

Invariants: nobody is locked out from afar. Failures count for the name and the place they came
from: a browser in which this person has signed in before, else an address. What all other places
together may guess of one name is bounded, too; it is a bound for those who come from a place that
this person never signed in from, and for nobody else.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mlhub.errors import TooManyAttemptsError
from mlhub.signin.native.lockout import Budget, Lockout
from mlhub.signin.native.turns import Turns

# Each lane gets a third of all turns, as long as somebody waits in it.
KNOWN, FRESH, FAILING = range(3)
# What places that a person never signed in from may guess of the name, all together.
GUESSES_OF_STRANGERS = 100
GUESSES_SECONDS = 3600.0
# So many wrong passwords make an address wait behind those that sent none.
FAILURES_OF_ADDRESS = 10
FAILURES_SECONDS = 600.0
MAX_HOMES = 20_000


@dataclass(frozen=True)
class Attempt:
    """Somebody tries a name, from an address, and in a browser that has an id where that person has
    signed in there before.
    """

    username: str
    source: str
    browser: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """Return what failures are counted for."""
        return self.username, self.browser or self.source


class Attempts:
    """Let attempts through, one after the other."""

    def __init__(
        self, limit: int, seconds: float, slots: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.turns = Turns(slots, lanes=3)
        self.pairs = Lockout(limit, seconds, clock=clock)
        self.strangers = Budget(
            GUESSES_OF_STRANGERS if limit > 0 else 0, GUESSES_SECONDS, clock=clock
        )
        self.failing = Lockout(FAILURES_OF_ADDRESS, FAILURES_SECONDS, clock=clock)
        self._homes: OrderedDict[tuple[str, str], None] = OrderedDict()

    @asynccontextmanager
    async def turn(self, attempt: Attempt) -> AsyncIterator[None]:
        """Wait for the turn of an attempt, count it, and have it as long as the block runs.

        Raises ``TooManyAttemptsError`` for one that is not let through, ``CapacityError`` where too
        many wait.
        """
        self._refuse(self.pairs.wait(attempt.pair), "this name")
        lane = KNOWN if attempt.browser else self.find_lane(attempt.source)
        async with self.turns.take(attempt.browser or attempt.source, lane):
            # Counted now, before the outcome is known: what is sent at once counts like what is
            # sent one by one.
            self._refuse(self.pairs.begin(attempt.pair), "this name")
            if self._is_stranger(attempt):
                cure = " Use a browser in which you have signed in before."
                self._refuse(
                    self.strangers.begin(attempt.username), "this name from many places", cure
                )
            yield

    def fail(self, attempt: Attempt) -> None:
        """Remember that the password was wrong."""
        if not attempt.browser:
            self.failing.begin(attempt.source)

    def succeed(self, attempt: Attempt) -> None:
        """Remember that the password was right."""
        self.pairs.forget(attempt.pair)
        if self._is_stranger(attempt):
            self.strangers.give_back(attempt.username)
        home = attempt.username, attempt.source
        self._homes[home] = None
        self._homes.move_to_end(home)
        if len(self._homes) > MAX_HOMES:
            self._homes.popitem(last=False)

    def forget(self, username: str) -> None:
        """Drop what was guessed of a name, whose password is another one now; and where the old one
        was used.
        """
        self.unlock(username)
        for home in [home for home in self._homes if home[0] == username]:
            del self._homes[home]

    def unlock(self, username: str) -> None:
        """Drop what was guessed of a name."""
        self.strangers.forget(username)
        self.pairs.forget_all(lambda pair: pair[0] == username)

    def list_locked(self) -> dict[str, float]:
        """Return for how many seconds each name is locked, for some of those who try it."""
        found: dict[str, float] = {}
        for (username, _), seconds in self.pairs.list_locked().items():
            found[username] = max(seconds, found.get(username, 0.0))
        return found

    def find_lane(self, source: str) -> int:
        """Return the lane of those whom nobody knows."""
        return FAILING if self.failing.wait(source) else FRESH

    def _is_stranger(self, attempt: Attempt) -> bool:
        return not attempt.browser and (attempt.username, attempt.source) not in self._homes

    @staticmethod
    def _refuse(wait: float, subject: str, cure: str = "") -> None:
        if wait > 0:
            raise TooManyAttemptsError(subject, wait, cure)
