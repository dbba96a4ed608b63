"""What a running workspace takes right now, and what it took in the last hour.

Invariants: one look at a time at a workspace, and looks of pages that stay open are at least
``SOON_SECONDS`` apart, however many people look. Nobody waits for the look of each minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from mlhub.errors import MLHubError
from mlhub.workspaces.measures import Use
from mlhub.workspaces.spawner import find_workspace

KEPT_SECONDS, SOON_SECONDS, EVERY_SECONDS = 3600.0, 4.0, 60.0
AT_ONCE = 4
SETTING = "mlhub_use"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """What a workspace took at a time (seconds since the epoch): cores, None for the first look,
    and bytes of memory.
    """

    at: float
    cpu: float | None
    memory: int


@dataclass
class _Looks:
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=1000))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: tuple[float, Use] | None = None


class UseHistory:
    """Remember the last hour of each workspace that runs; ``app`` is JupyterHub."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._looks: dict[int, _Looks] = {}

    async def run(self) -> None:
        """Look once a minute for as long as the hub runs."""
        while True:
            began = time.monotonic()
            await self._look_at_all()
            took = time.monotonic() - began
            await asyncio.sleep(max(EVERY_SECONDS - took, took))

    async def look(self, spawner: Any) -> list[Point]:
        """Return the last hour of a workspace, and now; nothing where nobody can tell.

        Raises ``BackendError`` where the place does not answer.
        """
        workspace: Any = find_workspace(spawner)
        if workspace is None or not spawner.ready:
            return []
        looks = self._looks.setdefault(spawner.orm_spawner.id, _Looks())
        async with looks.turn:
            last = looks.last
            if last is None or time.monotonic() - last[0] >= SOON_SECONDS:
                use = await workspace.measure_use()
                if use is not None:
                    _note(looks, use)
        oldest = time.time() - KEPT_SECONDS
        return [point for point in looks.points if point.at >= oldest]

    async def _look_at_all(self) -> None:
        spawners = [
            spawner
            for user in list(self.app.users.values())
            for spawner in list(user.spawners.values())
            if spawner.ready
        ]
        running = {spawner.orm_spawner.id for spawner in spawners}
        self._looks = {number: each for number, each in self._looks.items() if number in running}
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(spawner: Any) -> None:
            async with turns:
                try:
                    await self.look(spawner)
                except MLHubError as error:
                    log.debug("What %s takes is not known: %s", spawner._log_name, error)

        await asyncio.gather(*map(look, spawners))


def _note(looks: _Looks, use: Use) -> None:
    now, cpu = time.monotonic(), None
    if looks.last is not None:
        before, last = looks.last
        cpu = (use.cpu_seconds - last.cpu_seconds) / (now - before)
        if cpu < 0:  # it was started anew since
            looks.points.clear()
            cpu = None
    looks.last = (now, use)
    looks.points.append(Point(time.time(), cpu, use.memory))


async def start_looking(app: Any) -> None:
    """Begin with the hub; ``app`` is JupyterHub."""
    history = UseHistory(app)
    app.tornado_application.settings[SETTING] = history
    app.use_looking = asyncio.create_task(history.run())
