"""The reference page of what somebody may try, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).resolve().parents[2] / "tests" / "weaknesses.yaml"
WITHIN = "within"
INTRODUCTION = """# Weaknesses, and what stops them

<!-- Written by scripts/docs from tests/weaknesses.yaml. -->

What a person with root in their workspace, a visitor without an account, another site, or a \
person who is signed in may try; what stops it; and the tests that try it. Beside each refusal a \
test holds what has to go on working. Most of these are what other hubs were once open to, this \
one's predecessor among them. [Security](../explanation/security.md) says who trusts whom, and \
what remains.
"""


def read_table() -> dict[str, dict[str, dict[str, Any]]]:
    """Read the table: section → name → row."""
    table: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(TABLE.read_text())
    return table


def list_tests(row: Mapping[str, Any]) -> list[str]:
    """List the tests that a row names, attacks first."""
    return [*row["attack"], *(row["twin"] if row["twin"] != WITHIN else ())]


def render_weaknesses() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for section, rows in read_table().items():
        parts += [f"## {section}\n", *(_render_row(name, row) for name, row in rows.items())]
    return "\n".join(parts).rstrip() + "\n"


def _render_row(name: str, row: Mapping[str, Any]) -> str:
    def show(tests: list[str]) -> str:
        return ", ".join(f"`tests/{test.replace('::', ' ')}`" for test in tests)

    lines = [
        f"### {name}\n",
        f"{row['weakness']}\n",
        f"- What stops it: {row['stops']}",
        f"- Tried by way of: {', '.join(row['places'])}",
        *([f"- On one backend alone: {row['only']}"] if "only" in row else ()),
        f"- Refused in {show(row['attack'])}",
    ]
    if row["twin"] == WITHIN:
        lines.append("- Each of these also holds what goes on to work.")
    else:
        lines.append(f"- What goes on to work is held in {show(row['twin'])}")
    return "\n".join(lines) + "\n"
