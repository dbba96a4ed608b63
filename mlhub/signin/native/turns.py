"""Who is next where a few at a time are served and many wait: nobody's crowd makes others wait for
more than one of it.

Invariants: lanes get turns alternately, sources within a lane alternately, requests of a source in
their order; what waits is bounded, for each source and in all, and where that is full, whoever has
most waiting gives way.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlhub.errors import CapacityError
from mlhub.texts import Text

SENTENCE = Text("Very many people are signing in at this moment. Try again in a few seconds.")
Queues = OrderedDict[str, deque["asyncio.Future[None]"]]


class Turns:
    """Serve ``slots`` at a time."""

    def __init__(
        self, slots: int, *, lanes: int = 1, per_source: int = 500, per_lane: int = 2000
    ) -> None:
        self._free = slots
        self._per_source, self._per_lane = per_source, per_lane
        self._lanes: list[Queues] = [OrderedDict() for _ in range(lanes)]
        self._last_lane = 0

    @asynccontextmanager
    async def take(self, source: str, lane: int = 0) -> AsyncIterator[None]:
        """Wait for a turn, and have it as long as the block runs. Raises ``CapacityError`` where
        too many wait.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(self._lanes[lane], source)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, queues: Queues, source: str) -> None:
        if len(queues.get(source, ())) >= self._per_source:
            raise CapacityError(SENTENCE)
        if sum(map(len, queues.values())) >= self._per_lane:
            self._make_room(queues, source)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queues.setdefault(source, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given to somebody who has just gone
            raise

    def _make_room(self, queues: Queues, source: str) -> None:
        crowd = max(queues, key=lambda each: len(queues[each]))
        if len(queues.get(source, ())) + 1 >= len(queues[crowd]):
            raise CapacityError(SENTENCE)
        turn = queues[crowd].pop()
        if not turn.done():
            turn.set_exception(CapacityError(SENTENCE))

    def _pass_on(self) -> None:
        while turn := self._find_next():
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _find_next(self) -> asyncio.Future[None] | None:
        for step in range(1, len(self._lanes) + 1):
            number = (self._last_lane + step) % len(self._lanes)
            if queues := self._lanes[number]:
                self._last_lane = number
                source, queue = queues.popitem(last=False)
                turn = queue.popleft()
                if queue:
                    queues[source] = queue  # behind all others
                return turn
        return None
