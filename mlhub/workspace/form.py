"""The form in which a person chooses options, as data for its template. Pure: no I/O.

Promise: it shows what ``Offer`` offers and nothing else, and a refused form comes back with everything that was typed.
The form works without JavaScript: what a plain form can not say in the names of the REST API is put into them here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlhub.workspace import values
from mlhub.workspace.catalogue import CatalogueImage, find_image
from mlhub.workspace.offer import FieldOffer, Offer

# The value of the radio button "another image": no image can have that name.
OTHER_IMAGE = ":other"
MAX_CARDS = 6
MAX_CHECKBOXES = 16
BASIC = ("image", "cpu_limit", "mem_limit", "gpus")
LABELS = {
    "image": "Image",
    "custom_image": "Another image",
    "cpu_limit": "CPU cores",
    "mem_limit": "Memory",
    "gpus": "GPUs",
    "shm_size": "Shared memory",
    "env": "Environment variables",
    "days_to_live": "Days to live",
    "is_mount_volume": "Keep files in a volume",
}
_HELP = {
    "custom_image": "Its reference, such as quay.io/jupyter/scipy-notebook:latest.",
    "cpu_limit": "Such as 2 or 0.5.",
    "mem_limit": "In GB, or with a unit: 4, 512M.",
    "gpus": "all, none, or indices such as 0,1.",
    "shm_size": "Size of /dev/shm, written like memory, of which it is a part.",
    "env": "One NAME=VALUE on each line.",
    "days_to_live": "Then the workspace expires.",
    "is_mount_volume": "Without it, files are lost when the workspace is deleted or made anew.",
}
_SIZES = ("mem_limit", "shm_size")
_IMAGE_NAMES = ("image", "defined_image", "is_custom_image", "custom_image")


@dataclass(frozen=True)
class Choice:
    """One entry of a list; ``offers`` names the options that go with it, None is all."""

    value: str
    label: str
    note: str = ""
    is_chosen: bool = False
    offers: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FormField:
    """One field: its kind is cards, select, checks, check, lines or text."""

    name: str
    kind: str
    label: str
    help: str = ""
    value: str = ""
    placeholder: str = ""
    choices: tuple[Choice, ...] = ()
    sends_none: bool = False
    error: str = ""
    is_changed: bool = False

    @property
    def id(self) -> str:
        """Id of the field's element."""
        return f"option-{self.name}"

    @property
    def target(self) -> str:
        """Id of the element that takes the keyboard."""
        return f"{self.id}-0" if self.kind in ("cards", "checks") else self.id

    @property
    def is_open(self) -> bool:
        """Tell whether the field must be seen at once."""
        return bool(self.error or self.is_changed)


@dataclass(frozen=True)
class Form:
    """The whole form; ``errors`` are pairs of an element's id, which may be empty, and a sentence."""

    basic: tuple[FormField, ...]
    more: tuple[FormField, ...]
    errors: tuple[tuple[str, str], ...]

    @property
    def is_more_open(self) -> bool:
        """Tell whether one of the further fields must be seen at once."""
        return any(field.is_open for field in self.more)


def read_fields(sent: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Put what the form sends into the names of the options.

    The radio button "another image" means ``is_custom_image``; the hidden ``none`` before the GPUs' checkboxes counts
    only where no box is ticked.
    """
    fields = dict(sent)
    if OTHER_IMAGE in fields.get("image", ()):
        fields["image"], fields["is_custom_image"] = [], ["true"]
    if len(fields.get("gpus", ())) > 1:
        fields["gpus"] = [text for text in fields["gpus"] if text != "none"]
    return fields


def read_typed(sent: Mapping[str, Sequence[str]] | None, stored: Any) -> dict[str, str]:
    """Return what the form shows as typed: what was just sent, else the options that are stored."""
    if sent is None:
        given = stored if isinstance(stored, Mapping) else {}
        return {name: text for name, value in given.items() if (text := _write(name, value))}
    typed = {}
    for name, texts in read_fields(sent).items():
        words = [text for text in texts if not values.is_blank(text)]
        if words:
            typed[name] = ",".join(words) if name == "gpus" else "\n".join(words) if name == "env" else words[-1]
    return typed


def make_form(offer: Offer, typed: Mapping[str, str], errors: Mapping[str, str]) -> Form:
    """Make what the template shows."""
    errors = _place_errors(offer, typed, errors)
    fields: list[FormField] = []
    if offer.has_image_choice and offer.fields["image"].is_choosable:
        fields += _make_image_fields(offer, typed, errors)
    for name, field in offer.fields.items():
        if field.is_choosable and name != "image":
            fields.append(_make_field(offer, field, typed.get(name, ""), errors.get(name, "")))
    shown = {field.name: field for field in fields}
    order = {name: number for number, name in enumerate(LABELS)}
    fields.sort(key=lambda field: order[field.name])
    return Form(
        basic=tuple(field for field in fields if field.name in (*BASIC, "custom_image")),
        more=tuple(field for field in fields if field.name not in (*BASIC, "custom_image")),
        errors=tuple(
            (shown[name].target, f"{shown[name].label}: {sentence}") if name in shown else ("", sentence)
            for name, sentence in errors.items()
        ),
    )


def _write(name: str, value: Any) -> str:
    """Write a stored value as it would be typed."""
    if name == "env" and isinstance(value, Mapping):
        # A value of several lines can not be typed into lines; such a variable is set through the REST API.
        return "\n".join(f"{key}={text}" for key, text in value.items() if "\n" not in str(text))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else ""


def _place_errors(offer: Offer, typed: Mapping[str, str], errors: Mapping[str, str]) -> dict[str, str]:
    """Return the errors by the field at which they are shown, without the names that only the REST API has."""
    placed: dict[str, str] = {}
    for name, sentence in errors.items():
        where = name
        if name in _IMAGE_NAMES:
            where = "custom_image" if offer.custom_images is not False and _is_other(offer, typed) else "image"
        if name == "custom_image" and not typed.get(name):
            sentence = "Name an image, or choose one of the list."
        elif name in LABELS:
            rest = sentence.removeprefix(f"{name}=").removeprefix(f"{name} ")
            sentence = rest[:1].upper() + rest[1:]
        placed.setdefault(where, sentence)
    return placed


def _find_chosen(offer: Offer, typed: Mapping[str, str]) -> CatalogueImage | None:
    """Return the entry of the catalogue that was typed, or None."""
    is_custom = _is_true(typed.get("is_custom_image", ""), False)
    text = typed.get("custom_image" if is_custom else "defined_image") or typed.get("image", "")
    return find_image(offer.images, text, is_custom) if text else None


def _is_other(offer: Offer, typed: Mapping[str, str]) -> bool:
    """Tell whether an image that is in no catalogue was typed."""
    is_custom = _is_true(typed.get("is_custom_image", ""), False)
    return is_custom or bool(typed.get("image") and not _find_chosen(offer, typed))


def _make_image_fields(offer: Offer, typed: Mapping[str, str], errors: Mapping[str, str]) -> list[FormField]:
    has_other = offer.custom_images is not False
    is_other = has_other and (_is_other(offer, typed) or not offer.images)
    default = offer.fields["image"].default
    chosen = _find_chosen(offer, typed) or find_image(offer.images, default, is_custom=False)
    choices = [
        Choice(entry.name, entry.name, _describe_image(entry), entry is chosen and not is_other, entry.options) for entry in offer.images
    ]
    if has_other:
        choices.append(Choice(OTHER_IMAGE, "Another image", _describe_custom(offer.custom_images), is_other))
    kind = "cards" if len(choices) <= MAX_CARDS else "select"
    fields = [FormField("image", kind, LABELS["image"], choices=tuple(choices), error=errors.get("image", ""))]
    if has_other:
        text = (typed.get("custom_image") or typed.get("image", "") if is_other else typed.get("custom_image", "")).replace(OTHER_IMAGE, "")
        error = errors.get("custom_image", "")
        fields.append(FormField("custom_image", "text", "Reference of the other image", _HELP["custom_image"], text, error=error))
    return fields


def _describe_image(entry: CatalogueImage) -> str:
    return entry.description or ("" if entry.image == entry.name else entry.image)


def _describe_custom(allowed: bool | Sequence[str]) -> str:
    return "From a registry that the host can reach" if isinstance(allowed, bool) else f"One of {', '.join(allowed)}"


def _make_field(offer: Offer, field: FieldOffer, value: str, error: str) -> FormField:
    name = field.name
    label, default, words = LABELS[name], _in_words(name, field.default), _describe_limits(offer, field)
    is_changed = bool(value) and value != field.default
    if name == "gpus" and (pool := offer.gpus) and len(pool) <= MAX_CHECKBOXES:
        chosen = _read_gpus(value or field.default, pool, offer)
        # One that was typed and is not offered stays to be seen, and to be unticked.
        choices = tuple(Choice(gpu, f"GPU {gpu}", is_chosen=gpu in chosen) for gpu in dict.fromkeys([*pool, *chosen]))
        sends_none = field.default not in ("", "none")
        return FormField(name, "checks", label, words, choices=choices, error=error, sends_none=sends_none, is_changed=is_changed)
    if name == "is_mount_volume":
        ticked = "true" if _is_true(value, field.default == "true") else ""
        return FormField(name, "check", label, _HELP[name], ticked, error=error, is_changed=is_changed)
    help_text = f"{_HELP[name]} {words}".strip()
    if name == "env":
        return FormField(name, "lines", label, help_text, value, error=error, is_changed=is_changed)
    return FormField(name, "text", label, help_text, value, default or "no limit", error=error, is_changed=is_changed)


def _describe_limits(offer: Offer, field: FieldOffer) -> str:
    """Say default, maximum and what the host has."""
    if field.name == "env":
        return ""
    default = _in_words(field.name, field.default)
    maximum = _in_words(field.name, field.maximum) if field.maximum not in (None, "unlimited") else ""
    words = [f"Default: {default}." if default else "Default: no limit."]
    has = ""
    if field.name == "cpu_limit" and offer.host.cpus:
        has = values.format_number(offer.host.cpus)
    elif field.name == "mem_limit" and offer.host.memory_bytes:
        has = _describe_size(offer.host.memory_bytes)
    if maximum:
        words.append(f"At most {maximum}; the host has {has}." if has else f"At most {maximum}.")
    elif has:
        words.append(f"The host has {has}.")
    elif field.name == "days_to_live":
        words.append("0 is for ever.")
    return " ".join(words)


def _in_words(name: str, text: str | None) -> str:
    """Write a default or a maximum for people; sizes can be typed as they are shown."""
    if name in _SIZES and text:
        return _describe_size(values.parse_size(text))
    return "for ever" if (name, text) == ("days_to_live", "0") else text or ""


def _describe_size(size: float) -> str:
    # Never rounded up: what is shown as the most may be typed.
    if size < values.GIBIBYTE:
        return f"{int(size // values.MEBIBYTE)} MB"
    return f"{math.floor(size / values.GIBIBYTE * 10) / 10:g} GB"


def _read_gpus(text: str, pool: Sequence[str], offer: Offer) -> list[str]:
    """Return the GPUs of a text as the pool names them."""
    words = [word for word in text.replace(",", " ").split() if word.lower() != "none"][:64]
    if [word.lower() for word in words] == ["all"]:
        return list(pool)
    host = offer.host.gpus or ()
    index = {uuid: str(number) for number, uuid in enumerate(host)}
    uuids = {number: uuid for uuid, number in index.items()}
    return [next((name for name in (word, index.get(word, ""), uuids.get(word, "")) if name in pool), word) for word in words]


def _is_true(text: str, default: bool) -> bool:
    try:
        return values.parse_flag(text) if text else default
    except ValueError:
        return default
