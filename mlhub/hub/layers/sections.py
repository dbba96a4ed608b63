"""The sections of a configuration by which one class is reached: its own, and those of the classes
that it is made from.

Of two sections that name one trait, traitlets takes the more special one, whichever was written
later: https://traitlets.readthedocs.io/en/stable/config.html#inheritance-between-classes
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from traitlets.config import Config, LazyConfigValue

MISSING = object()


def list_sections(cls: type, owner: str) -> list[str]:
    """List the sections that reach a class made from ``owner``; only that one for a class that is
    not, and shares no meaning with it.
    """
    names = [base.__name__ for base in reversed(cls.__mro__)]
    return list(dict.fromkeys(names)) if owner in names else [owner]


def get(c: Config, section: str, trait: str) -> Any:
    """Return a configured value, or ``MISSING``; what is to be added to a value is none yet."""
    value = c.get(section, {}).get(trait, MISSING)
    return MISSING if isinstance(value, LazyConfigValue) else value


def list_configured(c: Config, sections: list[str], trait: str) -> Iterator[tuple[str, Any]]:
    """Yield (section, value) for each section that says something about a trait."""
    for section in sections:
        if (value := get(c, section, trait)) is not MISSING:
            yield section, value


def set_default(c: Config, sections: list[str], owner: str, trait: str, value: Any) -> None:
    """Set what the site may say otherwise, by any of the sections."""
    if not any(list_configured(c, sections, trait)):
        setattr(c[owner], trait, value)
