"""What a site adds to a value in place: ``c.DockerSpawner.volumes.update(…)``.

traitlets keeps such words until the object is made, and drops those that do not fit the value which
it has by then: https://traitlets.readthedocs.io/en/stable/config.html
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from traitlets import HasTraits
from traitlets.config import Config, LazyConfigValue

from mlhub.hub.layers.sections import MISSING, list_configured
from mlhub.traits import RefusedLineError

_FITTING = {
    list: {"extend", "prepend", "inserts"},
    dict: {"update"},
    set: {"update"},
}


def read_said(c: Config, cls: type[HasTraits], section: str, trait: str, value: Any) -> Any:
    """Return what a line says by itself: its value, or what it adds; ``MISSING`` where it adds
    nothing, as a line that only looks.

    Raises ``RefusedLineError`` where what it adds would be dropped.
    """
    if not isinstance(value, LazyConfigValue):
        return value
    if not value.to_dict():
        return MISSING
    first = _find_first(c, cls, trait)
    if first is MISSING:  # which only the finished object knows
        first = value.to_dict().get("update", [])
    fitting = next((words for kind, words in _FITTING.items() if isinstance(first, kind)), set())
    if value.to_dict().keys() <= fitting:
        try:
            # A copy: it takes in nothing more once it was read.
            return deepcopy(value).get_value(type(first)())
        except (TypeError, ValueError):
            pass
    raise RefusedLineError(
        section,
        trait,
        "itself and more",
        f"at first it is a {type(first).__name__}, to which nothing can be added like this: the"
        f" line would be ignored. Write the whole value: c.{section}.{trait} = …",
    )


def _find_first(c: Config, cls: type[HasTraits], trait: str) -> Any:
    """Return the value to which something is added."""
    names = [base.__name__ for base in cls.__mro__]
    for _, value in list_configured(c, names, trait):
        return value
    # An object whose defaults are there, and which was never made: nothing is opened or started.
    bare = cls.__new__(cls)
    try:
        return getattr(bare, trait)
    except Exception:  # noqa: BLE001
        return MISSING
