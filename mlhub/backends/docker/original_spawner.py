"""The part of the Docker spawner that goes on with a container of the original's, as
``original.py`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from traitlets import default

from mlhub.backends.docker.container import read_environment
from mlhub.backends.docker.held import keeps_data
from mlhub.backends.docker.original import Original, is_shared, make_client_id, read_told
from mlhub.backends.docker.use import DockerUseMixin
from mlhub.errors import WorkspaceError
from mlhub.options.images import find_image_settings
from mlhub.texts import Text
from mlhub.workspaces.grant import ACCEPTED

SAVED = "saved_user_options"  # in what the original wrote of a spawner


class OriginalMixin(DockerUseMixin):
    """Have a Docker spawner go on with a container of the original's."""

    original: Original | None = None  # the container that this workspace is, while it runs
    _asked: Mapping[str, Any] = {}  # of the original, until a start here went well

    @default("object_name")
    def _object_name_default(self) -> str:
        return self.original.name if self.original else str(super()._object_name_default())

    def __init__(self, **kwargs: Any) -> None:
        """Remember the id of this workspace's client."""
        super().__init__(**kwargs)
        self._own_client_id = self.oauth_client_id

    def clear_state(self) -> None:
        """Forget what ran, as each start and stop does; one that goes on with the original's
        container takes its name.
        """
        self._take(self.backend.originals.get(self.identity) if self.adopts_only else None)
        super().clear_state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote. What the original wrote names its own container, which a
        start would take for one of ours, and make anew.
        """
        told = state.get("original")
        self._take(Original(told["name"], told["image"]) if told else None)
        super().load_state(state)
        self._asked = dict(state.get(SAVED) or {})
        if ACCEPTED not in state:
            self.object_name, self.object_id = self._object_name_default(), ""

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        one = self.original
        told = {"original": {"name": one.name, "image": one.image}} if one else {}
        return {**super().get_state(), **told, **({SAVED: self._asked} if self._asked else {})}

    async def begin_attempt(self) -> None:
        """Ask for nothing where a container goes on: what it holds is read from it, and what was
        asked for then may not be offered any more.
        """
        if self.original and self.adopts_only:
            self.user_options = {}
        await super().begin_attempt()
        if self._asked and self.user_options == self._asked:
            self.user_options = self._leave_out_image(self._asked)

    def apply_image_settings(self) -> None:
        """Take over what is known of the container's own image."""
        super().apply_image_settings()
        if self.original:
            image, says = self.original.image, self._site_says
            self._image_settings = find_image_settings(image, self.image_settings, says)
            self.port = self.default_port  # of all images, as the original had it

    def accept(self) -> None:
        """Write down what was granted; what was asked of the original stays for the next start."""
        asked = dict(self.orm_spawner.user_options or {})
        super().accept()
        self._asked = {}
        if self.original:
            self.grant = replace(self.grant, image=self.original.image)
            self.orm_spawner.user_options = self.user_options = self._leave_out_image(asked)

    def read_told(self, found: dict[str, Any]) -> dict[str, str]:
        """Read what a container was told that runs."""
        return read_told(found) if self.original else read_environment(found)

    async def refuse_a_second(self) -> None:
        """Refuse to make a container beside one of the original's that runs on the same volume."""
        one = None if self.original else self.backend.originals.get(self.identity)
        if one is None:
            return
        found = await self.backend.engine.find("inspect_container", one.name)
        if found is not None and found["State"]["Running"]:
            raise WorkspaceError(
                Text(
                    "The container '%(name)s' of ML Hub of 2021 runs with the files of this"
                    " workspace, and could not be gone on with. Ask your administrator to stop it"
                    " (`docker stop %(name)s`), then start again. What is in it is kept.",
                    name=one.name,
                )
            )

    def tell_of_files(self, found: dict[str, Any]) -> None:
        """Say where the files are of one that has no volume: no other container gets them."""
        if self.original and keeps_data(found):
            self.log.warning(
                "%s has no volume, and keeps its files inside: copy them out (`docker cp`) before"
                " it is stopped, and never remove it before that.",
                self.original.name,
            )

    def _leave_out_image(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out an image that is not offered here: the default one takes its place, on the same
        volume, and nobody is refused for what was offered in 2021.
        """
        image = asked.get("image")
        if not image or self.make_person().is_admin or image in self.list_catalogue():
            return dict(asked)
        self.log.warning("%s is not offered any more: %s has the default.", image, self._log_name)
        return {name: value for name, value in asked.items() if name != "image"}

    def _take(self, original: Original | None) -> None:
        if original != self.original:
            self.original = original
            self.object_name = self._object_name_default()
        if self.name:
            is_theirs = original is not None and not is_shared(self.user.db, self.identity)
            self.oauth_client_id = (
                make_client_id(self.identity) if is_theirs else self._own_client_id
            )
