"""Who may enter which workspace by SSH, as things are now.

Promise: the same answer as the browser gets. What JupyterHub's roles and shares let a person open, they may enter;
whom the authenticator would not let sign in, may enter nothing.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import get_scopes_for, has_scope, parse_scopes
from jupyterhub.utils import maybe_future
from sqlalchemy.orm import object_session
from tornado.web import HTTPError


async def may_enter(authenticator: Any, person: Any, spawner: Any) -> bool:
    """Tell whether a person (``orm.User``) may enter the workspace of a spawner now."""
    if not has_ssh(spawner) or not may_access(person, spawner.user.name, spawner.name):
        return False
    # The owner too: a workspace of somebody who was locked out may run on, but nobody enters it.
    return await is_welcome(authenticator, person)


async def is_welcome(authenticator: Any, person: Any) -> bool:
    """Tell whether the authenticator would let a person sign in: not blocked, listed, authorised."""
    try:
        if not await maybe_future(authenticator.check_blocked_users(person.name, None)):
            return False
    except HTTPError:  # how an authenticator refuses with a sentence
        return False
    accounts = getattr(authenticator, "accounts", None)
    account = accounts.find(person.name) if accounts else None
    # Without an account: somebody for whom an administrator runs a workspace.
    return account is None or bool(account.is_authorized)


def may_access(person: Any, owner_name: str, server_name: str) -> bool:
    """Tell whether a server is a person's own, or shared with them, or opened to them by a role."""
    if person.name == owner_name:
        return True
    return bool(has_scope(f"access:servers!server={owner_name}/{server_name}", get_scopes_for(person), db=object_session(person)))


def list_shared(person: Any) -> list[tuple[str, str]]:
    """List the servers of others, (owner, server), that shares or roles open to a person by name."""
    granted = parse_scopes(get_scopes_for(person)).get("access:servers", {})
    # Roles may open whole groups, or everything: too many to list, but may_access knows them.
    names = granted.get("server", ()) if isinstance(granted, dict) else ()
    pairs = (tuple(name.split("/", 1)) for name in sorted(names))
    return [(owner, server) for owner, server in pairs if owner != person.name]


def has_ssh(spawner: Any) -> bool:
    """Tell whether the site's policy, as it is now, lets a workspace be entered by SSH."""
    # Not the decision of its start: a hub that was restarted has none, and a policy that was changed means those that run too.
    site = getattr(spawner, "site", None)
    if site is None:
        return True
    said = [rule.ssh for _, rule in site.policy.list_matching(spawner.make_person()) if rule.ssh is not None]
    return said[-1] if said else True
