"""Count what runs, once a minute (``c.MLHub.usage_seconds``), for the pages about usage.

Invariants: nobody waits for it. What could not be written is written with the next minute's; what
ran while no hub looked is not counted.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from mlhub.admin.usage import LOOKED_AT_DAYS, Amounts, add_to_day, count, forget_old_days
from mlhub.admin.usage_sums import PastUsage
from mlhub.workspaces.hub_database import ask_beside
from mlhub.workspaces.spawner import find_workspace

MOST_SECONDS = 600.0  # between two looks: a machine that slept has run nothing meanwhile
AT_ONCE = 100  # people, between whom the hub answers


class UsageCounter:
    """Remember what ran since it was last written; ``app`` is JupyterHub."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._counted: dict[tuple[date, int], tuple[str, Amounts]] = {}
        self._forgot_on: date | None = None

    async def run(self, every: float) -> None:
        """Count for as long as the hub runs."""
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(every)
            now = time.monotonic()
            await self.look(min(now - looked_at, MOST_SECONDS), datetime.now(UTC).date())
            looked_at = now
            try:
                await self.write()
            except SQLAlchemyError as error:
                self.app.log.warning("What ran is written with the next minute's: %s", error)

    async def look(self, seconds: float, day: date) -> None:
        """Count what runs now as running since the last look."""
        for number, user in enumerate(list(self.app.users.values())):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            running = [spawner for spawner in user.spawners.values() if spawner.ready]
            if not running:
                continue
            name, amounts = self._counted.get((day, user.id), (user.name, Amounts()))
            for spawner in running:
                amounts += self._count_one(spawner, seconds)
            self._counted[day, user.id] = (name, amounts)

    def _count_one(self, spawner: Any, seconds: float) -> Amounts:
        workspace: Any = find_workspace(spawner)
        if workspace is None:  # a site's own spawner class knows nothing of what it granted
            return count(None, seconds)
        disk = workspace.site.disk.sum_by_name(spawner.user.name)
        return count(workspace.reservation, seconds) + Amounts(disk=float(disk))

    async def write(self) -> None:
        """Add to the database what was counted."""
        factory = self.app.session_factory
        for day in sorted({day for day, _ in self._counted}):
            counted = {user: found for (at, user), found in self._counted.items() if at == day}
            await ask_beside(factory, partial(add_to_day, day=day, counted=counted))
            for user in counted:
                del self._counted[day, user]
            await self.app.past_usage.forget(day)
            if self._forgot_on != day:
                self._forgot_on = day
                await ask_beside(factory, partial(forget_old_days, today=day))
                # Nobody waits for what most look at.
                await self.app.past_usage.find(day - timedelta(days=LOOKED_AT_DAYS - 1), day)


async def start_counting(app: Any) -> None:
    """Begin with the hub; ``app`` is JupyterHub."""
    app.past_usage = PastUsage(app.session_factory)
    if app.usage_seconds:
        app.usage_counting = asyncio.create_task(UsageCounter(app).run(app.usage_seconds))
