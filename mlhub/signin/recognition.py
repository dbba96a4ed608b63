"""Recognize nobody who would not be let in any more: neither by a cookie nor by any kind of token,
a workspace's own included.

JupyterHub asks its authenticator at sign-in and, of people with a cookie, every five minutes;
tokens it believes as long as they are in its database. It has no hook between recognizing somebody
and acting for them, so its one method for that is wrapped.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.user import User

from mlhub.signin.authorization import is_authorized


def recognize_the_authorized_only() -> None:
    """Make every handler of JupyterHub and of ours ask whether a person may be here, at each
    request.
    """
    recognize = BaseHandler.get_current_user
    if getattr(recognize, "asks_if_authorized", False):
        return

    async def get_current_user(handler: Any) -> Any:
        is_known = hasattr(handler, "_jupyterhub_user")
        user = await recognize(handler)
        if is_known or not isinstance(user, User):
            return user
        # Nobody meanwhile: what fails below must not leave a person behind.
        handler._jupyterhub_user = None
        if await is_authorized(handler.authenticator, user.orm_user):
            handler._jupyterhub_user = user
        return handler._jupyterhub_user

    get_current_user.asks_if_authorized = True  # type: ignore[attr-defined]
    BaseHandler.get_current_user = get_current_user
