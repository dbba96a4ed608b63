"""The images that are offered where no policy lists them: what the user config names, written down
for ``mlhub images pull``, which does not run that file, and the larger workspaces on the host.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

from mlhub.backends.docker.engine import Engine
from mlhub.errors import SettingsError
from mlhub.options.our_images import list_variants
from mlhub.policy.model import SpawnerDefaults
from mlhub.settings import Settings

NAME = "offered_images.json"
log = logging.getLogger(__name__)


def note_images(defaults: SpawnerDefaults) -> None:
    """Write down the images that the site's configuration names, the default one first."""
    try:
        file = Settings.load().data_volume_container / NAME
    except SettingsError:
        return  # no container of ours
    fresh = file.with_name(f".{NAME}.new")
    images = list(dict.fromkeys([defaults.image, *defaults.workspace_images]))
    try:
        fresh.write_text(json.dumps(images))
        fresh.replace(file)
    except OSError as error:
        log.warning("%s cannot be written (%s): `mlhub images pull` has an older one", file, error)


def read_images(folder: Path) -> list[str]:
    """Read what was written down in the data directory; nothing where no hub has started yet."""
    try:
        found = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


async def find_variants(engine: Engine, default_image: str) -> tuple[str, ...]:
    """List the larger workspaces that belong to the default image and are on the host."""
    names = list_variants(default_image)
    found = await asyncio.gather(*(engine.find("inspect_image", each) for each in names))
    return tuple(name for name, image in zip(names, found, strict=True) if image)
