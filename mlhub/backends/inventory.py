"""How the labels on things become what the port lists: the same wherever workspaces run. Pure: no
I/O.

Invariants: a workspace and its volume name their server, a network names none; what is labeled
otherwise belongs to nobody and is not listed. A workspace is there while it runs, while something
of it is kept that could run again, and while it has data that is not in the trash. Lists are in
the order of people and servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlhub.errors import NameTakenError
from mlhub.identity import LABEL_SERVER, Identity
from mlhub.texts import Text
from mlhub.workspaces.port import Kind, Reason, Resource, Workspace

# Where a stopped workspace leaves nothing but its data, that says which image it had.
LABEL_IMAGE = "mlhub.image"


def read_owner(kind: Kind, labels: Mapping[str, str] | None) -> Identity | None:
    """Return whose a thing of a kind is, or None where its labels do not say that."""
    identity = Identity.from_labels(labels)
    if identity is None or (LABEL_SERVER in (labels or {})) == (kind is Kind.NETWORK):
        return None
    return identity


def make_resource(
    kind: Kind,
    name: str,
    labels: Mapping[str, str] | None,
    created_at: float,
    trashed_at: float | None = None,
    reason: Reason = Reason.UNKNOWN,
) -> Resource | None:
    """Make the port's object of a thing's labels; None where these name no owner."""
    owner = read_owner(kind, labels)
    if owner is None:
        return None
    server = None if kind is Kind.NETWORK else owner.server
    labels = dict(labels or {})
    return Resource(kind, name, owner.user, server, created_at, trashed_at, labels, reason)


def name_owner(hub: str, resource: Resource) -> Identity:
    """Return the workspace that an object belongs to; of a network, its user's default one."""
    return Identity(hub, resource.user, resource.server or "")


def list_resources(found: Iterable[Resource | None]) -> list[Resource]:
    """Put what was found in order."""
    return sorted(
        (each for each in found if each is not None),
        key=lambda each: (each.user, each.server or "", each.kind, each.created_at, each.name),
    )


def list_workspaces(
    found: Iterable[Workspace | None], volumes: Iterable[Resource]
) -> list[Workspace]:
    """Put workspaces in order, together with those of which there is only the data."""
    workspaces = [each for each in found if each is not None]
    known = {each.identity for each in workspaces}
    for volume in volumes:
        owner = read_owner(Kind.VOLUME, volume.labels)
        if owner is not None and volume.trashed_at is None and owner not in known:
            known.add(owner)
            workspaces.append(
                Workspace(
                    identity=owner,
                    name=owner.container,
                    image=volume.labels.get(LABEL_IMAGE, ""),
                    is_running=False,
                    created_at=volume.created_at,
                    labels=volume.labels,
                )
            )
    return sorted(
        workspaces, key=lambda each: (each.identity.user, each.identity.server, each.name)
    )


def make_name_taken_error(what: str, name: str, owner: str = "this workspace") -> NameTakenError:
    """Make the sentence about a thing that has the wanted name and belongs to somebody else."""
    return NameTakenError(
        Text(
            "A %(what)s named %(name)s exists already and does not belong to"
            " %(owner)s. Ask your administrator to remove or rename it.",
            what=what,
            name=repr(name),
            owner=owner,
        )
    )
