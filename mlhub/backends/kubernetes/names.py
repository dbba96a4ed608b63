"""How objects in the cluster say whose they are. Pure: no I/O.

Invariants: label values are words there, so labels carry a word for each name, which selectors can
use, and annotations the raw names; an object belongs to a workspace only where both say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlhub.backends.inventory import LABEL_IMAGE
from mlhub.errors import ConfigurationError
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity, make_label_value
from mlhub.policy.expiry import LABEL_EXPIRES

# The default of KubeSpawner's templates: the name that an identity has.
OWN_NAME = "{mlhub_name}"
_TOLD = (LABEL_EXPIRES, LABEL_IMAGE)


def check_template(trait: str, template: str) -> None:
    """Check a site's template of names. Raises ``ConfigurationError`` with the cure."""
    slugs = ("{user_server}", "{safe_user_server}")
    if template != OWN_NAME and not any(slug in template for slug in slugs):
        raise ConfigurationError(
            f"c.KubeSpawner.{trait} = {template!r} gives two people the same name. Put"
            " {user_server} into it, or remove the line."
        )


def make_selector(hub: str, user: str | None = None, server: str | None = None) -> str:
    """Make the label selector of a hub's objects, or of those of one user or workspace."""
    words = {LABEL_ORIGIN: hub}
    if user is not None:
        words[LABEL_USER] = make_label_value(user)
    if server is not None:
        words[LABEL_SERVER] = make_label_value(server)
    return ",".join(f"{key}={value}" for key, value in words.items())


def owns(identity: Identity, found: Mapping[str, Any] | None) -> bool:
    """Return True if an object belongs to this very workspace."""
    metadata = (found or {}).get("metadata") or {}
    return _holds(metadata.get("labels"), identity.safe_labels) and _holds(
        metadata.get("annotations"), identity.labels
    )


def owns_for_user(identity: Identity, found: Mapping[str, Any] | None) -> bool:
    """Return True if an object belongs to the user, and to no single workspace."""
    metadata = (found or {}).get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    is_users = _holds(labels, identity.safe_user_labels) and identity.owns_for_user(annotations)
    return is_users and LABEL_SERVER not in labels


def read_raw_labels(found: Mapping[str, Any]) -> dict[str, str]:
    """Read an object's labels as the port has them: raw names, and the facts that may change.

    Empty where labels and annotations do not say the same: the object is nobody's.
    """
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    identity = Identity.from_labels(annotations)
    if identity is None or not (owns(identity, found) or owns_for_user(identity, found)):
        return {}
    raw = {
        key: annotations[key]
        for key in (LABEL_ORIGIN, LABEL_USER, LABEL_SERVER, *_TOLD)
        if key in annotations
    }
    return {**(metadata.get("labels") or {}), **raw}


def seconds(found: Mapping[str, Any]) -> float:
    """Return when an object was made, in seconds since the epoch."""
    try:
        return datetime.fromisoformat(found["metadata"].get("creationTimestamp") or "").timestamp()
    except ValueError:
        return 0.0


def _holds(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return all((found or {}).get(key) == value for key, value in wanted.items())
