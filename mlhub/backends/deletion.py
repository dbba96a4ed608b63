"""What goes on in the background of a backend: tasks that nobody waits for, and deletions that are still due."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Any

from mlhub.backends.base import Backend
from mlhub.errors import BackendError
from mlhub.workspace.identity import Identity

RETRY_SECONDS = 10.0
log = logging.getLogger(__name__)


class BackgroundBackend(Backend):
    """Complete deletions in the background where the place failed, before the name is used again."""

    def __init__(self, hub_name: str) -> None:
        self.hub_name = hub_name
        self._deletions: dict[Identity, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def _delete(self, identity: Identity) -> None:
        """Remove a workspace for good and move its data to the trash; raise ``BackendError`` where that fails."""

    async def delete_workspace(self, identity: Identity) -> None:
        """Remove what runs and trash the data; where the place fails, go on trying in the background.

        JupyterHub forgets the server whatever happens here, and a new one of that name must not get the old data:
        ``finish_deletion`` makes its start wait.
        """
        try:
            await self._delete(identity)
        except BackendError:
            if identity not in self._deletions:
                self._deletions[identity] = asyncio.create_task(self._retry_deletion(identity))
            raise

    async def finish_deletion(self, identity: Identity) -> None:
        """Complete a deletion that is still due before its name is used again."""
        task = self._deletions.pop(identity, None)
        if task is not None:
            task.cancel()
            await self.delete_workspace(identity)

    async def _retry_deletion(self, identity: Identity) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._delete(identity)
            except BackendError as error:
                log.warning("Deleting %s is still due: %s", identity.container, error)
            else:
                self._deletions.pop(identity, None)
                return

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that nobody waits for, and log how it fails."""
        self._background.add(task)

        def report(done: asyncio.Task[Any]) -> None:
            self._background.discard(done)
            if not done.cancelled() and done.exception():
                log.warning("%s", done.exception())

        task.add_done_callback(report)
