"""The texts of pages in their reader's language.

English is the source: a text in a template, a script or Python is its own key, and what nobody has
translated is shown as it is. Each other language is a file, ``resources/texts/<language>.json``.

Invariants: a language is chosen for the request that is answered, never for the process, so two
requests at once have each their own. What a browser sends only ever chooses among the languages
that there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from gettext import c2py
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import InternationalizationExtension
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from mlhub.errors import ConfigurationError

SOURCE = "en"
# Nobody prefers more languages than fit in here.
MAX_HEADER = 1000
_RANGE = re.compile(
    r"\s*(\*|[A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,32})?\s*"
    r"(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
)


@dataclass(frozen=True)
class Catalog:
    """One language: what its pages and scripts say in place of the English texts."""

    language: str = SOURCE
    # Of texts with a number, which form goes with it: C's syntax, as gettext has it.
    plural: str = "n != 1"
    pages: Mapping[str, str | list[str]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def choose_form(self) -> Callable[[int], int]:
        """Return which of its forms a number takes."""
        return c2py(self.plural)

    def find(self, text: str) -> str:
        """Return the translation of a text, or the text."""
        found = self.pages.get(text, text)
        return found if isinstance(found, str) else found[0]

    def find_form(self, one: str, many: str, number: int) -> str:
        """Return the translation of a text that goes with a number."""
        found = self.pages.get(one)
        if isinstance(found, list):
            return found[self.choose_form(number)]
        return one if number == 1 else many


_ENGLISH = Catalog()
_spoken: ContextVar[Catalog] = ContextVar("spoken", default=_ENGLISH)


class Text(str):
    """A text of Python's that pages show; in English wherever nobody translates it.

    ``%(name)s`` in it is replaced by a value; one that is a ``Text`` is translated with it.
    """

    message: str
    values: Mapping[str, Any]
    change: Callable[[str], str] | None

    def __new__(cls, message: str, /, **values: Any) -> Text:
        text = super().__new__(cls, message % values if values else message)
        text.message, text.values, text.change = message, values, None
        return text

    def __mod__(self, values: Any) -> str:
        """Stay what it is where nothing is put in: tornado does so with an error's message."""
        return str.__mod__(self, values) if values else self


def change(text: str, how: Callable[[str], str]) -> str:
    """Change a text, and each of its translations in the same way."""
    if not isinstance(text, Text):
        return how(text)
    changed = str.__new__(Text, how(text))
    changed.message, changed.values, changed.change = text.message, text.values, how
    return changed


def explain(error: BaseException) -> str:
    """Return what an error says; a text of ours stays one."""
    message = error.args[0] if len(error.args) == 1 else None
    return message if isinstance(message, Text) else str(error)


def join(*texts: str, between: str = " ") -> Text:
    """Put texts one after the other, each of which is translated by itself."""
    shown = [text for text in texts if text]
    names = [f"text{number}" for number in range(len(shown))]
    message = between.join(f"%({name})s" for name in names)
    return Text(message, **dict(zip(names, shown, strict=True)))


def translate(text: str) -> str:
    """Return a text of ours in the language of the request that is answered; whatever else comes
    stays as it is. Never markup: who shows it escapes it.
    """
    if not isinstance(text, Text):
        return text
    found = _spoken.get().find(text.message)
    if text.values:
        found %= {
            name: translate(value) if isinstance(value, Text) else value
            for name, value in text.values.items()
        }
    return text.change(found) if text.change else found


class Languages:
    """The languages that there are, and who is answered in which."""

    def __init__(self, folder: Path) -> None:
        names = list_languages(folder)
        self.catalogs = {name: read_catalog(folder / f"{name}.json") for name in names}
        self.catalogs[SOURCE] = _ENGLISH

    def choose(self, header: str) -> Catalog:
        """Return the language that an ``Accept-Language`` header prefers: RFC 9110, 12.5.4."""
        chosen, best = _ENGLISH, 0.0
        for part in header[:MAX_HEADER].split(","):
            found = _RANGE.fullmatch(part)
            language = found[1].lower() if found else ""
            catalog = _ENGLISH if language == "*" else self.catalogs.get(language)
            quality = float((found and found[2]) or 1)
            if catalog and quality > best:
                chosen, best = catalog, quality
        return chosen

    def speak(self, header: str) -> None:
        """Answer the request of this task, and of what it starts, in the language it prefers."""
        _spoken.set(self.choose(header))


def list_languages(folder: Path) -> list[str]:
    """List the languages beside English."""
    names = {file.stem for file in folder.glob("*.json")} - {SOURCE}
    return sorted(name for name in names if re.fullmatch("[a-z]{1,8}", name))


def read_catalog(file: Path) -> Catalog:
    """Read a language's file."""
    try:
        read = json.loads(file.read_text("utf-8"))
        catalog = Catalog(file.stem, read["plural"], read["pages"], read["scripts"])
        catalog.choose_form(1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{file} is no catalog of texts: {error!r}. It is JSON with plural, pages and scripts,"
            " as de.json beside it. Correct it, or remove it."
        ) from error
    return catalog


class PageTexts(InternationalizationExtension):
    """Give templates ``_()``, ``{% trans %}``, the filter ``translate``, and what a page needs for
    its scripts.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # Lines of a template may be broken within a text.
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_callables(  # type: ignore[attr-defined]
            lambda text: _spoken.get().find(text),
            lambda one, many, number: _spoken.get().find_form(one, many, number),
            newstyle=True,
        )
        environment.filters["translate"] = translate
        environment.globals["page_language"] = lambda: _spoken.get().language
        environment.globals["script_texts"] = write_script_texts


def write_script_texts() -> Markup:
    """Write what scripts say, as JSON within a page; nothing where they say it in English."""
    scripts = _spoken.get().scripts
    return htmlsafe_json_dumps(scripts) if scripts else Markup()
