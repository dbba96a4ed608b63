"""Who may enter which workspace by SSH, as things are now.

Invariants: the same answer as the browser gets. What JupyterHub's roles and shares let a person
open, they may enter; whom the authenticator would not let sign in, may enter nothing.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import get_scopes_for, has_scope, parse_scopes
from sqlalchemy.orm import object_session

from mlhub.signin.authorization import is_authorized
from mlhub.workspaces.port import SshAccess
from mlhub.workspaces.spawner import find_workspace


async def may_enter(authenticator: Any, person: Any, spawner: Any) -> bool:
    """Return True if a person (``orm.User``) may enter the workspace of a spawner now."""
    if not has_ssh(spawner) or not may_access(person, spawner.user.name, spawner.name):
        return False
    # The owner too: a workspace of somebody who was locked out may run on, but nobody enters it.
    return await is_authorized(authenticator, person)


def may_access(person: Any, owner_name: str, server_name: str) -> bool:
    """Return True if a server is a person's own, shared with them, or opened to them by a role."""
    if person.name == owner_name:
        return True
    return bool(
        has_scope(
            f"access:servers!server={owner_name}/{server_name}",
            get_scopes_for(person),
            db=object_session(person),
        )
    )


def list_shared(person: Any) -> list[tuple[str, str]]:
    """List servers of others, (owner, server), that shares or roles open to a person by name."""
    granted = parse_scopes(get_scopes_for(person)).get("access:servers", {})
    # Roles may open whole groups, or everything: too many to list, but may_access knows them.
    names = granted.get("server", ()) if isinstance(granted, dict) else ()
    pairs = (tuple(name.split("/", 1)) for name in sorted(names))
    return [(owner, server) for owner, server in pairs if owner != person.name]


def has_ssh(spawner: Any) -> bool:
    """Return True if the site's policy, as it is now, lets a workspace be entered by SSH."""
    # Not the decision of its start: a hub that was restarted has none, and a policy that was
    # changed means those that run too.
    workspace = find_workspace(spawner)
    if workspace is None:  # the policy says nothing about a spawner class of the site's own
        return True
    return workspace.site.policy.find_flag(workspace.make_person(), "ssh")


def find_ssh(spawner: Any) -> SshAccess | None:
    """Return how people enter the workspace of a spawner, whoever may; None where nobody can."""
    workspace = find_workspace(spawner)
    return workspace.ssh if workspace is not None else None
