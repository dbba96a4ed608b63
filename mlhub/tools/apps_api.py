"""Published apps for programs.

=======  =======================================  ============================================
GET      ``users/{user}/servers/{server}/apps``   the apps of a workspace
POST     the same                                 ``{"port": 8501, "title": "Sales", …}``
DELETE   ``…/apps/{number}``                      make one a mere port again
=======  =======================================  ============================================

``server`` is the default workspace, as in JupyterHub's own API.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import WorkspaceError
from mlhub.tools.apps_pages import publish_port, require_run_in
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.published import PublishedApp, list_apps, make_address, take_back_app
from mlhub.workspaces.sharing import find_shareable


class AppsHandler(MLHubAPIHandler):
    """The published apps of one workspace; takes ``access:servers`` and ``servers`` too."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send the list."""
        row = find_shareable(self, user_name, server_name).orm_spawner
        require_run_in(self, user_name, server_name)  # a command may name what others must not see
        self.answer([self._write(each) for each in list_apps(self.db, row)])

    @needs_scope("read:servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Publish a port, or say anew what it is; ``starts`` lets those whom it is for start the
        workspace.
        """
        spawner = find_shareable(self, user_name, server_name)
        body = self.read_body("port", "title", "command", "starts")
        with self.friendly_errors():
            title, command = body.get("title", ""), body.get("command", "")
            starts = body.get("starts", False)
            if not (isinstance(title, str) and isinstance(command, str)):
                raise WorkspaceError('"title" and "command" are texts.')
            if not isinstance(starts, bool):
                raise WorkspaceError('"starts" is true or false.')
            port, command = body.get("port"), command.strip()
            app = publish_port(self, spawner, port, title, command=command, starts=starts)
            self.answer(self._write(app), 201)

    def _write(self, app: PublishedApp) -> dict[str, Any]:
        names = ("id", "port", "title", "command", "starts")
        url = make_address(self.hub.base_url, app.spawner.user, app)
        return {**{name: getattr(app, name) for name in names}, "url": url}


class AppHandler(MLHubAPIHandler):
    """One published app; takes the same."""

    @needs_scope("read:servers")
    async def delete(self, user_name: str, number: str, server_name: str = "") -> None:
        """Make it a mere port again; to whom that is open stays, and so does what runs."""
        spawner = find_shareable(self, user_name, server_name)
        app = take_back_app(self.db, spawner.orm_spawner, int(number))
        if app is None:
            raise web.HTTPError(404, "There is no such app.")
        self.told = {"port": app.port, "app": app.title}
        self.set_status(204)


_PERSON = r"/api/users/(?P<user_name>[^/]+)"
_SERVERS = (rf"{_PERSON}/server", rf"{_PERSON}/servers/(?P<server_name>[^/]*)")
HANDLERS: list[tuple[Any, ...]] = [
    *((rf"{server}/apps", AppsHandler) for server in _SERVERS),
    *((rf"{server}/apps/(?P<number>\d{{1,9}})", AppHandler) for server in _SERVERS),
]
