"""Newer images: whether there is one, and how to get it.

Promise: a registry that does not answer holds up nobody for longer than ``PATIENCE_SECONDS`` and is never an error;
it is not asked about an image more often than every ``FRESH_SECONDS``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.pulls import Listener
from mlhub.errors import ImageError

FRESH_SECONDS = 600.0
PATIENCE_SECONDS = 4.0
LOCAL, REGISTRY = "local", "registry"
log = logging.getLogger(__name__)


class Updates:
    """Look for newer images."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is known yet."""
        self.engine = engine
        self._digests: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def find(self, container: dict[str, Any], asks_registry: bool = True) -> str | None:
        """Tell where an image is that is newer than the container's: "local", "registry", or None where none is known."""
        reference = str(container["Config"]["Image"])
        image = await self.engine.find("inspect_image", reference)
        if image is None:
            return None
        if image["Id"] != container["Image"]:
            return LOCAL
        # An image that was built here came from no registry; one that is named by its digest never changes.
        known = {entry.rpartition("@")[2] for entry in image.get("RepoDigests") or []}
        if not known or not asks_registry or "@" in reference or reference.startswith("sha256:"):
            return None
        digest = await self._read_digest(reference)
        return REGISTRY if digest and digest not in known else None

    async def fetch(self, container: dict[str, Any], listener: Listener, asks_registry: bool = True) -> dict[str, Any] | None:
        """Get the newest image for a container; return its description, or None where the container has it already.

        Raises ``ImageError`` where the registry does not give it and no newer one is here.
        """
        reference = str(container["Config"]["Image"])
        refusal = None
        try:
            if asks_registry:
                await self.engine.pull(reference, listener)
        except ImageError as error:
            refusal = error
        image: dict[str, Any] | None = await self.engine.find("inspect_image", reference)
        if image is not None and image["Id"] != container["Image"]:
            if refusal:
                log.warning("%s A newer one is here and is taken.", refusal)
            return image
        if refusal:
            raise refusal
        return None

    async def _read_digest(self, reference: str) -> str:
        now = asyncio.get_running_loop().time()
        at, task = self._digests.get(reference, (0.0, None))
        if task is None or now - at > FRESH_SECONDS:
            task = asyncio.create_task(self._ask(reference))
            self._digests[reference] = (now, task)
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        return task.result() if done else ""

    async def _ask(self, reference: str) -> str:
        try:
            answer = await self.engine.call("inspect_distribution", reference)
        except (DockerException, RequestException) as error:
            log.info("Whether %s has a newer version is unknown: %s", reference, error)
            return ""
        return str((answer.get("Descriptor") or {}).get("digest") or "")
