"""Stops that were accepted, and that the place where workspaces run did not carry out.

JupyterHub forgets that a server runs, whatever its stop raises. So it is tried again until it is
done or the workspace is started again; the spawner's state says so to a hub that starts meanwhile.

Invariants: nothing that was started since is stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mlhub.errors import BackendError, MLHubError
from mlhub.identity import Identity

RETRY_SECONDS = 5.0
log = logging.getLogger(__name__)


class DueStops:
    """Try the stops of one hub that are due."""

    def __init__(self) -> None:
        self._due: dict[Identity, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def add(self, identity: Identity, stop: Callable[[], Awaitable[None]]) -> None:
        """Try a stop every few seconds until it is done; of one workspace one stop is enough."""
        task, is_over = self._due.get(identity, (None, None))
        if task is None or task.done():
            is_over = asyncio.Event()
            task = asyncio.create_task(self._keep_trying(identity, stop, is_over))
            self._due[identity] = task, is_over

    def is_due(self, identity: Identity) -> bool:
        """Return True if the stop of a workspace is tried again."""
        return identity in self._due

    async def forget(self, identity: Identity) -> None:
        """Try no more, and wait for what is under way: it cannot be taken back."""
        if due := self._due.pop(identity, None):
            task, is_over = due
            is_over.set()
            await asyncio.wait({task})

    async def _keep_trying(
        self, identity: Identity, stop: Callable[[], Awaitable[None]], is_over: asyncio.Event
    ) -> None:
        while not await _is_set(is_over, RETRY_SECONDS):
            try:
                await stop()
            except BackendError as error:
                log.warning("Stopping %s is still due: %s", identity.container, error)
                continue
            except MLHubError as error:  # what has its name is somebody else's
                log.warning("%s is not stopped any more: %s", identity.container, error)
            else:
                log.info("%s has stopped at last.", identity.container)
            self._due.pop(identity, None)
            return


async def stop_now_or_later(spawner: Any, now: bool) -> None:
    """Stop a workspace, as soon as its place answers. Raises ``BackendError`` where that is
    later.
    """
    try:
        await spawner.stop_workspace(now)
    except BackendError:
        # JupyterHub stores it with the rest of the state.
        spawner.grant = replace(spawner.grant, is_stop_due=True)
        keep_stopping(spawner, now)
        raise


def keep_stopping(spawner: Any, now: bool = False) -> None:
    """Try a stop that is due until it is done."""
    spawner.site.stops.add(spawner.identity, partial(spawner.stop_workspace, now))


async def forget_stop(spawner: Any) -> None:
    """Have a stop that is due end nothing that is started from now on."""
    await spawner.site.stops.forget(spawner.identity)
    if spawner.grant.is_stop_due:
        spawner.grant = replace(spawner.grant, is_stop_due=False)
        spawner.orm_spawner.state = spawner.get_state()
        spawner.user.db.commit()


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, so many seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
