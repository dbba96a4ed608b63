"""The buttons that start a workspace with the options that it had last, or with the defaults, and
the one that makes a new one.

Invariants: nothing starts by GET. A start that was refused leaves no workspace that was not there
before, and shows the form with the reason. Who presses twice is led to the one start.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers.pages import format_exception
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import maybe_future, url_escape_path, url_path_join
from tornado import web
from tornado.httputil import url_concat

from mlhub.texts import Text
from mlhub.workspaces.home import HomeMixin
from mlhub.workspaces.pages import SpawnFormHandler
from mlhub.workspaces.server_names import make_server_name


class StartPage(SpawnFormHandler):
    """Start a workspace by one click."""

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Lead to the form, such as somebody who signs in after pressing the button."""
        self.redirect(self.make_form_path(user_name, server_name))

    @needs_scope("servers")
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        user: Any = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, Text("There is no such person."))
        self._take_up(user_name, server_name)
        self.form_path = self.make_form_path(user_name, server_name)
        is_known = server_name in user.orm_spawners
        if server_name:
            await self._check_named_server_request(user, server_name, display_name)
        spawner = user.get_or_create_spawner(server_name, display_name, replace_failed=True)
        pending_url = self._get_pending_url(user, server_name)
        if spawner.active:
            self.redirect(pending_url)
            return
        spawner.handler = self
        try:
            await self._wrap_spawn_single_user(
                user, server_name, display_name, spawner, pending_url
            )
        except web.HTTPError as error:
            self.set_status(error.status_code)
            message, html_message = format_exception(error)
            form = await maybe_future(spawner.get_options_form())
            page = await self._render_form(user, form or "", message, html_message)
            if not is_known:
                self._forget_refused(user, server_name)
            self.finish(page)
        finally:
            self._let_go(user_name, server_name)

    def make_form_path(self, user_name: str, server_name: str) -> str:
        """Return the address of a workspace's form."""
        parts = [user_name, server_name] if server_name else [user_name]
        return str(url_path_join(self.hub.base_url, "spawn", *map(url_escape_path, parts)))


class NewWorkspacePage(HomeMixin, StartPage):
    """Make the name of a new workspace of what was typed, and go on from there."""

    @web.authenticated
    async def get(self) -> None:
        """Show the home page, where the form is."""
        self.redirect(f"{self.hub.base_url}home")

    @web.authenticated
    async def post(self) -> None:
        """Start it with the defaults, or lead to its form (``then=options``)."""
        user, typed = self.current_user, self.get_body_argument("name", "")[:255]
        server = make_server_name(typed)
        complaint = await self._explain(user, server, typed)
        if complaint:
            await self.show_home(complaint, status=400, name=typed)
            return
        name = {"display_name": typed} if typed != server else {}
        if self.get_body_argument("then", "") == "options":
            path = url_path_join(self.hub.base_url, "spawn", user.escaped_name, server)
            self.redirect(url_concat(path, name))
            return
        await self._post(user_name=user.name, server_name=server, display_name=typed)

    async def _explain(self, user: Any, server: str, typed: str) -> str:
        """Say what is wrong with the name of a new workspace."""
        if not typed:
            return Text("Enter a name.")
        if not server:
            return Text(
                "“%(typed)s” has no letter or digit that can stand in an address. Add one.",
                typed=typed,
            )
        if server in user.orm_spawners:
            return Text(
                "You have a workspace “%(server)s” already. Choose another name.", server=server
            )
        try:
            await self._check_named_server_request(user, server, typed)
        except web.HTTPError as error:
            return error.get_message() or Text("This name cannot be taken.")
        return ""


HANDLERS: list[tuple[Any, ...]] = [
    (r"/start/([^/]+)", StartPage),
    (r"/start/([^/]+)/([^/]+)", StartPage),
    (r"/new", NewWorkspacePage),
]
