"""What a person may ask of one workspace: one typed, frozen model behind the form and the REST API alike. Pure: no I/O.

Promise: whatever comes in, the result is valid ``WorkspaceOptions`` or a ``FieldsError`` with one sentence for each
field that is wrong. A blank value says nothing: the site's default holds. ``from_rest(o.to_user_options()) == o``, so
what the hub stored can be checked again at every start.

The names of the original are understood: ``is_custom_image`` with ``custom_image``, else ``defined_image``, become ``image``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mlhub.errors import OptionsError
from mlhub.workspace import values
from mlhub.workspace.environment import parse_environment

OptionName = Literal["image", "cpu_limit", "mem_limit", "shm_size", "gpus", "env", "days_to_live", "is_mount_volume"]
OPTION_NAMES: tuple[str, ...] = get_args(OptionName)
_NUMBER_OR_TEXT = [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]

Cores = Annotated[float, BeforeValidator(values.parse_cores), WithJsonSchema({"anyOf": _NUMBER_OR_TEXT})]
Memory = Annotated[int, BeforeValidator(values.parse_memory), WithJsonSchema({"anyOf": _NUMBER_OR_TEXT})]
Size = Annotated[int, BeforeValidator(values.parse_size), WithJsonSchema({"anyOf": _NUMBER_OR_TEXT})]
Days = Annotated[
    float, BeforeValidator(values.parse_days), WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]})
]
Gpus = Annotated[
    tuple[str, ...],
    BeforeValidator(values.parse_gpus),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}},
            ]
        }
    ),
]
Image = Annotated[str, BeforeValidator(values.parse_image), WithJsonSchema({"type": "string"})]
Flag = Annotated[bool, BeforeValidator(values.parse_flag), WithJsonSchema({"type": "boolean"})]
Environment = Annotated[
    Mapping[str, str],
    BeforeValidator(parse_environment),
    AfterValidator(MappingProxyType),
    PlainSerializer(dict),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}),
]


class FieldsError(OptionsError):
    """Report each field that is wrong: ``fields`` maps a field's name to a sentence, ``rules`` to the rule that refuses it."""

    def __init__(self, fields: Mapping[str, str], rules: Mapping[str, str] | None = None) -> None:
        """Join the sentences, each with the rule behind it, into one message."""
        self.fields = dict(fields)
        self.rules = dict(rules or {})
        super().__init__(" ".join(f"{text} (Rule: {self.rules[name]}.)" if name in self.rules else text for name, text in fields.items()))


class StrictModel(BaseModel):
    """Refuse keys that are not known, with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        known = list(cls.model_fields)
        for key in data if isinstance(data, Mapping) else ():
            if key not in known:
                raise PydanticCustomError("unknown_key", "{sentence}", {"key": str(key), "sentence": suggest(key, known)})
        return data


class WorkspaceOptions(StrictModel):
    """Hold what somebody asks of a workspace; None means that nothing was asked."""

    image: Image | None = Field(
        default=None, description="An image of the catalogue by its name or reference, or any other where the site allows it."
    )
    is_custom_image: Flag = Field(default=False, description="`image` is a reference, never a name of the catalogue.")
    cpu_limit: Cores | None = Field(default=None, description="CPU cores: `2`, `0.5`, `500m`.")
    mem_limit: Memory | None = Field(default=None, description="Memory in GB, or with a unit: `4`, `512M`, `2Gi`.")
    shm_size: Size | None = Field(default=None, description="Shared memory (`/dev/shm`), written like `mem_limit`.")
    gpus: Gpus | None = Field(default=None, description="`all`, `none`, or indices or UUIDs separated by commas.")
    env: Environment = Field(default_factory=dict, validate_default=True, description="NAME=VALUE lines, or a mapping.")
    days_to_live: Days | None = Field(default=None, description="Days until the workspace expires; `0` is for ever.")
    is_mount_volume: Flag | None = Field(default=None, description="Keep the workspace's files in a volume that outlives its container.")

    @classmethod
    def from_rest(cls, user_options: Any) -> WorkspaceOptions:
        """Read the ``user_options`` of a REST call, or what the hub stored; raise ``FieldsError``."""
        if is_nothing(user_options):
            return cls()
        if not isinstance(user_options, Mapping):
            raise OptionsError(f"The options are {values.show(user_options)}, not a mapping. Write e.g. {{'cpu_limit': 2}}.")
        if len(user_options) > _MAX_KEYS:
            raise OptionsError(f"There are {len(user_options)} options, far more than are known. Known: {', '.join(_KNOWN)}.")
        given = {key: value for key, value in user_options.items() if not is_nothing(value)}
        errors = _find_unknown(user_options)
        chosen, image_errors = _choose_image(given)
        errors |= image_errors
        try:
            options = cls.model_validate(chosen)
        except ValidationError as error:
            errors = {**_make_sentences(error, given), **errors}
        if errors:
            raise FieldsError(errors)
        return options

    @classmethod
    def from_form(cls, formdata: Mapping[str, Sequence[Any]]) -> WorkspaceOptions:
        """Read a form's fields, each a list of texts; raise ``FieldsError``.

        Of a checkbox the last value counts, so that a hidden ``false`` before it tells "not ticked" from "not asked".
        """
        fields: dict[str, Any] = {}
        errors: dict[str, str] = {}
        if len(formdata) > _MAX_KEYS:
            return cls.from_rest(formdata)
        for name, texts in formdata.items():
            if name == "_xsrf":
                continue
            try:
                fields[name] = _join_texts(name, texts)
            except ValueError as error:
                errors[_shorten(name)] = f"{_shorten(name)} {error}"
        try:
            options = cls.from_rest(fields)
        except FieldsError as error:
            raise FieldsError({**error.fields, **errors}) from None
        if errors:
            raise FieldsError(errors)
        return options

    def to_user_options(self) -> dict[str, Any]:
        """Return what was asked as JSON that ``from_rest`` reads back; always the same for the same options."""
        asked: dict[str, Any] = {"image": self.image, "is_custom_image": self.is_custom_image or None}
        asked["cpu_limit"] = None if self.cpu_limit is None else _plain(self.cpu_limit)
        asked["mem_limit"] = None if self.mem_limit is None else values.format_size(self.mem_limit)
        asked["shm_size"] = None if self.shm_size is None else values.format_size(self.shm_size)
        asked["gpus"] = None if self.gpus is None else values.format_gpus(self.gpus)
        asked["env"] = dict(self.env) or None
        asked["days_to_live"] = None if self.days_to_live is None else _plain(self.days_to_live)
        asked["is_mount_volume"] = self.is_mount_volume
        return {name: value for name, value in asked.items() if value is not None}


# Looking for the nearest name of each of very many keys would hold the hub up.
_MAX_KEYS = 100
# What several values of one form field mean: parts of one list, or the last checkbox.
_LISTS = {"gpus": ",", "env": "\n"}
_FLAGS = frozenset({"is_custom_image", "is_mount_volume"})
_ORIGINAL_NAMES = ("custom_image", "defined_image")
_KNOWN = (*WorkspaceOptions.model_fields, *_ORIGINAL_NAMES)


def is_nothing(value: Any) -> bool:
    """Tell whether a value of the REST API says nothing."""
    return values.is_blank(value) or (isinstance(value, Mapping) and not value)


def suggest(key: Any, known: Iterable[str]) -> str:
    """Make the sentence about a key that is not known."""
    known = list(known)
    near = difflib.get_close_matches(str(key)[:40], known, n=1, cutoff=0.6)
    return f"{values.show(key)} is not known here. " + (f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}.")


def _find_unknown(given: Mapping[Any, Any]) -> dict[str, str]:
    unknown = [key for key in given if key not in _KNOWN]
    return {_shorten(key): f"The option {suggest(key, _KNOWN)}" for key in unknown[:5]}


def _choose_image(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Put the one image that is meant under its own name; return the rest with it, and what is wrong."""
    chosen = {name: value for name, value in given.items() if name in WorkspaceOptions.model_fields}
    try:
        is_custom = values.parse_flag(given.get("is_custom_image", False))
    except ValueError:
        return chosen, {}
    name = "custom_image" if is_custom else "defined_image"
    image = given.get("image")
    if is_custom and image is None and name not in given:
        return chosen, {
            "custom_image": "custom_image is empty although is_custom_image is set. Name an image, or leave is_custom_image out."
        }
    if image is not None and name in given and image != given[name]:
        return chosen, {"image": f"image={values.show(image)} and {name}={values.show(given[name])} contradict each other. Leave one out."}
    if image is None and name in given:
        chosen["image"] = given[name]
    return chosen, {}


def _make_sentences(error: ValidationError, given: Mapping[str, Any]) -> dict[str, str]:
    fields = {}
    for detail in error.errors(include_url=False, include_context=False):
        name = str(detail["loc"][0]) if detail["loc"] else "options"
        if name == "image" and "image" not in given:
            name = next((original for original in _ORIGINAL_NAMES if given.get(original) == detail["input"]), name)
        message = detail["msg"].removeprefix("Value error, ")
        # The value of an environment may be a secret.
        shown = "" if name == "env" else f"={values.show(detail['input'])}"
        fields[name] = f"{name}{shown} {message}"
    return fields


def _join_texts(name: str, texts: Any) -> Any:
    if not isinstance(texts, list | tuple):
        return texts
    words = [text for text in texts if not values.is_blank(text)]
    if len(words) <= 1:
        return words[0] if words else None
    if name in _FLAGS:
        return words[-1]
    if name in _LISTS and all(isinstance(word, str) for word in words):
        return _LISTS[name].join(words)
    raise ValueError(f"is given {len(words)} times. Give it once.")


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _shorten(key: Any) -> str:
    return str(key)[:64]
