"""Every key of the chart that a sentence names is one that the chart knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chart_files import FOREIGN_KEYS, SCHEMA
from tests.support.helm import CHART

ROOT = CHART.parents[1]
# The labels of workspaces, our modules and our templates begin with mlhub as well: keys are known
# by a capital or env, and by their `=`.
KEY = re.compile(
    r"(?<![\w./$-])((?:hub|proxy|singleuser|rbac|scheduling|ingress|gateway|ssh|metrics)"
    r"(?:\.[a-zA-Z]\w*)+|mlhub\.(?:env\.\w+|[a-z]+[A-Z]\w*)(?==))"
)
# Labels of Kubernetes, names of hosts and files, keys of the Secret.
OTHERS = re.compile(
    r"hub\.(jupyter\.org\w*|example\.(org|com)|cookieSecret|lock)"
    r"|ssh\.(exe|md|jsonl|ca|hostKey|token)|metrics\.(md|token)|proxy\.token"
)


def knows(path: str) -> bool:
    """Return True if the chart takes a value there."""
    section = SCHEMA
    for name in path.split("."):
        if "properties" not in section:
            return True  # a map of the site's own
        if name not in section["properties"]:
            return False
        section = section["properties"][name]
    return True


def list_keys(text: str) -> set[str]:
    """List the keys of the chart that a text names."""
    return {key for key in KEY.findall(text) if not OTHERS.fullmatch(key)}


def read_sentences() -> Iterator[tuple[str, str]]:
    """Yield each text that people read, with where it stands."""
    # What is moved in has the keys of another chart; tests/chart/test_imported.py holds its own.
    others = ROOT / "mlhub/migration"
    for file in sorted({*(ROOT / "mlhub").rglob("*.py")} - {*others.rglob("*.py")}):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value
    pages: list[Path] = [
        *(ROOT / "docs/howto").glob("*.md"),
        CHART / "README.md",
        CHART / "templates/NOTES.txt",
        *(CHART / "templates").glob("*.tpl"),
    ]
    for file in sorted(pages):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            yield f"{file.relative_to(ROOT)}:{number}", line


def test_every_key_that_a_sentence_names_is_in_the_schema():
    named = [(place, key) for place, text in read_sentences() for key in list_keys(text)]
    assert len(named) > 100
    assert not [
        f"{place} names {key}" for place, key in named if not knows(key) and key not in FOREIGN_KEYS
    ]


@pytest.mark.parametrize(
    ("sentence", "keys"),
    [
        ("Install the chart with rbac.create=true, or grant it.", {"rbac.create"}),
        ("Remove mlhub.tokenSecret=x, or mlhub.origin=x", {"mlhub.tokenSecret"}),
        (
            (
                "`singleuser.storage.size` of mlhub.origin, https://hub.example.org/hub.db,"
                " $hub.db.kind"
            ),
            {"singleuser.storage.size"},
        ),
    ],
)
def test_a_sentence_that_names_another_key_would_be_found(sentence, keys):
    assert list_keys(sentence) == keys
    assert not any(map(knows, keys))
