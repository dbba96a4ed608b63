"""What an option is, and what decides about one. Pure: no I/O.

One object per option is the field of the form, the rule of the policy, the value of the REST API,
the row of the reference page and the limit that is shown. ``mlhub/options/model.py`` lists them
all.

Invariants: nothing that was asked is made smaller in silence, it is granted or refused with a
``Refusal``.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mlhub import quantities
from mlhub.texts import Text

KeyPath = tuple[str | int, ...]


class StrictModel(BaseModel):
    """Refuse keys that are not known, with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        known = list(cls.model_fields)
        for key in data if isinstance(data, Mapping) else ():
            if key not in known:
                context = {"key": str(key), "sentence": suggest(key, known)}
                raise PydanticCustomError("unknown_key", "{sentence}", context)
        return data


def suggest(key: Any, known: Iterable[str]) -> str:
    """Make the sentence about a key that is not known."""
    known = list(known)
    near = difflib.get_close_matches(str(key)[:40], known, n=1, cutoff=0.6)
    cure = (
        Text("Did you mean %(name)s?", name=near[0])
        if near
        else Text("Known: %(names)s.", names=", ".join(known))
    )
    return Text("%(key)s is not known here. %(cure)s", key=quantities.show(key), cure=cure)


@dataclass(frozen=True)
class Source:
    """Name the rule behind a value, and the place where it is written."""

    rule: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.rule}, {self.place}" if self.place else self.rule


@dataclass(frozen=True)
class Setting:
    """Hold what one key of the policy is, and why."""

    value: Any
    source: Source


@dataclass(frozen=True)
class Origin:
    """Remember which line of which file said what."""

    file: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Return ``file:line`` of a key, or of the nearest key above it."""
        for length in range(len(path), -1, -1):
            if line := self.lines.get(path[:length]):
                return f"{self.file}:{line}"
        return self.file


@dataclass(frozen=True)
class Reason:
    """Say why a value is what it is."""

    text: str
    source: Source | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.source})" if self.source else self.text


class Refusal(Exception):
    """Carry one option's sentence, and the rule behind it."""

    def __init__(self, name: str, sentence: str, source: Source | None = None) -> None:
        super().__init__(sentence)
        self.name, self.sentence, self.source = name, sentence, source


@dataclass(frozen=True)
class Host:
    """Hold what the host, or the largest node, has; None is not known.

    ``memory_bytes`` is in bytes; GPUs stand in the order of their indices. ``is_shared``: it is the
    one host of all workspaces. ``disk_bytes`` is what workspaces have of its disk: what is free,
    and what they take.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] | None = None
    is_shared: bool = False
    disk_bytes: int | None = None


class Entry(Protocol):
    """What choosing asks of an entry of the image catalogue."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def options(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True)
class Request:
    """Hold all that a choice depends on: what was ``asked`` by the options' names, and the rules
    that hold.
    """

    asked: Mapping[str, Any]
    settings: Mapping[str, Setting]
    host: Host
    catalogue: tuple[Entry, ...]
    host_limits: Mapping[str, Setting | None]
    origin: Origin

    def find_setting(self, option: str, key: str) -> Setting | None:
        """Return what the rules say of one key of an option, such as its ``max``."""
        return self.settings.get(f"{option}.{key}")

    def asking(self, **asked: Any) -> Request:
        """Return the same request with other wishes; None is none."""
        return replace(self, asked={**self.asked, **asked})


@dataclass(frozen=True, kw_only=True)
class Option(ABC):
    """One thing that people may ask for.

    ``kind`` is the kind of the form's field: text, lines, check, or one that the form makes by
    itself. ``endless_note`` stands beside the form's field where nothing limits it. ``joint`` joins
    several values of one form field into one; without it such a field is given once. ``is_kept``: a
    workspace that runs keeps it where nobody asks for something else. ``is_secret``: its value
    stands in no message, log line, explanation, page or answer of the API, and is kept sealed.
    """

    name: str
    label: str
    description: str
    help: str = ""
    kind: str = "text"
    joint: str = ""
    endless_note: str = ""
    is_basic: bool = False
    is_kept: bool = False
    is_secret: bool = False
    may_change_while_running: bool = False

    @property
    def rule_keys(self) -> tuple[str, ...]:
        """The keys of a policy's rule that are about this option."""
        return (self.name,)

    @property
    def is_quotable(self) -> bool:
        """Whether a message may quote its value."""
        return not self.is_secret

    def ask(self) -> Any:
        """Return the field of the model in which people ask."""
        return Field(default=None, description=self.description, repr=self.is_quotable)

    @abstractmethod
    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return what a workspace gets, and why; raise ``Refusal``."""

    def find_maximum(self, request: Request) -> Setting | None:
        """Return the most that may be asked, or None where nothing limits it."""
        return None

    def has_nothing_to_choose(self, request: Request) -> bool:
        """Return True if there is only one answer, whatever the rules allow."""
        return False

    def write(self, value: Any) -> Any:
        """Return what was asked as JSON that the model reads back."""
        return value

    def show(self, value: Any) -> str:
        """Write a value as it is typed."""
        return str(value)

    def describe(self, value: Any) -> str:
        """Write what a workspace gets, for people."""
        return self.show(value)

    def show_default(self, value: Any) -> str:
        """Write what one gets without asking, as the form shows it; empty where that is nothing."""
        return "" if value is None else self.show(value)

    def show_maximum(self, maximum: float) -> str:
        """Write a maximum as the form shows it."""
        return self.show(maximum)

    def find_number(self, maximum: Setting) -> float | None:
        """Return a maximum as a number of the JSON schema, or None where a bare one means something
        else.
        """
        return None

    def find_words(self, text: str) -> str:
        """Write a default or a maximum that is shown for people, in a way that can be typed as
        well.
        """
        return text

    def describe_host(self, host: Host) -> str:
        """Write what the host has of it; empty where that is not known."""
        return ""

    def make_variables(self, value: Any) -> Mapping[str, str]:
        """Return the environment variables that a value gives to a workspace."""
        return {}
