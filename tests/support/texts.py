"""Which texts templates, scripts and Python hand to a translation, and which they do not."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, nodes

from mlhub.options.model import ALL_OPTIONS
from mlhub.texts import PageTexts

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "resources" / "html"
SCRIPTS = ROOT / "resources" / "static" / "mlhub"
# Names, abbreviations, and what is the same in every language.
NO_TEXT = {"API", "CPU", "CSV", "GPU", "JupyterHub", "MLHub", "OK", "SSH", "UTC", "ssh", "port"}
# Attributes that people see or hear.
SEEN = {"alt", "aria-label", "data-label", "data-busy", "placeholder", "title"}
# Examples of what is typed.
EXAMPLES = {"mon-fri 09:00-18:00 Europe/Berlin", "ssh-ed25519 AAAA… name@computer"}
_WORD = re.compile(r"[A-Za-z][A-Za-z-]+")
_TRANSLATORS = ("_", "gettext", "ngettext")
_HOLE = "\x00"
# Also where a macro makes them for a tag elsewhere; nobody sees these.
_ATTRIBUTE = re.compile(r'\b(?:class|aria-describedby|aria-invalid|data-offers)="[^"]*"')


@functools.cache
def make_environment() -> Environment:
    """Make what reads the templates as the hub does."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, extensions=[PageTexts])


def list_templates() -> list[str]:
    return sorted(path.name for path in TEMPLATES.glob("*.html"))


@functools.cache
def extract_from_templates() -> dict[str, str | None]:
    """Return each text of templates, with its plural where it has one."""
    environment = make_environment()
    found: dict[str, str | None] = {}
    for name in list_templates():
        for _, _, message in environment.extract_translations((TEMPLATES / name).read_text()):
            one, *more = (message,) if isinstance(message, str) else message
            many = next((each for each in more if isinstance(each, str)), None)
            found[one] = found.get(one) or many
    return found


@functools.cache
def extract_from_python() -> set[str]:
    """Return each text that Python names as one of a page, and what the options say of
    themselves.
    """
    found = {
        text
        for option in ALL_OPTIONS
        for text in (option.label, option.help, option.endless_note)
        if text
    }
    for file in sorted((ROOT / "mlhub").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Text"
            ):
                message = node.args[0]
                if isinstance(message, ast.Constant):
                    found.add(str(message.value))
    return found


_SCRIPT_TEXT = re.compile(r'\btranslate\(\s*"((?:[^"\\]|\\.)*)"')


@functools.cache
def extract_from_scripts() -> set[str]:
    """Return each text of scripts."""
    return {
        text
        for file in sorted(SCRIPTS.glob("*.js"))
        for text in _SCRIPT_TEXT.findall(file.read_text())
    }


class _SeenTexts(HTMLParser):
    """Collect what people see or hear of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style", "code")
        self.texts += [value for name, value in attrs if name in SEEN and value]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "code")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)


def is_text(text: str) -> bool:
    """Return True if somebody has to translate it."""
    if text.strip() in EXAMPLES:
        return False
    return any(word not in NO_TEXT for word in _WORD.findall(text))


def _flatten(node: nodes.Node) -> Iterator[str]:
    """Yield a template's own text in its order, with a hole for whatever is put in."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            yield child.data
        elif not isinstance(child, nodes.Expr):
            yield from _flatten(child)
        elif isinstance(node, nodes.Output):
            yield _HOLE


def _list_constants(node: nodes.Node) -> Iterator[str]:
    """Yield sentences that an expression shows without a translation."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Call):
            is_translation = isinstance(child.node, nodes.Name) and child.node.name in _TRANSLATORS
            if is_translation:
                for each in child.kwargs:
                    yield from _list_constants(each)
                continue
        if isinstance(child, nodes.Compare | nodes.Include | nodes.Extends | nodes.Import):
            continue
        if isinstance(child, nodes.Const) and isinstance(child.value, str):
            yield child.value
        yield from _list_constants(child)


# What begins with a capital, or has words with spaces between them, is for people.
_SENTENCE = re.compile(r"^\W*[A-Z][a-z]|[a-z]\w* \w*[a-z]|^ ?[a-z]+ $")
# Classes of CSS and the like, and what others wrote that is looked for.
_NO_SENTENCE = re.compile(
    r"btn|alert|text-|when-|form-control|Server at |^current scopes$|^Windows \("
)


def find_raw_texts(source: str) -> list[str]:
    """Return what a template shows without a translation."""
    tree = make_environment().parse(source)
    reader = _SeenTexts()
    reader.feed(_ATTRIBUTE.sub("", "".join(_flatten(tree))))
    reader.close()
    raw = [" ".join(text.replace(_HOLE, "…").split()) for text in reader.texts if is_text(text)]
    return raw + [
        text
        for text in _list_constants(tree)
        if _SENTENCE.search(text) and not _NO_SENTENCE.search(text) and is_text(text)
    ]


_SCRIPT_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)
_SCRIPT_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
# What no script shows: directives, names of headers and kinds, what JupyterHub itself says.
_NO_SCRIPT_SENTENCE = {
    "use strict",
    "GET",
    "POST",
    "PATCH",
    "DELETE",
    "PRIVATE KEY",
    "Server requested",
    "X-XSRFToken",
    "Content-Type",
    "PuTTY-User-Key-File",
}


def find_raw_sentences_of_a_script(source: str) -> list[str]:
    """Return the sentences of a script that it hands to no translation."""
    source = _SCRIPT_TEXT.sub("translate(", _SCRIPT_COMMENT.sub("", source))
    found = [text[1:-1] for text in _SCRIPT_STRING.findall(source)]
    return [
        text
        for text in found
        if text not in _NO_SCRIPT_SENTENCE
        and re.search(r"^[A-Z][a-z]|[a-z}] [a-z]+[ .!?]|[a-z] [a-z]+$", text)
        and not re.search(r"btn|badge|progress-bar|select\[|\[name=|[#.][a-z-]+ ", text)
    ]
