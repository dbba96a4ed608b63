"""The image of a workspace. Pure: no I/O.

Invariants: a choice is one entry of the catalogue, by name or by reference, or it is a custom
image; custom images need a right of their own, and what somebody typed as a custom image never
turns into a name of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, WithJsonSchema

from mlhub import quantities
from mlhub.options.option import Entry, Option, Reason, Refusal, Request, Setting
from mlhub.options.texts import parse_text
from mlhub.texts import Text

Image = Annotated[str, BeforeValidator(quantities.parse_image), WithJsonSchema({"type": "string"})]
AnyEntry = TypeVar("AnyEntry", bound=Entry)


def _parse_custom_images(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(map(parse_text, value))
    return quantities.parse_flag(value)


CustomImages = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_parse_custom_images),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}
    ),
]


@dataclass(frozen=True)
class ChosenImage:
    """Hold the image of a workspace; ``entry`` is None for one outside the catalogue."""

    reference: str
    entry: Entry | None


@dataclass(frozen=True, kw_only=True)
class ImageOption(Option):
    """An entry of the catalogue, or an image outside it where the rules allow that."""

    kind: str = "image"

    @property
    def rule_keys(self) -> tuple[str, ...]:
        """The keys of a policy's rule that are about images."""
        return ("images", "default_image", "custom_images")

    def choose(self, request: Request) -> tuple[ChosenImage, Reason]:
        """Return what was asked, else the default, else the first that is allowed."""
        allowed = list_allowed_images(request)
        asked, is_custom = request.asked.get(self.name), bool(request.asked.get("is_custom_image"))
        if asked is None:
            return self._choose_default(request, allowed)
        if entry := find_image(allowed, asked, is_custom):
            source = request.settings["images"].source
            return ChosenImage(entry.image, entry), Reason("as asked", source)
        custom = request.settings["custom_images"]
        # A name of an entry that is not for this person must not fall through to a public image of
        # the same name.
        forbidden = find_image(request.catalogue, asked, is_custom)
        if forbidden is None and is_allowed_custom(asked, custom.value):
            return ChosenImage(asked, None), Reason("as asked", custom.source)
        source = request.settings["images"].source if forbidden else custom.source
        names = ", ".join(entry.name for entry in allowed[:20]) or Text("none")
        sentence = Text(
            "The image %(asked)s is not offered to you. Images that are: %(names)s.",
            asked=repr(asked),
            names=names,
        )
        raise Refusal(self.name, sentence, source)

    def _choose_default(
        self, request: Request, allowed: Sequence[Entry]
    ) -> tuple[ChosenImage, Reason]:
        wanted: Setting | None = request.settings.get("default_image")
        if wanted and (entry := find_image(allowed, wanted.value, is_custom=False)):
            return ChosenImage(entry.image, entry), Reason("default", wanted.source)
        source = request.settings["images"].source
        if allowed:
            first = ChosenImage(allowed[0].image, allowed[0])
            return first, Reason("the first image allowed", source)
        sentence = Text("No image is offered to you. Ask an administrator.")
        raise Refusal(self.name, sentence, source)

    def describe(self, value: ChosenImage) -> str:
        """Write the reference."""
        return value.reference

    def show_default(self, value: ChosenImage) -> str:
        """Write the name in the catalogue."""
        return value.entry.name if value.entry else value.reference


IMAGE = ImageOption(
    name="image",
    label="Image",
    description=(
        "An image of the catalogue by its name or reference, or any other where the site allows it."
    ),
    is_basic=True,
)


def list_allowed_images(request: Request) -> list[Entry]:
    """List the images of the catalogue that this person may use."""
    patterns = request.settings["images"].value
    return [
        entry
        for entry in request.catalogue
        if any(fnmatchcase(entry.name, pattern) for pattern in patterns)
    ]


def find_image(catalogue: Iterable[AnyEntry], choice: str, is_custom: bool) -> AnyEntry | None:
    """Find the entry that a choice means: by name first, then by reference."""
    entries = list(catalogue)
    named = [entry for entry in entries if entry.name == choice and not is_custom]
    return next(iter([*named, *(entry for entry in entries if entry.image == choice)]), None)


def is_allowed_custom(image: str, allowed: bool | Sequence[str]) -> bool:
    """Return True if an image that is in no catalogue may be used: yes, no, or by shell patterns
    over its reference.
    """
    if isinstance(allowed, bool):
        return allowed
    names = (image, qualify_image(image))
    return any(fnmatchcase(name, pattern) for pattern in allowed for name in names)


def qualify_image(image: str) -> str:
    """Write a reference in full, as engines understand it: ``python`` is
    ``docker.io/library/python``.
    """
    first, separator, _ = image.partition("/")
    if separator and (first == "localhost" or any(sign in first for sign in ".:")):
        return image
    return f"docker.io/{image}" if separator else f"docker.io/library/{image}"
