"""The image of one workspace: have it here, check it, tell whether there is a newer one, get that.

Promise: what a container needs that exists already never keeps it from starting: neither a registry that is gone, nor a
full disk, which its owner may have to start it for to tidy up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jupyterhub

from mlhub.backends.docker import preflight
from mlhub.backends.docker.arguments import keeps_data, resolve
from mlhub.backends.docker.hosts import is_local
from mlhub.errors import CapacityError, ImageError, WorkspaceError

if TYPE_CHECKING:
    from mlhub.backends.docker.spawner import MLHubDockerSpawner

PULL_BEGINS, PULL_ENDS = 5, 60  # percent of a start


class WorkspaceImage:
    """Look after the image of one workspace."""

    def __init__(self, spawner: MLHubDockerSpawner) -> None:
        """Nothing is asked yet."""
        self.spawner, self.backend, self.engine = spawner, spawner.backend, spawner.backend.engine

    async def prepare(self) -> None:
        """Make sure of the image, and that a container which has to be made could run; raise a sentence where not."""
        spawner = self.spawner
        spawner.report(0, "Looking for the image")
        found, here = await asyncio.gather(spawner.inspect(), self._find_here())
        is_new = found is None or spawner.update_due or found["Config"]["Image"] != spawner.image
        try:
            image = await self.ensure(here)
        except (ImageError, CapacityError) as error:
            if is_new:
                raise
            spawner.log.warning("%s The container of %s is there and is tried without.", error, spawner.object_name)
            return
        if is_new:
            await self.check(image, spawner.image)

    async def ensure(self, here: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the description of the image, which is pulled where it is not ``here`` or the site wants that each time."""
        spawner, reference = self.spawner, self.spawner.image
        spawner.image_info = None
        image = here or await self._find_here()
        if image is None and spawner.pull_policy == "never":
            raise ImageError(
                f"The image {reference!r} is not on the Docker host, and pulling is switched off. Ask your administrator to pull it."
            )
        if image is None:
            await self._check_disk()
            await self.engine.pull(reference, self._report_pull)
            image = dict(await self.engine.call("inspect_image", reference))
        spawner.image_info = image
        return image

    async def check(self, image: dict[str, Any], reference: str) -> None:
        """Refuse an image that can not run here, or a disk that is nearly full; warn of a hub of another time."""
        spawner = self.spawner
        site = await resolve(spawner, spawner.extra_create_kwargs)
        preflight.check_image(
            image, await self.engine.read_version(), reference, site.get("platform"), spawner.cmd or site.get("command") or []
        )
        version = preflight.find_hub_version(image, reference)
        if warning := preflight.judge_hub_version(version, jupyterhub.__version__, reference):
            spawner.log.warning("%s: %s", reference, warning)
            spawner.report(PULL_BEGINS, warning)
        await self._check_disk()

    async def find_update(self) -> str | None:
        """Tell where a newer image is: "local", "registry", or None where none is known."""
        found = await self.spawner.inspect()
        return await self.backend.updates.find(found, self.spawner.pull_policy != "never") if found else None

    async def begin_update(self) -> None:
        """Get the newest image and have the next start take it."""
        found = await self.spawner.inspect()
        if found is None:
            raise WorkspaceError("This workspace has no container yet. Its first start takes the newest image that is here.")
        if keeps_data(found):
            raise WorkspaceError(
                "This workspace keeps its files inside its container, because it was made without a volume: with another image they would be lost. "
                "Copy the files out, delete the workspace and make it anew."
            )
        await self._check_disk()
        image = await self.backend.updates.fetch(found, self._report_pull, self.spawner.pull_policy != "never")
        if image is None:
            raise WorkspaceError(f"This workspace has the newest image already that {found['Config']['Image']!r} stands for.")
        await self.check(image, found["Config"]["Image"])
        self.spawner.update_due = True

    async def describe(self) -> dict[str, Any]:
        """Describe the image that the workspace has, or else the one that its first start takes."""
        found = await self.spawner.inspect()
        reference = str(found["Config"]["Image"]) if found else self.spawner.image
        image = await self.engine.find("inspect_image", found["Image"] if found else reference) or {}
        is_old = found is not None and await self.backend.updates.find(found, self.spawner.pull_policy != "never") is not None
        return {
            "reference": reference,
            "id": str(found["Image"] if found else image.get("Id") or ""),
            "created": str(image.get("Created") or ""),
            "update_available": is_old,
        }

    async def _find_here(self) -> dict[str, Any] | None:
        return None if self.spawner.pull_policy == "always" else await self.engine.find("inspect_image", self.spawner.image)

    def _report_pull(self, percent: float, message: str) -> None:
        self.spawner.report(PULL_BEGINS + (PULL_ENDS - PULL_BEGINS) * percent / 100, message)

    async def _check_disk(self) -> None:
        info = await self.backend.host.read()
        own = await self.backend.find_self()
        is_here = is_local(info, self.engine.address)
        free = await asyncio.to_thread(preflight.read_free_disk, info, is_here, own is not None)
        preflight.check_disk(free, self.spawner.min_free_disk)
