"""Texts and lists of a policy, as YAML gives them. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema


def parse_text(value: Any) -> str:
    """Read text of a policy; YAML turns a bare ``no`` into false."""
    if not isinstance(value, str):
        raise ValueError("is not text. Put it in quotes.")
    return value


def parse_list(value: Any) -> tuple[Any, ...]:
    """Read a list of a policy; one entry may stand alone."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list. Write e.g. [a, b].")
    return tuple(value)


def parse_path(value: Any) -> str:
    """Read a directory inside an image."""
    if not isinstance(value, str) or not re.fullmatch(r"/[^\x00-\x1f:]*", value):
        raise ValueError("is not an absolute path. Write e.g. /home/jovyan.")
    return value


PlainText = Annotated[str, BeforeValidator(parse_text), WithJsonSchema({"type": "string"})]
TextList = Annotated[
    tuple[PlainText, ...],
    BeforeValidator(parse_list),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
