"""The container that a workspace had before: kept until its successor has answered.

Invariants: it is kept stopped, its name with ``.aside`` behind it. Whatever ends a start in
between, the next one mends it: one that is there alone gets its name back; where both are there,
the newer one is tried, kept where it answers, and else the older one is put back.
"""

from __future__ import annotations

import asyncio
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from mlhub.backends.docker.container import PREVIOUS, Container, FormerContainerError
from mlhub.backends.docker.held import keeps_data
from mlhub.errors import MLHubError

REMOVE_ATTEMPTS, REMOVE_PAUSE_SECONDS = 10, 10.0


class Previous:
    """Look after the previous container of one workspace."""

    def __init__(self, main: Container, stop_seconds: int, log: Any) -> None:
        """``main`` is the container that bears the workspace's name."""
        self.main, self.stop_seconds, self.log = main, stop_seconds, log
        self.previous = Container(main.engine, main.identity, main.name + PREVIOUS, main.holder)
        self._old: dict[str, Any] | None = None

    @property
    def is_there(self) -> bool:
        """Return True if the previous container is there beside another one."""
        return self._old is not None

    async def find(self) -> dict[str, Any] | None:
        """Find the container that bears the workspace's name; a previous one that is alone gets
        it back, and those of somebody who had the user's name before are removed.
        """
        try:
            found, self._old = await asyncio.gather(self.main.inspect(), self.previous.inspect())
        except FormerContainerError:
            await self._remove_strangers()
            found, self._old = None, None
        if self._old and (
            self._old["State"].get("Dead") or self._old["State"].get("Status") == "removing"
        ):
            self._old = None
        if self._old and not found:
            self.log.warning(
                "A start of %s was cut off; the container from before it is put back.",
                self.main.name,
            )
            await self.main.rename(self._old["Id"])
            found, self._old = await self.main.inspect(), None
        return found

    async def make_room(self, found: dict[str, Any], is_kept: bool) -> None:
        """Make the workspace's container the previous one; remove it where it is not ``is_kept``,
        or not worth it.
        """
        if found["State"]["Running"]:
            await self.main.end(self.stop_seconds)
        if not is_kept or self._old or found["State"].get("Dead"):
            # Where there is a previous one already, this one never answered.
            await self.main.remove()
        else:
            await self.previous.rename(found["Id"])
            self._old = found

    async def put_back(self) -> str | None:
        """Put the previous container in the place of its successor, and return its id; None where
        there is none, or the engine fails.
        """
        if self._old is None:
            return None
        try:
            await self.main.remove()
            await self.main.rename(self._old["Id"])
        except (MLHubError, DockerException, RequestException) as error:
            self.log.warning(
                "The previous container of %s is put back at the next start: %s",
                self.main.name,
                error,
            )
            return None
        found, self._old = self._old, None
        return str(found["Id"])

    async def remove(self) -> None:
        """Remove the previous container, now that its successor answers."""
        for _ in range(REMOVE_ATTEMPTS):
            try:
                return await self.previous.remove()
            except (MLHubError, DockerException, RequestException) as error:
                self.log.warning(
                    "The previous container of %s is not removed yet: %s", self.main.name, error
                )
            await asyncio.sleep(REMOVE_PAUSE_SECONDS)

    async def _remove_strangers(self) -> None:
        """Remove the containers of somebody who had the user's name before; one that holds files
        itself is left, and nothing starts.
        """
        for container in (self.main, self.previous):
            former = Container(container.engine, container.identity, container.name)
            found = await former.inspect()
            if found is None:
                continue
            if keeps_data(found):
                await container.inspect()
            self.log.warning(
                "%s is of somebody else who was %r before, and is removed.",
                container.name,
                container.identity.user,
            )
            await former.end(self.stop_seconds)
            await former.remove()
