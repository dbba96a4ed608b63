"""Look at the classes that a configuration names before JupyterHub does, whose own words for a
wrong one are a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from mlhub.classes import find_class
from mlhub.hub.layers.refusals import Refusals


@dataclass(frozen=True)
class Classes:
    """The classes that a hub is made of; None where what the file names is none."""

    hub: type
    proxy: type | None
    spawner: type | None
    authenticator: type | None

    def __iter__(self) -> Iterator[Any]:
        found = (self.hub, self.proxy, self.spawner, self.authenticator)
        return (each for each in found if each is not None)


def find_spawner_class(c: Config) -> type:
    """Return the spawner's class.

    Raises ``ConfigurationError`` where there is none.
    """
    return find_class("spawner_class", c.JupyterHub.spawner_class, "jupyterhub.spawners", Spawner)


def find_proxy_class(c: Config) -> type:
    """Return the proxy's class.

    Raises ``ConfigurationError`` where there is none.
    """
    return find_class("proxy_class", c.JupyterHub.proxy_class, "jupyterhub.proxies", Proxy)


def find_classes(c: Config, refusals: Refusals, hub: type, spawner: type | None) -> Classes:
    """Find all of them in a configuration that is wired."""
    proxy: type | None = None
    with refusals.gather():
        proxy = find_proxy_class(c)
    found = c.JupyterHub.authenticator_class
    known = found if isinstance(found, type) and issubclass(found, Authenticator) else None
    return Classes(hub, proxy, spawner, known)
