"""A site's file, read as the hub reads it when it starts, without a hub."""

from __future__ import annotations

from pathlib import Path

from traitlets.config import Config

from mlhub.backends.registry import read_settings
from mlhub.hub.app import MLHub
from mlhub.hub.layers.site import configure
from mlhub.hub.layers.userconfig import NAME


class SiteFile:
    """Configure from a text; ``warnings`` are those of the last time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []

    def __call__(self, text: str = "", **environment: str) -> Config:
        """Return the finished ``c``; raises ``ConfigurationError``."""
        settings = read_settings({name: str(value) for name, value in environment.items()})
        settings = settings.model_copy(update={"mlhub_resources_dir": self.folder})
        (self.folder / NAME).write_text(text)
        c = Config()
        self.warnings = configure(c, settings, MLHub)
        return c
