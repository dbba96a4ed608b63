"""Find the class that ``c.JupyterHub.…_class`` means: itself, the short name of an entry point, or
``package.module.Class``.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from traitlets.utils.importstring import import_item

from mlhub.errors import ConfigurationError


def find_class(trait: str, value: Any, group: str, base: type) -> type:
    """Return the subclass of ``base`` that a value of ``c.JupyterHub.<trait>`` names, or is.

    Raises ``ConfigurationError``; ``group`` is the entry point group whose short names are known.
    """
    found = _import(trait, value, group) if isinstance(value, str) else value
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigurationError(
            f"c.JupyterHub.{trait} = {value!r} is not a subclass of"
            f" {base.__module__}.{base.__name__}."
        )
    return found


def _import(trait: str, name: str, group: str) -> Any:
    registered = {
        entry.name.lower(): entry for entry in importlib.metadata.entry_points(group=group)
    }
    try:
        return registered[name.lower()].load() if name.lower() in registered else import_item(name)
    # import_item() raises ValueError for a name without a last part.
    except (ImportError, ValueError) as error:
        known = ", ".join(sorted(registered))
        package = (
            " A package that this image does not have is added by mlhub-pip in one of your own"
            " (docs/howto/packages.md)."
            if isinstance(error, ModuleNotFoundError)
            else ""
        )
        raise ConfigurationError(
            f"c.JupyterHub.{trait} = {name!r} cannot be imported ({error}). Write"
            f" 'package.module.Class' or one of: {known}.{package}"
        ) from error
