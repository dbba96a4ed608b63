"""Networks that older versions made, under names that sort before many others. Pure: no I/O.

Up to Docker 27 the hub's published port moves to the network whose name sorts first, which cuts
every connection that is open. Such a network is used on while something runs in it, and where it
is not in the way; else the user gets one of today's name (``Identity.network``).
"""

from __future__ import annotations

from collections.abc import Iterable

from docker.utils import version_gte

from mlhub.identity import Identity


class FormerNetworks:
    """Know which users still have a network of an older version's."""

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._own: set[str] = set()

    def note(self, found: Iterable[str], own: Iterable[str], api_version: str) -> None:
        """Note the names of this hub's networks, and of those that the hub's container is in
        besides; an engine that knows priorities of gateways does not go by names.
        """
        self._found = set(found)
        self._own = set() if version_gte(api_version, "1.48") else set(own)

    def has(self, identity: Identity) -> bool:
        """Return True if a user still has such a network."""
        return identity.former_network in self._found

    def forget(self, identity: Identity) -> None:
        """Note that it is gone."""
        self._found.discard(identity.former_network)

    def name(self, identity: Identity) -> str:
        """Return the name of the network that a user has, or gets."""
        return identity.former_network if self.has(identity) else identity.network

    def is_in_the_way(self, identity: Identity) -> bool:
        """Return True if the hub's published port would move when the hub joins it."""
        return bool(self._own) and identity.former_network < min(self._own)
