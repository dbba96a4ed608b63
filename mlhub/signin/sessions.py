"""A session of its own for each sign-in, whatever the authenticator.

``jupyterhub-session-id`` is sent to every workspace, and any page of the origin may have set it
before somebody signs in: https://owasp.org/www-community/attacks/Session_fixation
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler


class NewSessionMixin:
    """Give a browser another session id when somebody signs in."""

    async def get_authenticated_user(self, handler: Any, data: Any) -> Any:
        """Authenticate; who is let in gets a new session."""
        authentication = await super().get_authenticated_user(handler, data)  # type: ignore[misc]
        # A program that asks the REST API for a token has no session.
        if authentication and not isinstance(handler, APIHandler):
            renew_session(handler, authentication["name"])
        return authentication


def renew_session(handler: Any, username: str) -> None:
    """Set a new session id.

    What the person opened before in this browser moves along, so that signing out still ends it. A
    browser in which the same person is signed in already (a learning platform sends them on every
    click) keeps its session, and its open tabs work on.
    """
    signed_in = handler.get_current_user_cookie()
    if signed_in is not None and signed_in.name == username:
        return
    old = handler.get_session_cookie()
    new = handler.set_session_cookie()
    person = orm.User.find(handler.db, username)
    if old and person is not None:
        for token in handler.db.query(orm.APIToken).filter_by(user_id=person.id, session_id=old):
            token.session_id = new
        handler.db.commit()
