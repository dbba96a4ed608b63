"""What the cluster says about pods that start: one watch for all of them.

Invariants: however many workspaces start at once, this takes one connection to the API. A watch
that ends is started anew; what was said meanwhile is lost, for it only tells people how far a start
has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlhub.backends.kubernetes.client import UNANSWERED, Api

PAUSE_SECONDS = 2.0
Listener = Callable[[dict[str, Any]], None]


class PodEvents:
    """Pass events about pods on to whoever starts one."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._listeners: dict[str, Listener] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def listen(self, pod: str, listener: Listener) -> Iterator[None]:
        """Call ``listener`` with every event about a pod, as long as the block runs."""
        self._listeners[pod] = listener
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            if self._listeners.get(pod) is listener:
                del self._listeners[pod]
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _watch(self) -> None:
        while True:
            try:
                async for event in self._api.watch_pod_events():
                    if listener := self._listeners.get(
                        event.get("involvedObject", {}).get("name", "")
                    ):
                        listener(event)
            except UNANSWERED:
                pass
            await asyncio.sleep(PAUSE_SECONDS)
