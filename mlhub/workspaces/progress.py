"""What a start has come to, told to everybody who watches it.

Invariants: percentages never go back within one start, and who begins to watch late sees all that
was told before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from mlhub.texts import translate


class Progress:
    """Collect the events of one start. ``watch`` never ends by itself: JupyterHub ends it with the
    start.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self._changed = asyncio.Event()

    def report(self, percent: float, message: str) -> None:
        """Tell how far the start has come, 0 to 100; ``seconds`` of the event count from its
        begin.
        """
        last = self.events[-1]["progress"] if self.events else 0
        event = {"progress": min(100, max(last, int(percent))), "message": message}
        if self.events and self.events[-1].items() >= event.items():
            return
        event["seconds"] = round(time.monotonic() - self._began, 1)
        self.events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all events, the past ones first."""
        shown = 0
        while True:
            changed = (
                self._changed
            )  # taken before looking, so that nothing told meanwhile is missed
            while shown < len(self.events):
                event = self.events[shown]
                # In the language of whoever watches.
                yield event | {"message": translate(event["message"])}
                shown += 1
            await changed.wait()
