"""Names and labels of everything that belongs to a workspace.

Invariants: pure, and injective. Two different (hub, user, server) never share an object name,
and every name is a DNS label of at most 63 characters.

A name has one of two shapes behind its kind:

- ``hub--user[--server]`` where each part is a *safe slug* of JupyterHub already (lower-case
  letters, digits and single hyphens, a letter first) and the whole fits. No part holds ``--``,
  so the parts can be read back: different identities, different names.
- ``hub--user[--server]---<20 hex digits>`` for all others: readable remains, then 80 bits of
  SHA-256 over the exact identity. The first shape never holds ``---``, so the shapes cannot meet.

JupyterHub's own ``safe_slug`` ends in 32 bits of hash per part: too few where people choose their
own names (a second name with the same slug takes minutes to find), hence the longer digest here.
Names only have to be unique; who owns an object is decided by its labels alone (``owns``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jupyterhub.slugs import is_valid_safe_slug, safe_slug

LABEL_ORIGIN = "mlhub.origin"
LABEL_USER = "mlhub.user"
LABEL_SERVER = "mlhub.server_name"

MAX_NAME = 63  # RFC 1035, section 2.3.4
BRIDGES = "mh-"  # how the host's interfaces for the networks of all hubs begin
_DIGEST = 20
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True)
class Identity:
    """Name one workspace: the hub it belongs to, its user, and its server name ('' is the default
    server).
    """

    hub: str
    user: str
    server: str = ""

    def name(self, kind: str) -> str:
        """Make the name of this workspace's object of a kind, for example ``ws`` or ``v1``."""
        return _make_name(kind, self.hub, self.user, *([self.server] if self.server else []))

    @property
    def container(self) -> str:
        """Name of the container or pod, which is also its DNS name."""
        return self.name("ws")

    def volume(self, generation: int) -> str:
        """Make the name of the data volume.

        Each deletion of the workspace starts a new generation.
        """
        return self.name(f"v{generation}")

    @property
    def network(self) -> str:
        """Name of the network that all workspaces of this user share.

        Of a container's networks Docker 20.10 to 27 takes the one whose name sorts first for its
        published ports and its own connections; of the hub's, none of these must ever be it.
        """
        return _make_name("zz-net", self.hub, self.user)

    @property
    def former_network(self) -> str:
        """Name that the network had in older versions."""
        return self.network_policy

    @property
    def network_policy(self) -> str:
        """Name of the NetworkPolicy by which all workspaces of this user reach each other."""
        return _make_name("net", self.hub, self.user)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the workspace's own objects, raw: the documented contract."""
        return {**self.user_labels, LABEL_SERVER: self.server}

    @property
    def user_labels(self) -> dict[str, str]:
        """Labels of what all workspaces of the user share."""
        return {LABEL_ORIGIN: self.hub, LABEL_USER: self.user}

    @property
    def safe_labels(self) -> dict[str, str]:
        """The labels for places whose label values are words (Kubernetes); the raw names stand
        elsewhere there.
        """
        return {**self.safe_user_labels, LABEL_SERVER: make_label_value(self.server)}

    @property
    def safe_user_labels(self) -> dict[str, str]:
        """The same for what all workspaces of the user share."""
        return {LABEL_ORIGIN: self.hub, LABEL_USER: make_label_value(self.user)}

    def owns(self, labels: Mapping[str, str] | None) -> bool:
        """Return True if an object with these labels belongs to this very workspace."""
        return _matches(self.labels, labels)

    def owns_for_user(self, labels: Mapping[str, str] | None) -> bool:
        """Return True if an object with these labels belongs to this user, and to no single
        workspace.
        """
        return _matches(self.user_labels, labels) and LABEL_SERVER not in (labels or {})

    @classmethod
    def from_labels(cls, labels: Mapping[str, str] | None) -> Identity | None:
        """Read the identity back from labels, or return None where they are not ours."""
        labels = labels or {}
        if not labels.get(LABEL_ORIGIN) or not labels.get(LABEL_USER):
            return None
        return cls(labels[LABEL_ORIGIN], labels[LABEL_USER], labels.get(LABEL_SERVER, ""))


def is_dns_label(name: str) -> bool:
    """Return True if a name is a DNS label (RFC 1123) of at most 63 characters."""
    return bool(_DNS_LABEL.match(name))


def make_label_value(name: str) -> str:
    """Make a label value of a raw name: itself where it is a safe slug, else readable remains and a
    digest; "" stays "".
    """
    if not name or (is_valid_safe_slug(name) and len(name) <= MAX_NAME):
        return name
    readable = safe_slug(name, avoid_collisions=False, max_length=MAX_NAME - len("---") - _DIGEST)
    return f"{readable}---{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]}"


def make_bridge_prefix(hub: str) -> str:
    """Make the start of the host's interface names for a hub's networks.

    No hub's prefix is the start of another's: the hyphens of a hub name, which ends here, become
    underscores.
    """
    return f"{BRIDGES}{hub.replace('-', '_')}-"


@dataclass(frozen=True)
class HostIdentity:
    """Hold the private host key (OpenSSH's format) of a workspace's sshd, its certificate (one
    line), and the key of the relay beside it.
    """

    key: str
    certificate: str
    relay: str = ""


def _matches(wanted: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    return all((labels or {}).get(key) == value for key, value in wanted.items())


def _make_name(kind: str, *parts: str) -> str:
    if all(is_valid_safe_slug(part) for part in parts):
        name = f"{kind}-{'--'.join(parts)}"
        if len(name) <= MAX_NAME:
            return name
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST]
    # What stays readable shares the room equally; the first slot (the hub) needs less than a name
    # does.
    room = MAX_NAME - len(kind) - 1 - len("---") - _DIGEST - 2 * (len(parts) - 1)
    slots = [room * share // sum(_SHARES[: len(parts)]) for share in _SHARES[: len(parts)]]
    readable = "--".join(
        safe_slug(part, avoid_collisions=False, max_length=slot)
        for part, slot in zip(parts, slots, strict=True)
    )
    return f"{kind}-{readable}---{digest}"


_SHARES = (2, 4, 3)
