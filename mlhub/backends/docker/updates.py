"""Newer images: whether there is one, and how to get it.

Invariants: a registry that does not answer holds up nobody for longer than ``PATIENCE_SECONDS`` and
is never an error; it is not asked about an image more often than every ``FRESH_SECONDS``.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from mlhub.backends.background import Once
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
        self.engine = engine
        self._digests: dict[str, Once[str]] = {}

    async def find(self, container: dict[str, Any], asks_registry: bool = True) -> str | None:
        """Tell where an image is that is newer than the container's: "local", "registry", or None
        where none is known.
        """
        reference = str(container["Config"]["Image"])
        image = await self.engine.find("inspect_image", reference)
        if image is None:
            return None
        if image["Id"] != container["Image"]:
            return LOCAL
        # An image that was built here came from no registry; one that is named by its digest never
        # changes.
        known = {entry.rpartition("@")[2] for entry in image.get("RepoDigests") or []}
        if not known or not asks_registry or "@" in reference or reference.startswith("sha256:"):
            return None
        digest = await self._read_digest(reference)
        return REGISTRY if digest and digest not in known else None

    async def fetch(
        self, container: dict[str, Any], listener: Listener, asks_registry: bool = True
    ) -> dict[str, Any] | None:
        """Get the newest image for a container; return its description, or None where the container
        has it already.

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
        if reference not in self._digests:
            self._digests[reference] = Once(partial(self._ask, reference), FRESH_SECONDS)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._digests[reference].get()
        except TimeoutError:
            return ""

    async def _ask(self, reference: str) -> str:
        try:
            answer = await self.engine.call("inspect_distribution", reference)
        except (DockerException, RequestException) as error:
            log.info("Whether %s has a newer version is unknown: %s", reference, error)
            return ""
        return str((answer.get("Descriptor") or {}).get("digest") or "")
