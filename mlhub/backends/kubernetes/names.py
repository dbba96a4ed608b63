"""How objects in the cluster say whose they are. Pure: no I/O.

Promise: label values are words there, so labels carry a word for each name, which selectors can use, and annotations the
raw names; an object belongs to a workspace only where both say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlhub.workspace.expiry import LABEL_EXPIRES
from mlhub.workspace.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER, Identity, make_label_value

ANNOTATION_IMAGE = "mlhub.image"
LABEL_TRASHED_AT = "mlhub.trashed_at"
LABEL_GENERATION = "mlhub.generation"
_TOLD = (LABEL_EXPIRES, ANNOTATION_IMAGE)


def make_selector(hub: str, user: str | None = None, server: str | None = None) -> str:
    """Make the label selector of a hub's objects, or of those of one user or workspace."""
    words = {LABEL_ORIGIN: hub}
    if user is not None:
        words[LABEL_USER] = make_label_value(user)
    if server is not None:
        words[LABEL_SERVER] = make_label_value(server)
    return ",".join(f"{key}={value}" for key, value in words.items())


def make_annotations(identity: Identity) -> dict[str, str]:
    """Make the annotations that carry the raw names of a workspace."""
    return dict(identity.labels)


def owns(identity: Identity, found: Mapping[str, Any] | None) -> bool:
    """Tell whether an object belongs to this very workspace."""
    metadata = (found or {}).get("metadata") or {}
    return _holds(metadata.get("labels"), identity.safe_labels) and _holds(metadata.get("annotations"), identity.labels)


def owns_for_user(identity: Identity, found: Mapping[str, Any] | None) -> bool:
    """Tell whether an object belongs to the user, and to no single workspace."""
    metadata = (found or {}).get("metadata") or {}
    is_users = _holds(metadata.get("labels"), identity.safe_user_labels) and _holds(metadata.get("annotations"), identity.user_labels)
    return is_users and LABEL_SERVER not in (metadata.get("labels") or {})


def read_identity(found: Mapping[str, Any]) -> Identity | None:
    """Read whose an object is; None where labels and annotations do not say the same."""
    identity = Identity.from_labels((found.get("metadata") or {}).get("annotations"))
    if identity is None:
        return None
    return identity if owns(identity, found) or owns_for_user(identity, found) else None


def read_raw_labels(found: Mapping[str, Any]) -> dict[str, str]:
    """Read an object's labels as the port has them: raw names, and the facts that may change."""
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    raw = {key: annotations[key] for key in (LABEL_ORIGIN, LABEL_USER, LABEL_SERVER, *_TOLD) if key in annotations}
    return {**(metadata.get("labels") or {}), **raw}


def _holds(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return all((found or {}).get(key) == value for key, value in wanted.items())
