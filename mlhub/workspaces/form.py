"""The form in which a person chooses options, as data for its template. Pure: no I/O.

Invariants: it shows what ``AvailableOptions`` has and nothing else, and a refused form comes back
with everything that was typed but secrets.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from mlhub import quantities as values
from mlhub.options.gpus import MAX_CHECKBOXES
from mlhub.options.image import IMAGE, find_image
from mlhub.options.model import OPTIONS, drop_name
from mlhub.options.option import Entry, Option
from mlhub.policy.available import AvailableOption, AvailableOptions
from mlhub.policy.usage import Bar
from mlhub.texts import Text, join, translate
from mlhub.workspaces.form_input import OTHER_IMAGE

MAX_CARDS = 6
OTHER_LABEL = Text("Another image")
OTHER_HELP = Text("Its reference, such as quay.io/jupyter/scipy-notebook:latest.")
KEPT_HELP = Text("One is kept: leave this empty to keep it, or write none to take it away.")
IMAGE_FIELDS = ("image", "defined_image", "is_custom_image", "custom_image")


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
    """One field: its kind is cards, select, checks, check, lines, password or text."""

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
        """Return True if the field must be seen at once."""
        return bool(self.error or self.is_changed)


@dataclass(frozen=True)
class Form:
    """The whole form.

    ``errors`` are pairs of an element's id, which may be empty, and a sentence.
    """

    basic: tuple[FormField, ...]
    more: tuple[FormField, ...]
    errors: tuple[tuple[str, str], ...]
    totals: str = ""
    bars: tuple[Bar, ...] = ()

    @property
    def is_more_open(self) -> bool:
        """Return True if one of the further fields must be seen at once."""
        return any(field.is_open for field in self.more)


def make_form(
    available: AvailableOptions,
    typed: Mapping[str, str],
    errors: Mapping[str, str],
    kept: Container[str] = (),
) -> Form:
    """Make what the template shows; ``kept`` are the secrets that stay where nothing is typed."""
    errors = _place_errors(available, typed, errors)
    fields: list[FormField] = []
    if (
        available.has_image_choice
        and "image" in available.fields
        and available.fields["image"].is_choosable
    ):
        fields += _make_image_fields(available, typed, errors)
    for name, field in available.fields.items():
        if field.is_choosable and name != "image":
            shown = _make_field(available, field, typed.get(name, ""), errors.get(name, ""))
            is_kept = name in kept
            fields.append(replace(shown, help=join(shown.help, KEPT_HELP)) if is_kept else shown)
    by_name = {field.name: field for field in fields}
    basic = {"custom_image", *(name for name, option in OPTIONS.items() if option.is_basic)}
    return Form(
        totals=available.totals,
        bars=available.bars,
        basic=tuple(field for field in fields if field.name in basic),
        more=tuple(field for field in fields if field.name not in basic),
        errors=tuple(
            (
                (
                    by_name[name].target,
                    Text("%(label)s: %(text)s", label=by_name[name].label, text=sentence),
                )
                if name in by_name
                else ("", sentence)
            )
            for name, sentence in errors.items()
        ),
    )


def _place_errors(
    available: AvailableOptions, typed: Mapping[str, str], errors: Mapping[str, str]
) -> dict[str, str]:
    """Return the errors by the field at which they are shown, without the names that only the REST
    API has.
    """
    placed: dict[str, str] = {}
    for name, sentence in errors.items():
        where = name
        if name in IMAGE_FIELDS:
            where = (
                "custom_image"
                if available.custom_images is not False and _is_other(available, typed)
                else "image"
            )
        if name == "custom_image" and not typed.get(name):
            sentence = Text("Name an image, or choose one of the list.")
        elif name in OPTIONS or name == "custom_image":
            # Translated here: in each language a sentence begins with the option's name.
            rest = drop_name(name, translate(sentence))
            sentence = rest[:1].upper() + rest[1:]
        placed.setdefault(where, sentence)
    return placed


def _find_chosen(available: AvailableOptions, typed: Mapping[str, str]) -> Entry | None:
    """Return the entry of the catalogue that was typed, or None."""
    is_custom = _is_true(typed.get("is_custom_image", ""), False)
    text = typed.get("custom_image" if is_custom else "defined_image") or typed.get("image", "")
    return find_image(available.images, text, is_custom) if text else None


def _is_other(available: AvailableOptions, typed: Mapping[str, str]) -> bool:
    """Return True if an image that is in no catalogue was typed."""
    is_custom = _is_true(typed.get("is_custom_image", ""), False)
    return is_custom or bool(typed.get("image") and not _find_chosen(available, typed))


def _make_image_fields(
    available: AvailableOptions, typed: Mapping[str, str], errors: Mapping[str, str]
) -> list[FormField]:
    has_other = available.custom_images is not False
    is_other = has_other and (_is_other(available, typed) or not available.images)
    default = available.fields["image"].default
    chosen = _find_chosen(available, typed) or find_image(
        available.images, default, is_custom=False
    )
    choices = [
        Choice(
            entry.name,
            entry.name,
            _describe_image(entry),
            entry is chosen and not is_other,
            entry.options,
        )
        for entry in available.images
    ]
    if has_other:
        choices.append(
            Choice(OTHER_IMAGE, OTHER_LABEL, _describe_custom(available.custom_images), is_other)
        )
    kind = "cards" if len(choices) <= MAX_CARDS else "select"
    fields = [
        FormField(
            "image", kind, Text(IMAGE.label), choices=tuple(choices), error=errors.get("image", "")
        )
    ]
    if has_other:
        fields.append(_make_other_image_field(typed, errors, is_other))
    return fields


def _make_other_image_field(
    typed: Mapping[str, str], errors: Mapping[str, str], is_other: bool
) -> FormField:
    text = typed.get("custom_image") or (typed.get("image", "") if is_other else "")
    return FormField(
        "custom_image",
        "text",
        Text("Reference of the other image"),
        OTHER_HELP,
        text.replace(OTHER_IMAGE, ""),
        error=errors.get("custom_image", ""),
    )


def _describe_image(entry: Entry) -> str:
    return entry.description or ("" if entry.image == entry.name else entry.image)


def _describe_custom(allowed: bool | Sequence[str]) -> str:
    return (
        Text("From a registry that the host can reach")
        if isinstance(allowed, bool)
        else Text("One of %(images)s", images=", ".join(allowed))
    )


def _make_field(
    available: AvailableOptions, field: AvailableOption, value: str, error: str
) -> FormField:
    option = OPTIONS[field.name]
    words = _describe_limits(available, option, field)
    help_text = join(Text(option.help), words)
    shown = FormField(field.name, option.kind, Text(option.label), help_text, value, error=error)
    shown = replace(shown, is_changed=bool(value) and value != field.default)
    pool = available.gpus or ()
    if option.kind == "checks" and 0 < len(pool) <= MAX_CHECKBOXES:
        chosen = _read_gpus(value or field.default, pool, available)
        # One that was typed and is not offered stays to be seen, and to be unticked.
        every = dict.fromkeys([*pool, *chosen])
        choices = tuple(Choice(gpu, f"GPU {gpu}", is_chosen=gpu in chosen) for gpu in every)
        sends_none = field.default not in ("", "none")
        return replace(shown, help=words, value="", choices=choices, sends_none=sends_none)
    if option.kind == "check":
        ticked = "true" if _is_true(value, field.default == "true") else ""
        return replace(shown, help=Text(option.help), value=ticked)
    if option.kind in ("lines", "password"):
        return replace(shown, help=Text(option.help))
    placeholder = option.find_words(field.default) or Text("no limit")
    return replace(shown, kind="text", placeholder=placeholder)


def _describe_limits(available: AvailableOptions, option: Option, field: AvailableOption) -> str:
    """Say default, maximum and what the host has."""
    default = option.find_words(field.default)
    is_limited = field.maximum not in (None, "unlimited")
    maximum = option.find_words(field.maximum or "") if is_limited else ""
    words = [Text("Default: %(value)s.", value=default) if default else Text("Default: no limit.")]
    has = option.describe_host(available.host)
    if maximum:
        words.append(
            Text("At most %(most)s; the host has %(has)s.", most=maximum, has=has)
            if has
            else Text("At most %(number)s.", number=maximum)
        )
    elif has:
        words.append(Text("The host has %(has)s.", has=has))
    elif option.endless_note:
        words.append(Text(option.endless_note))
    return join(*words)


def _read_gpus(text: str, pool: Sequence[str], available: AvailableOptions) -> list[str]:
    """Return the GPUs of a text as the pool names them."""
    words = [word for word in text.replace(",", " ").split() if word.lower() != "none"][:64]
    if [word.lower() for word in words] == ["all"]:
        return list(pool)
    host = available.host.gpus or ()
    index = {uuid: str(number) for number, uuid in enumerate(host)}
    uuids = {number: uuid for uuid, number in index.items()}
    return [
        next(
            (name for name in (word, index.get(word, ""), uuids.get(word, "")) if name in pool),
            word,
        )
        for word in words
    ]


def _is_true(text: str, default: bool) -> bool:
    try:
        return values.parse_flag(text) if text else default
    except ValueError:
        return default
