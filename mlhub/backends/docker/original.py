"""Containers of the original, ML Hub of 2021, with which this hub goes on while they run.

Invariants: nothing of the original's is renamed, changed or removed, so that one can go back to
it. Whose a container is its labels tell, never its name. It is used until it stops; the next start
makes one of ours on the same volume.

Inside runs a single-user server of JupyterHub 1.x. It asks its hub by a name and a port that are
this hub's as well, so all that it lacks is a route, its token, and its OAuth client under the id
that it knows. That id is made of names here, and not read from the container: in the original
people could set any variable there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from jupyterhub import orm
from jupyterhub.utils import url_escape_path

from mlhub.backends.adoption import TOKEN_VARIABLE
from mlhub.backends.docker.container import LABEL_PORT, read_environment
from mlhub.backends.docker.spec import LABEL_CONFIG
from mlhub.backends.inventory import read_owner
from mlhub.identity import Identity
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Kind

# On each container of ours, and on none of the original's.
OURS = (LABEL_CONFIG, LABEL_PORT, LABEL_PERSON)
RUNNING = ("running", "paused", "restarting")
PREFIX_VARIABLE = "JUPYTERHUB_SERVICE_PREFIX"
# As JupyterHub makes tokens: whatever else is there, somebody chose, and others may guess.
_TOKEN = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True)
class Original:
    """One container of the original's that runs."""

    name: str
    image: str


def find_originals(entries: Iterable[Mapping[str, Any]]) -> dict[Identity, Original]:
    """Find those that run, by whose they are, in the engine's list of containers; none where
    another container of the same workspace runs beside it.
    """
    found: dict[Identity, list[Original | None]] = {}
    for entry in entries:
        labels = entry.get("Labels") or {}
        owner = read_owner(Kind.WORKSPACE, labels)
        if owner is None or entry.get("State") not in RUNNING:
            continue
        one = Original(str(entry["Names"][0]).lstrip("/"), str(entry.get("Image", "")))
        found.setdefault(owner, []).append(one if is_original(labels) else None)
    return {owner: each[0] for owner, each in found.items() if len(each) == 1 and each[0]}


def is_original(labels: Mapping[str, str]) -> bool:
    """Return True if a workspace's container with these labels was made by the original."""
    return not any(label in labels for label in OURS)


def make_client_id(identity: Identity) -> str:
    """Make the id of a workspace's OAuth client as JupyterHub does it."""
    return "-".join(map(quote, filter(None, ("jupyterhub-user", identity.user, identity.server))))


def is_shared(db: Any, identity: Identity) -> bool:
    """Return True if the id of a workspace's client is that of another one, too: of person and
    server with a hyphen between them, it can be read in several ways.
    """
    words = make_client_id(identity).removeprefix("jupyterhub-user-").split("-")
    for end in range(1, len(words) + 1):
        user, server = (unquote("-".join(part)) for part in (words[:end], words[end:]))
        row = orm.User.find(db, user) if user != identity.user else None
        if row is not None and (not server or server in row.orm_spawners):
            return True
    return False


def read_told(found: dict[str, Any]) -> dict[str, str]:
    """Read the environment of a container of the original's as one of ours would have it; nothing
    where its token was chosen by somebody.
    """
    told = read_environment(found)
    if not _TOKEN.match(told.get(TOKEN_VARIABLE, "")):
        return {}
    # Names of servers stood there as they are, and today as addresses have them.
    parts = [url_escape_path(unquote(part)) for part in told.get(PREFIX_VARIABLE, "").split("/")]
    return {**told, PREFIX_VARIABLE: "/".join(parts)}
