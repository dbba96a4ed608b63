"""What a person may ask of one workspace: one typed, frozen model behind the form and the REST API
alike. Pure: no I/O.

Invariants: whatever comes in, the result is valid ``WorkspaceOptions`` or a ``FieldsError`` with
one sentence for each field that is wrong. A blank value says nothing: the site's default holds.
``from_rest(o.to_user_options()) == o``, so what the hub stored can be checked again at every start.

The names of the original are understood: ``is_custom_image`` with ``custom_image``, else
``defined_image``, become ``image``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from mlhub import quantities as values
from mlhub.errors import OptionsError
from mlhub.options.cpu import CPU, Cores
from mlhub.options.days_to_live import DAYS_TO_LIVE, Days
from mlhub.options.environment import ENVIRONMENT, Environment
from mlhub.options.gpus import GPUS, Gpus
from mlhub.options.image import IMAGE, Image
from mlhub.options.license import LICENSE, LicenseKey
from mlhub.options.memory import MEMORY, Memory
from mlhub.options.option import Option, StrictModel, suggest
from mlhub.options.schedule import SCHEDULE, ScheduleText
from mlhub.options.shared_memory import SHARED_MEMORY, Size
from mlhub.options.volume import VOLUME, Flag
from mlhub.texts import Text, explain, join

# In the order in which they are decided and shown.
OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        IMAGE,
        CPU,
        MEMORY,
        SHARED_MEMORY,
        GPUS,
        ENVIRONMENT,
        LICENSE,
        DAYS_TO_LIVE,
        SCHEDULE,
        VOLUME,
    )
}
OPTION_NAMES = tuple(OPTIONS)
ALL_OPTIONS = tuple(OPTIONS.values())
if TYPE_CHECKING:
    OptionName = str
else:
    OptionName = Literal[OPTION_NAMES]


class FieldsError(OptionsError):
    """Report each field that is wrong: ``fields`` maps a field's name to a sentence, ``rules`` to
    the rule that refuses it.
    """

    def __init__(self, fields: Mapping[str, str], rules: Mapping[str, str] | None = None) -> None:
        """Join the sentences, each with the rule behind it, into one message."""
        self.fields = dict(fields)
        self.rules = dict(rules or {})
        super().__init__(
            join(
                *(
                    join(text, f"(Rule: {self.rules[name]}.)") if name in self.rules else text
                    for name, text in fields.items()
                )
            )
        )


class WorkspaceOptions(StrictModel):
    """Hold what somebody asks of a workspace; None means that nothing was asked."""

    image: Image | None = IMAGE.ask()
    is_custom_image: Flag = Field(
        default=False, description="`image` is a reference, never a name of the catalogue."
    )
    cpu_limit: Cores | None = CPU.ask()
    mem_limit: Memory | None = MEMORY.ask()
    shm_size: Size | None = SHARED_MEMORY.ask()
    gpus: Gpus | None = GPUS.ask()
    env: Environment = ENVIRONMENT.ask()
    license: LicenseKey | None = LICENSE.ask()
    days_to_live: Days | None = DAYS_TO_LIVE.ask()
    schedule: ScheduleText | None = SCHEDULE.ask()
    is_mount_volume: Flag | None = VOLUME.ask()

    @classmethod
    def from_rest(cls, user_options: Any) -> WorkspaceOptions:
        """Read ``user_options`` of a REST call, or what the hub stored; raise ``FieldsError``."""
        if is_nothing(user_options):
            return cls()
        if not isinstance(user_options, Mapping):
            raise OptionsError(
                Text(
                    "The options are %(options)s, not a mapping. Write e.g. {'cpu_limit': 2}.",
                    options=values.show(user_options),
                )
            )
        if len(user_options) > _MAX_KEYS:
            raise OptionsError(
                Text(
                    "There are %(number)s options, far more than are known. Known: %(known)s.",
                    number=len(user_options),
                    known=", ".join(_KNOWN),
                )
            )
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

        Of a checkbox the last value counts, so that a hidden ``false`` before it tells "not ticked"
        from "not asked".
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
                errors[_shorten(name)] = join(_shorten(name), explain(error))
        try:
            options = cls.from_rest(fields)
        except FieldsError as error:
            raise FieldsError({**error.fields, **errors}) from None
        if errors:
            raise FieldsError(errors)
        return options

    def to_user_options(self) -> dict[str, Any]:
        """Return what was asked as JSON that ``from_rest`` reads back; always the same for the same
        options.
        """
        given = {name: getattr(self, name) for name in OPTIONS}
        asked = {
            name: OPTIONS[name].write(value) for name, value in given.items() if value is not None
        }
        asked["is_custom_image"] = self.is_custom_image or None
        return {name: value for name, value in asked.items() if value is not None}

    def list_asked(self) -> dict[str, Any]:
        """Return what was asked, by the names of the fields."""
        return {name: getattr(self, name) for name in type(self).model_fields}


# Looking for the nearest name of each of very many keys would hold the hub up.
_MAX_KEYS = 100
_ORIGINAL_NAMES = ("custom_image", "defined_image")
_KNOWN = (*WorkspaceOptions.model_fields, *_ORIGINAL_NAMES)


def drop_name(name: str, sentence: str) -> str:
    """Return the sentence about an option without the name that only the REST API has."""
    return sentence.removeprefix(f"{name}=").removeprefix(f"{name} ")


def is_nothing(value: Any) -> bool:
    """Return True if a value of the REST API says nothing."""
    return values.is_blank(value) or (isinstance(value, Mapping) and not value)


def _find_unknown(given: Mapping[Any, Any]) -> dict[str, str]:
    unknown = [key for key in given if key not in _KNOWN]
    return {
        _shorten(key): Text("The option %(problem)s", problem=suggest(key, _KNOWN))
        for key in unknown[:5]
    }


def _choose_image(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Put the one image that is meant under its own name; return the rest with it, and what is
    wrong.
    """
    chosen = {name: value for name, value in given.items() if name in WorkspaceOptions.model_fields}
    try:
        is_custom = values.parse_flag(given.get("is_custom_image", False))
    except ValueError:
        return chosen, {}
    name = "custom_image" if is_custom else "defined_image"
    image = given.get("image")
    if is_custom and image is None and name not in given:
        return chosen, {
            "custom_image": (
                Text(
                    "custom_image is empty although is_custom_image is set. Name an image,"
                    " or leave is_custom_image out."
                )
            )
        }
    if image is not None and name in given and image != given[name]:
        return chosen, {
            "image": (
                Text(
                    "image=%(image)s and %(name)s=%(other)s contradict each other. Leave one out.",
                    image=values.show(image),
                    name=name,
                    other=values.show(given[name]),
                )
            )
        }
    if image is None and name in given:
        chosen["image"] = given[name]
    return chosen, {}


def _make_sentences(error: ValidationError, given: Mapping[str, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else "options"
        if name == "image" and "image" not in given:
            name = next(
                (
                    original
                    for original in _ORIGINAL_NAMES
                    if given.get(original) == detail["input"]
                ),
                name,
            )
        cause = detail.get("ctx", {}).get("error")
        message = explain(cause) if cause else detail["msg"]
        is_quotable = name not in OPTIONS or OPTIONS[name].is_quotable
        shown = f"={values.show(detail['input'])}" if is_quotable else ""
        fields[name] = join(f"{name}{shown}", message)
    return fields


def _join_texts(name: str, texts: Any) -> Any:
    if not isinstance(texts, list | tuple):
        return texts
    words = [text for text in texts if not values.is_blank(text)]
    if len(words) <= 1:
        return words[0] if words else None
    option = OPTIONS.get(name)
    if name == "is_custom_image" or (option and option.kind == "check"):
        return words[-1]
    if option and option.joint and all(isinstance(word, str) for word in words):
        return option.joint.join(words)
    raise ValueError(Text("is given %(number)s times. Give it once.", number=len(words)))


def _shorten(key: Any) -> str:
    return str(key)[:64]
