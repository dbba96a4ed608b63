"""Whether a person may be here now: what every request, every SSH login and every look at what runs
asks.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.utils import maybe_future
from tornado.web import HTTPError


async def is_authorized(authenticator: Any, person: Any) -> bool:
    """Return True if the authenticator lets a person (``orm.User``) be here: not blocked, listed,
    authorized.
    """
    try:
        if not await maybe_future(_ask_still_let_in(authenticator, person.name)):
            return False
    except HTTPError:  # how an authenticator refuses with a sentence
        return False
    accounts = getattr(authenticator, "accounts", None)
    account = accounts.find_judged(person.name) if accounts else None
    # Without an account: somebody for whom an administrator runs a workspace.
    return account is None or bool(account.is_authorized)


def _ask_still_let_in(authenticator: Any, name: str) -> Any:
    ask = getattr(authenticator, "is_still_let_in", None)
    return ask(name) if ask else authenticator.check_blocked_users(name, None)
