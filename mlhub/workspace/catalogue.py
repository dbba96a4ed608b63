"""The images that a site offers, and how a choice finds its entry. Pure: no I/O.

Promise: a choice is one entry of the catalogue, by name or by reference, or it is a custom image; custom images
need a right of their own, and what somebody typed as a custom image never turns into a name of the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub.workspace import values
from mlhub.workspace.options import Flag, Image, OptionName, StrictModel

_NAME = re.compile(r"[a-z0-9]+(?:[._/:-]+[a-z0-9]+)*")


def parse_text(value: Any) -> str:
    """Read text of a policy; YAML turns a bare ``no`` into false."""
    if not isinstance(value, str):
        raise ValueError("is not text. Put it in quotes.")
    return value


def parse_list(value: Any) -> tuple[Any, ...]:
    """Read a list of a policy; one entry may stand alone."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list. Write e.g. [a, b].")
    return tuple(value)


def parse_path(value: Any) -> str:
    """Read a directory inside an image."""
    if not isinstance(value, str) or not re.fullmatch(r"/[^\x00-\x1f:]*", value):
        raise ValueError("is not an absolute path. Write e.g. /home/jovyan.")
    return value


def parse_name(value: Any) -> str:
    """Read the name of a catalogue entry."""
    if not isinstance(value, str) or len(value) > 128 or not _NAME.fullmatch(value):
        raise ValueError("is not a name for an image: small letters, digits and '.', '-', '_' between them. Write e.g. python-gpu.")
    return value


Text = Annotated[str, BeforeValidator(parse_text), WithJsonSchema({"type": "string"})]
TextList = Annotated[tuple[Text, ...], BeforeValidator(parse_list), WithJsonSchema({"type": "array", "items": {"type": "string"}})]
OptionList = Annotated[tuple[OptionName, ...], BeforeValidator(parse_list)]
Path = Annotated[str, BeforeValidator(parse_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Id = Annotated[int, BeforeValidator(values.parse_id), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 2147483647})]
Port = Annotated[int, BeforeValidator(values.parse_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]


class CatalogueImage(StrictModel):
    """Describe one image that the site offers."""

    name: Annotated[str, BeforeValidator(parse_name), WithJsonSchema({"type": "string"})] = Field(
        description="Short name, by which rules and people choose it."
    )
    image: Image = Field(description="Reference of the image, `[registry/]path[:tag][@sha256:…]`.")
    description: Text = Field(default="", description="One line for the people who choose.")
    port: Port | None = Field(
        default=None, description="Port on which the image listens. Unset: `c.Spawner.port`, or what is known of the image."
    )
    mount_point: Path | None = Field(default=None, description="Directory that the workspace's volume holds.")
    notebook_dir: Path | None = Field(default=None, description="Directory in which Jupyter starts.")
    cmd: TextList | None = Field(default=None, description="Command, where the image's own is not the right one.")
    ssh_port: Port | None = Field(default=None, description="Port of the image's own SSH server. Unset: SSH is brought into the workspace.")
    uid: Id | None = Field(
        default=None,
        description="User as which the image runs on Kubernetes, by number. Unset: the image's own, which then has to be a number.",
    )
    gid: Id | None = Field(default=None, description="Group as which the image runs on Kubernetes, by number. Unset: the image's own.")
    options: OptionList | None = Field(
        default=None, description="Options that people may set with this image. Unset: all that their rules allow."
    )
    needs_root: Flag | None = Field(
        default=None,
        description="The image starts as root and steps down by itself, so it can not run where workspaces may not be root. Unset: no, or what `image_settings` say.",
    )


def make_entry(image: str) -> CatalogueImage:
    """Make the entry of an image that a plain list names; its reference is its name."""
    # Not validated: a line of the user config has the last word, and the engine tells what it can not pull.
    return CatalogueImage.model_construct(name=image, image=image)


def find_image(catalogue: Iterable[CatalogueImage], choice: str, is_custom: bool) -> CatalogueImage | None:
    """Find the entry that a choice means: by name first, then by reference."""
    entries = list(catalogue)
    named = [entry for entry in entries if entry.name == choice and not is_custom]
    return next(iter([*named, *(entry for entry in entries if entry.image == choice)]), None)


def is_allowed_custom(image: str, allowed: bool | Sequence[str]) -> bool:
    """Tell whether an image that is in no catalogue may be used: yes, no, or by shell patterns over its reference."""
    if isinstance(allowed, bool):
        return allowed
    return any(fnmatchcase(name, pattern) for pattern in allowed for name in (image, qualify_image(image)))


def qualify_image(image: str) -> str:
    """Write a reference in full, as engines understand it: ``python`` is ``docker.io/library/python``."""
    first, separator, _ = image.partition("/")
    if separator and (first == "localhost" or any(sign in first for sign in ".:")):
        return image
    return f"docker.io/{image}" if separator else f"docker.io/library/{image}"
