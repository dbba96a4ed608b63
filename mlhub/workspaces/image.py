"""What is known of the image of a workspace: chosen at its start, and remembered while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub.utils import url_path_join
from pydantic import ValidationError
from traitlets import Dict
from traitlets.config import LoggingConfigurable

from mlhub.errors import ImageError
from mlhub.options.images import (
    SETTINGS_HELP,
    WEB,
    DeclaredTool,
    ImageSettings,
    find_image_settings,
    lay_over,
)
from mlhub.texts import Text
from mlhub.workspaces.hub_state import Site

# Traits that differ between images; what is known of one says them where the site does not.
OF_IMAGES = ("port", "notebook_dir", "cmd")

if TYPE_CHECKING:
    _Base = Any
else:
    # Not Spawner itself, which would refuse a class without start().
    _Base = LoggingConfigurable


class ImageMixin(_Base):
    """Take over what is known of an image."""

    image_settings = Dict(config=True, help=SETTINGS_HELP)

    def __init__(self, **kwargs: Any) -> None:
        """Begin without a chosen image."""
        self._image_settings = ImageSettings()
        super().__init__(**kwargs)
        self._configured_for_images = {name: getattr(self, name) for name in OF_IMAGES}
        # Upstream's classes fill in more by themselves: only what the site wrote is its word.
        self._site_says = {
            name: value
            for name, value in self._configured_for_images.items()
            if value and self.has_written(name, f"container_{name}")
        }

    def apply_image_settings(self) -> None:
        """Take over what is known about the chosen image."""
        known = find_image_settings(self.image, self.image_settings, self._site_says)
        self._image_settings = settings = lay_over(
            known, self.decision.image.entry if self.decision else None
        )
        for name, configured in self._configured_for_images.items():
            value = getattr(settings, name) or configured
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
        if self.is_web:
            if not Site.proxy_is_told:
                raise ImageError(
                    Text(
                        "The image %(image)s asks nobody who is there, and this hub's proxy"
                        " (c.JupyterHub.proxy_class) would lead everybody to it. Remove that"
                        " line of the configuration, or choose another image.",
                        image=repr(self.image),
                    )
                )
            # What the site says of all images, it says of Jupyter.
            self.cmd = list(settings.cmd) if settings.cmd else None

    @property
    def is_web(self) -> bool:
        """Whether the image is a web server that asks nobody who is there."""
        return self._image_settings.kind == WEB

    @property
    def hears_whole_address(self) -> bool:
        """Whether a web image hears its whole address."""
        return bool(self._image_settings.absolute)

    def find_ready_path(self) -> str:
        """Return where the workspace answers once it is ready."""
        base = str(self.server.base_url)
        if not self.is_web:
            return str(url_path_join(base, "api"))
        path = self._image_settings.ready_path or "/"
        return str(url_path_join(base, path)) if self.hears_whole_address else path

    def get_args(self) -> list[str]:
        """Return the arguments for the image's command: none for one that is no Jupyter."""
        return [] if self.is_web else list(super().get_args())

    @property
    def answers_tools(self) -> bool:
        """Whether the image answers ``/tools`` by itself."""
        return bool(self._image_settings.answers_tools)

    @property
    def declared_tools(self) -> tuple[DeclaredTool, ...]:
        """The programs that are known to be in the image."""
        return self._image_settings.tools or ()

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote, what is known of the image among it."""
        super().load_state(state)
        known = state.get("image_settings") or {}
        try:
            self._image_settings = ImageSettings.model_validate(known)
        except ValidationError:  # as another version wrote it; the next start knows it again
            # But for what would let everybody in.
            self._image_settings = ImageSettings(kind=WEB if known.get("kind") == WEB else None)

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        known = self._image_settings.model_dump(mode="json", exclude_none=True)
        return {**super().get_state(), **({"image_settings": known} if known else {})}
