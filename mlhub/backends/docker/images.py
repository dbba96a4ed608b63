"""The image of one workspace: have it here, check it, tell whether there is a newer one, get that.

Invariants: what a container needs that exists already never keeps it from starting: neither a
registry that is gone, nor a full disk, which its owner may have to start it for to tidy up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jupyterhub

from mlhub.backends.docker import preflight
from mlhub.backends.docker.held import keeps_data
from mlhub.backends.docker.inventory import DockerBackend
from mlhub.backends.docker.traits import ConfiguredDockerSpawner
from mlhub.errors import CapacityError, ImageError, WorkspaceError
from mlhub.texts import Text
from mlhub.workspaces.port import ImageInfo

PULL_BEGINS, PULL_ENDS = 5, 60  # percent of a start


@dataclass(frozen=True)
class WorkspaceImage:
    """Look after the image of one workspace.

    ``command`` is what the site starts in place of the image's own; ``read_site`` returns its
    arguments for ``create_container``.
    """

    backend: DockerBackend
    reference: str
    pull_policy: str
    command: Sequence[str]
    read_site: Callable[[], Awaitable[Mapping[str, Any]]]
    min_free_disk: int
    report: Callable[[float, str], None]
    log: Any

    async def prepare(
        self, finding: Awaitable[dict[str, Any] | None], is_update: bool
    ) -> dict[str, Any] | None:
        """Make sure of the image, and that a container which has to be made could run; raise a
        sentence where not.

        ``finding`` is the look-up of the container. Returns the image's description, None where it
        cannot be had, and the container that is there may do without.
        """
        self.report(0, Text("Looking for the image"))
        found, here = await asyncio.gather(finding, self._find_here())
        is_new = found is None or is_update or found["Config"]["Image"] != self.reference
        try:
            image = await self.ensure(here)
        except (ImageError, CapacityError) as error:
            if found is None or is_new:
                raise
            self.log.warning(
                "%s The container of %s is there and is tried without.",
                error,
                found["Name"].lstrip("/"),
            )
            return None
        if is_new:
            await self.check(image, self.reference)
        return image

    async def ensure(self, here: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the description of the image, which is pulled where it is not ``here`` or the site
        wants that each time.
        """
        image = here or await self._find_here()
        if image is None and not self._may_pull:
            raise ImageError(
                Text(
                    "The image %(reference)s is not on the Docker host, and pulling is"
                    " switched off. Ask your administrator to pull it.",
                    reference=repr(self.reference),
                )
            )
        if image is None:
            await self._check_disk()
            await self.backend.engine.pull(self.reference, self._report_pull)
            image = dict(await self.backend.engine.call("inspect_image", self.reference))
        return image

    async def check(self, image: Mapping[str, Any], reference: str) -> None:
        """Refuse an image that cannot run here, or a disk that is nearly full; warn of a hub of
        another time.
        """
        site = await self.read_site()
        preflight.check_image(
            image,
            await self.backend.engine.read_version(),
            reference,
            site.get("platform"),
            list(self.command or site.get("command") or []),
        )
        version = preflight.find_hub_version(image, reference)
        if warning := preflight.judge_hub_version(version, jupyterhub.__version__, reference):
            self.log.warning("%s: %s", reference, warning)
            self.report(PULL_BEGINS, warning)
        await self._check_disk()

    async def find_update(self, found: dict[str, Any] | None) -> str | None:
        """Tell where an image newer than the container's is: "local", "registry", or None where
        none is known.
        """
        return await self.backend.updates.find(found, self._may_pull) if found else None

    async def fetch_update(self, found: dict[str, Any] | None) -> None:
        """Get the newest image for a container that exists; raise ``WorkspaceError`` where that
        makes no sense.
        """
        if found is None:
            raise WorkspaceError(
                Text(
                    "This workspace has no container yet. Its first start takes the newest"
                    " image that is here."
                )
            )
        if keeps_data(found):
            raise WorkspaceError(
                Text(
                    "This workspace keeps its files inside its container, because it was"
                    " made without a volume: with another image they would be lost. Copy"
                    " the files out, delete the workspace and make it anew."
                )
            )
        await self._check_disk()
        image = await self.backend.updates.fetch(found, self._report_pull, self._may_pull)
        if image is None:
            raise WorkspaceError(
                Text(
                    "This workspace has the newest image already that %(image)s stands for.",
                    image=repr(found["Config"]["Image"]),
                )
            )
        await self.check(image, found["Config"]["Image"])

    async def describe(self, found: dict[str, Any] | None) -> ImageInfo:
        """Describe the image of a container, or else the one that a first start takes."""
        reference = str(found["Config"]["Image"]) if found else self.reference
        image = (
            await self.backend.engine.find("inspect_image", found["Image"] if found else reference)
            or {}
        )
        return {
            "reference": reference,
            "id": str(found["Image"] if found else image.get("Id") or ""),
            "created": str(image.get("Created") or ""),
            "update_available": await self.find_update(found) is not None,
        }

    @property
    def _may_pull(self) -> bool:
        return self.pull_policy not in ("never", "skip")

    async def _find_here(self) -> dict[str, Any] | None:
        return (
            None
            if self.pull_policy == "always"
            else await self.backend.engine.find("inspect_image", self.reference)
        )

    def _report_pull(self, percent: float, message: str) -> None:
        self.report(PULL_BEGINS + (PULL_ENDS - PULL_BEGINS) * percent / 100, message)

    async def _check_disk(self) -> None:
        preflight.check_disk(await self.backend.read_free_disk(), self.min_free_disk)


class DockerImageMixin(ConfiguredDockerSpawner):
    """Give a Docker spawner its image: prepared before a start, updated where its owner asks."""

    image_info: dict[str, Any] | None = None  # of the image that a container made now would have
    update_due = False  # the next start takes the newest image that is here

    @property
    def workspace_image(self) -> WorkspaceImage:
        """This workspace's image on the engine."""
        return WorkspaceImage(
            self.backend,
            self.image,
            self.pull_policy,
            self.cmd or [],
            lambda: self.read_site(self.extra_create_kwargs),
            self.min_free_disk,
            self.report,
            self.log,
        )

    async def prepare_workspace(self) -> None:
        """Make sure that the image is here and can run; pulling counts against no timeout."""
        with self.backend.engine.friendly_errors():
            self.image_info = await self.workspace_image.prepare(self.inspect(), self.update_due)

    def take_update_mark(self) -> bool:
        """Return True if this start is to take the newest image; the next one is not."""
        is_due, self.update_due = self.update_due, False
        return is_due

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote."""
        super().load_state(state)
        self.update_due = bool(state.get("update_due"))

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub, an update that waits for the next start,
        too.
        """
        return {**super().get_state(), **({"update_due": True} if self.update_due else {})}

    async def find_update(self) -> str | None:
        """Tell where an image newer than the container's is: "local", "registry", or None where
        none is known.
        """
        with self.backend.engine.friendly_errors():
            return await self.workspace_image.find_update(await self.inspect())

    async def begin_update(self) -> None:
        """Get the newest image while the workspace may still run, and have its next start take it.

        That start goes back to the container of now where the new one does not come up.
        """
        with self.backend.engine.friendly_errors():
            await self.workspace_image.fetch_update(await self.inspect())
        self.update_due = True

    async def describe_image(self) -> ImageInfo:
        """Describe the image of the workspace, and tell whether there is a newer one."""
        with self.backend.engine.friendly_errors():
            return await self.workspace_image.describe(await self.inspect())
