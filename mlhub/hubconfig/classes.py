"""Look at the classes that a configuration names before JupyterHub does, whose own words for a wrong one are a traceback."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from mlhub.errors import ConfigurationError


def check_classes(c: Config) -> None:
    """Check spawner and proxy; the authenticator was resolved by the wiring."""
    find_class("proxy_class", c.JupyterHub.proxy_class, "jupyterhub.proxies", Proxy)
    find_spawner_class(c)


def find_spawner_class(c: Config) -> type:
    """Return the spawner's class.

    Raises ``ConfigurationError`` where there is none.
    """
    return find_class("spawner_class", c.JupyterHub.spawner_class, "jupyterhub.spawners", Spawner)


def find_class(trait: str, value: Any, group: str, base: type) -> type:
    """Return the subclass of ``base`` that a value of ``c.JupyterHub.<trait>`` names, or is.

    Raises ``ConfigurationError``; ``group`` is the entry point group whose short names are known.
    """
    found = _import(trait, value, group) if isinstance(value, str) else value
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigurationError(f"c.JupyterHub.{trait} = {value!r} is not a subclass of {base.__module__}.{base.__name__}.")
    return found


def _import(trait: str, name: str, group: str) -> Any:
    registered = {entry.name.lower(): entry for entry in importlib.metadata.entry_points(group=group)}
    try:
        return registered[name.lower()].load() if name.lower() in registered else import_item(name)
    except (ImportError, ValueError) as error:
        known = ", ".join(sorted(registered))
        raise ConfigurationError(
            f"c.JupyterHub.{trait} = {name!r} can not be imported ({error}). Write 'package.module.Class' or one of: {known}."
        ) from error
