"""What the hub knows about workspace images: port, data directory, command. Pure: no I/O.

A site describes its own images by ``c.Spawner.image_settings``, a dict from an image reference
(with shell wildcards) to any of the keys of ``ImageSettings``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from mlhub.errors import ConfigurationError

DEFAULT_MOUNT_POINT = "/workspace"
MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class ImageSettings:
    """Describe one image; what is None is left to the spawner's own traits."""

    port: int | None = None
    mount_point: str | None = None
    notebook_dir: str | None = None
    cmd: tuple[str, ...] | None = None
    ssh_port: int | None = None
    uid: int | None = None
    gid: int | None = None
    needs_root: bool | None = None

    def __post_init__(self) -> None:
        for name in ("port", "ssh_port"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= 65535):
                raise ConfigurationError(f"image_settings: {name}={value!r} is not a port. Write a number from 1 to 65535.")
        for name in ("uid", "gid"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= MAX_ID):
                raise ConfigurationError(
                    f"image_settings: {name}={value!r} is not the number of a user or group other than root. Write e.g. 1000."
                )
        for name in ("mount_point", "notebook_dir"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.startswith("/")):
                raise ConfigurationError(f"image_settings: {name}={value!r} is not an absolute path. Write e.g. /home/jovyan.")
        if self.cmd is not None:
            words = [self.cmd] if isinstance(self.cmd, str) else self.cmd
            object.__setattr__(self, "cmd", tuple(str(word) for word in words))


# The Jupyter docker-stacks and images built on them keep their user's files in /home/jovyan;
# their own start script notices the hub's environment, so they need no command.
_DOCKER_STACKS = ImageSettings(port=8888, mount_point="/home/jovyan", notebook_dir="/home/jovyan", uid=1000, gid=100)
KNOWN_IMAGES: dict[str, ImageSettings] = {
    "jupyter/*": _DOCKER_STACKS,
    "*/jupyter/*": _DOCKER_STACKS,
    "jupyterhub/singleuser*": _DOCKER_STACKS,
    "*/jupyterhub/singleuser*": _DOCKER_STACKS,
}


def find_image_settings(image: str, configured: Mapping[str, Mapping[str, Any]]) -> ImageSettings:
    """Find the settings of an image: what the site configured first, then what is known.

    Of several patterns that match, the longest wins, key by key.
    Raises ``ConfigurationError`` for an entry that is malformed.
    """
    found = ImageSettings()
    for pattern in sorted(KNOWN_IMAGES, key=len):
        if fnmatchcase(image, pattern):
            found = KNOWN_IMAGES[pattern]
    for pattern in sorted(configured, key=len):
        if fnmatchcase(image, pattern):
            found = replace(found, **_check_keys(pattern, configured[pattern]))
    return found


def lay_over(settings: ImageSettings, entry: Any) -> ImageSettings:
    """Lay what an entry of the catalogue says over what is known otherwise; ``entry`` may be None."""
    told = {field.name: value for field in fields(ImageSettings) if (value := getattr(entry, field.name, None)) is not None}
    return replace(settings, **told)


def _check_keys(pattern: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(ImageSettings)]
    unknown = sorted(set(entry) - set(known)) if isinstance(entry, Mapping) else [repr(entry)]
    if unknown:
        raise ConfigurationError(
            f"image_settings[{pattern!r}] has {', '.join(map(str, unknown))}, which means nothing here. Known keys: {', '.join(known)}."
        )
    return dict(entry)
