"""Pull the site's images before anybody waits for them: once by ``mlhub images pull``, or again and
again by the hub.

Invariants: one image that cannot be pulled keeps no other from being pulled. What runs keeps the
image that it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from mlhub.backends.docker.engine import Engine
from mlhub.errors import MLHubError

Report = Callable[[str, float, str], None]  # image, percent, message
log = logging.getLogger(__name__)


async def pull_images(
    engine: Engine, images: Iterable[str], report: Report | None = None
) -> dict[str, str]:
    """Pull images one after the other; return a sentence for each one that could not be pulled."""
    failures: dict[str, str] = {}
    for image in images:

        def tell(percent: float, message: str, image: str = image) -> None:
            if report:
                report(image, percent, message)

        try:
            with engine.friendly_errors():
                await engine.pull(image, tell)
        except MLHubError as error:
            failures[image] = str(error)
    return failures


async def keep_pulling(
    engine: Engine, list_images: Callable[[], list[str]], seconds: float
) -> None:
    """Pull the images that ``list_images`` names now and every so many seconds, for ever."""
    while True:
        try:
            images = list_images()
        except MLHubError as error:
            log.warning("%s", error)
            images = []
        for sentence in (await pull_images(engine, images)).values():
            log.warning("%s", sentence)
        await asyncio.sleep(seconds)
