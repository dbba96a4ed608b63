"""What goes on in the background of a backend: work that is done once for all who ask, tasks that
nobody waits for, and deletions that are still due.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from mlhub.backends.inventory import name_owner
from mlhub.errors import BackendError
from mlhub.identity import Identity
from mlhub.workspaces.port import Backend, Reason, Recipient, Resource

RETRY_SECONDS = 5.0
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Once(Generic[Result]):
    """Work that is done once, however many ask for its result, and again after a failure.

    A result is good for ``fresh_seconds``. Whoever is cancelled ends the work for nobody else.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, Result]], fresh_seconds: float = math.inf
    ) -> None:
        self._work, self.fresh_seconds = work, fresh_seconds
        self._task: asyncio.Task[Result] | None = None
        self._done_at = 0.0

    async def get(self) -> Result:
        """Return the result; raise what the work raised."""
        if self._task is None or self._is_due(self._task):
            self._task = asyncio.create_task(self._do())
            # A failure that nobody waits for any more is no more than the next one's second try.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)

    def forget(self) -> None:
        """Do the work again for whoever asks next."""
        self._task = None

    async def _do(self) -> Result:
        result = await self._work()
        self._done_at = asyncio.get_running_loop().time()
        return result

    def _is_due(self, task: asyncio.Task[Result]) -> bool:
        if not task.done():
            return False
        if task.cancelled() or task.exception() is not None:
            return True
        return asyncio.get_running_loop().time() - self._done_at > self.fresh_seconds


async def await_to_the_end(call: Awaitable[Any]) -> Any:
    """Await what cannot be taken back: whoever is cancelled meanwhile waits for it, or it would
    appear when nobody looks.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody asks for it any more
        raise


class BackgroundBackend(Backend):
    """Complete deletions in the background where the place failed, before a name is used again."""

    def __init__(self, hub_name: str) -> None:
        self.hub_name = hub_name
        self._deletions: dict[Identity, tuple[asyncio.Task[None], Reason]] = {}
        self._background: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def _delete(self, identity: Identity, reason: Reason) -> None:
        """Remove a workspace for good and move its data to the trash; raise ``BackendError`` where
        that fails.
        """

    async def delete_workspace(self, identity: Identity, reason: Reason = Reason.DELETED) -> None:
        """Remove what runs and trash the data; where the place fails, go on trying in the
        background.

        JupyterHub forgets the server whatever happens here, and a new one of that name must not get
        the old data: ``finish_deletion`` makes its start wait.
        """
        try:
            await self._delete(identity, reason)
        except BackendError:
            if identity not in self._deletions:
                retry = asyncio.create_task(self._retry_deletion(identity, reason))
                self._deletions[identity] = retry, reason
            raise

    async def finish_deletion(self, identity: Identity) -> None:
        """Complete a deletion that is still due before its name is used again."""
        due = self._deletions.pop(identity, None)
        if due is not None:
            retry, reason = due
            retry.cancel()
            # What it does at this moment must not meet what is made after it.
            await asyncio.wait({retry})
            await self.delete_workspace(identity, reason)

    async def finish_deletions_of(self, resource: Resource, to: Recipient | None) -> None:
        """Complete deletions that are due before something comes back, or it would go again with
        them.
        """
        await self.finish_deletion(name_owner(self.hub_name, resource))
        if to is not None:
            await self.finish_deletion(to.identity)

    async def _retry_deletion(self, identity: Identity, reason: Reason) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._delete(identity, reason)
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
