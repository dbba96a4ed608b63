"""JupyterHub's REST API about people and their servers, where its own way loses or gives away
somebody's data.

Invariants: a name is never changed, because it is part of the name of everything that a person has;
a person is deleted as a whole or not at all; a server that is starting is stopped before it is
deleted.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.apihandlers.auth import CookieAPIHandler, TokenAPIHandler
from jupyterhub.apihandlers.users import UserAPIHandler, UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import token_authenticated
from tornado import web

from mlhub.signin.authorization import is_authorized
from mlhub.signin.departure import end_start, remove_person
from mlhub.texts import Text
from mlhub.workspaces.removal import end_workspace, remove_workspace
from mlhub.workspaces.server_names import NamedServers
from mlhub.workspaces.start import PolicyEnforcement


class PersonHandler(UserAPIHandler):
    """One person."""

    @needs_scope("admin:users")
    async def patch(self, user_name: str) -> None:
        """Change a person; another name is refused."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        model = self.get_json_body()
        self._check_user_model(model)
        name = model.get("name")
        if (
            name is not None
            and name != user.name
            and self.authenticator.normalize_username(name) != user.name
        ):
            raise web.HTTPError(
                400,
                Text(
                    "%(name)s cannot be renamed: workspaces, files and SSH addresses carry"
                    " that name, and whoever took it next would find them. Add the new name"
                    " as another person, move the files there, and delete this one.",
                    name=repr(user.name),
                ),
            )
        # JupyterHub sets a name that stays to nothing.
        self.request.body = json.dumps(
            {key: value for key, value in model.items() if key != "name"}
        ).encode()
        await super().patch(user_name)

    @needs_scope("delete:users")
    async def delete(self, user_name: str) -> None:
        """Delete a person, with all servers; the data moves to the trash."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        if user.name == self.current_user.name:
            raise web.HTTPError(400, Text("Cannot delete yourself!"))
        await remove_person(self, user)
        self.set_status(204)


class PersonServerHandler(NamedServers, UserServerAPIHandler):
    """One server of a person.

    Secret options are sealed before JupyterHub stores or logs a body.
    """

    def get_json_body(self) -> Any:
        """Return the body of a PATCH or DELETE."""
        return self._seal(super().get_json_body())

    def get_server_json_body(self) -> Any:
        """Return the body of a POST or PUT."""
        return self._seal(super().get_server_json_body())

    def _seal(self, body: Any) -> Any:
        user, server = self.find_user(self.path_args[0]), [*self.path_args[1:], ""][0]
        options = body.get("user_options") if isinstance(body, dict) else None
        if user is None or not isinstance(options, dict):
            return body
        spawner = user.spawner
        if not isinstance(spawner, PolicyEnforcement):
            return body
        return {**body, "user_options": spawner.seal_options(options, server)}

    @needs_scope("delete:servers")
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server, or delete it by ``{"remove": true}``; one that is starting is waited for,
        where JupyterHub sleeps for a second and fails. JupyterHub itself deletes no default one.
        """
        user = self.find_user(user_name)
        if user is not None and server_name in user.spawners:
            await end_start(self, user, server_name)
        if user is not None and not server_name and (self.get_json_body() or {}).get("remove"):
            await end_workspace(self, user, server_name)
            await remove_workspace(self, user, server_name)
            self.set_status(204)
            return
        await super().delete(user_name, server_name)


class TokenOwnerHandler(TokenAPIHandler):
    """Whose a token is, as workspaces of JupyterHub 1 ask."""

    @token_authenticated
    async def get(self, token: str) -> None:
        """Tell whose a token is; of somebody who may not be here, there is none."""
        found = orm.APIToken.find(self.db, token)
        if found and found.user and not await is_authorized(self.authenticator, found.user):
            raise web.HTTPError(404)
        super().get(token)


class CookieOwnerHandler(CookieAPIHandler):
    """Whose a cookie is, as workspaces of before JupyterHub 1 ask."""

    @token_authenticated
    async def get(self, cookie_name: str, cookie_value: str | None = None) -> None:
        """Tell whose a cookie is; of somebody who may not be here, there is none."""
        value = self.request.body if cookie_value is None else cookie_value.encode()
        owner = self._user_for_cookie(quote(cookie_name, safe=""), value)
        if owner is not None and not await is_authorized(self.authenticator, owner.orm_user):
            raise web.HTTPError(404)
        super().get(cookie_name, cookie_value)


HANDLERS = [
    (r"/api/authorizations/token/([^/]+)", TokenOwnerHandler),
    (r"/api/authorizations/cookie/([^/]+)(?:/([^/]+))?", CookieOwnerHandler),
    (r"/api/users/([^/]+)", PersonHandler),
    (r"/api/users/([^/]+)/server", PersonServerHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)", PersonServerHandler),
]
