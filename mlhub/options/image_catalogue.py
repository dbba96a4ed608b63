"""The images that a site offers. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub.options.image import Image
from mlhub.options.images import ImageSettings
from mlhub.options.model import OptionName
from mlhub.options.option import StrictModel
from mlhub.options.texts import PlainText, parse_list

_NAME = re.compile(r"[a-z0-9]+(?:[._/:-]+[a-z0-9]+)*")


def parse_name(value: Any) -> str:
    """Read the name of a catalogue entry."""
    if not isinstance(value, str) or len(value) > 128 or not _NAME.fullmatch(value):
        raise ValueError(
            "is not a name for an image: small letters, digits and '.', '-', '_' between them."
            " Write e.g. python-gpu."
        )
    return value


OptionList = Annotated[tuple[OptionName, ...], BeforeValidator(parse_list)]


class Named(StrictModel):
    """What people choose an image by."""

    name: Annotated[str, BeforeValidator(parse_name), WithJsonSchema({"type": "string"})] = Field(
        description="Short name, by which rules and people choose it."
    )
    image: Image = Field(description="Reference of the image, `[registry/]path[:tag][@sha256:…]`.")
    description: PlainText = Field(default="", description="One line for the people who choose.")
    options: OptionList | None = Field(
        default=None,
        description=(
            "Options that people may set with this image. Unset: all that their rules allow."
        ),
    )


class CatalogueImage(ImageSettings, Named):
    """Describe one image that the site offers."""


def make_entry(image: str) -> CatalogueImage:
    """Make the entry of an image that a plain list names; its reference is its name."""
    # Not validated: a line of the user config has the last word, and the engine tells what it
    # cannot pull.
    return CatalogueImage.model_construct(name=image, image=image)
