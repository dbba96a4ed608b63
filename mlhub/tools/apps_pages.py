"""Publish an app, and come to one.

=====  ================================  =========================================================
POST   ``publish/{user}[/{server}]``     make an app of a port, by the page that shares a workspace
GET    ``apps/{user}/{name}``            lead to it; or say that it does not run
POST   ``apps/{user}/{name}``            lead to it, and start its workspace before where it may be
=====  ================================  =========================================================

Invariants: an app that somebody may not see is answered as one that is not there. GET starts
nothing. A visitor is told nothing of the workspace but whether it runs.
"""

from __future__ import annotations

from typing import Any

from tornado import web

from mlhub.errors import WorkspaceError
from mlhub.texts import Text
from mlhub.tools.access import find_port_end
from mlhub.tools.apps import SETTING, Apps
from mlhub.tools.sharing_pages import read_shared_port
from mlhub.web.pages import AccountPage
from mlhub.workspaces.port_sharing import find_port_url
from mlhub.workspaces.published import PublishedApp, find_app, make_address, may_publish, publish
from mlhub.workspaces.sharing import may_run_in
from mlhub.workspaces.sharing_pages import SharePage

REFUSED = Text("This hub's policy does not let ports of this workspace be published.")


def publish_port(handler: Any, spawner: Any, port: Any, title: str, **more: Any) -> PublishedApp:
    """Publish a port, for whoever asks a handler; ``more`` are command and starts. Raises
    ``WorkspaceError``.
    """
    require_run_in(handler, spawner.user.name, spawner.name)  # its command runs in there
    if not may_publish(spawner):
        raise WorkspaceError(REFUSED)
    number = read_shared_port(spawner, port)
    app = publish(handler.db, spawner.orm_spawner, number, title, **more)
    handler.told = {"port": number, "app": app.title}
    return app


def require_run_in(handler: Any, owner: str, server: str) -> None:
    """Refuse who may not both enter a workspace and start it."""
    if not may_run_in(handler, owner, server):
        raise web.HTTPError(
            403, Text("Only who may enter and start this workspace publishes its ports.")
        )


class PublishPage(SharePage):
    """Make an app of a port; its address shows the page as that of the workspace does."""

    def act(self, spawner: Any) -> dict[str, Any]:
        """Publish it; return what the page says of it."""
        app = publish_port(
            self,
            spawner,
            self.field("port").strip(),
            self.field("title"),
            command=self.field("command").strip(),
            starts=self.field("starts") == "yes",
        )
        return {"message": Text("%(what)s is published.", what=app.title), "alert": "success"}


class AppPage(AccountPage):
    """Lead to an app."""

    @web.authenticated
    async def get(self, user_name: str, name: str) -> None:
        """Lead there, or show that it does not run."""
        app, spawner = await self._find(user_name, name)
        await self._lead(app, spawner)

    @web.authenticated
    async def post(self, user_name: str, name: str) -> None:
        """Start its workspace, where that does not run, and show that it starts."""
        app, spawner = await self._find(user_name, name)
        if spawner.ready or self.apps.is_starting(spawner):
            await self._lead(app, spawner)
            return
        if not self.apps.may_start(app, spawner):
            said = Text(
                "%(what)s does not run now. Ask %(owner)s to start it.",
                what=app.title,
                owner=user_name,
            )
            raise web.HTTPError(403, said)
        if self.apps.start(spawner.user, spawner):
            self.told = {"port": app.port, "app": app.title}
        self.redirect(self.request.path, status=303)

    @property
    def apps(self) -> Apps:
        """What the hub does for apps."""
        found: Apps = self.settings[SETTING]
        return found

    async def _find(self, user_name: str, name: str) -> tuple[PublishedApp, Any]:
        owner: Any = self.find_user(user_name)
        app = find_app(self.db, owner.orm_user, name) if owner is not None else None
        spawner = owner.spawners[app.spawner.name] if app is not None else None
        if app is None or not await self._may_see(app, spawner):
            raise web.HTTPError(404, Text("There is no such app, or it is not shared with you."))
        return app, spawner

    async def _may_see(self, app: PublishedApp, spawner: Any) -> bool:
        if not may_publish(spawner):
            return False
        person = self.current_user.orm_user
        if person.id == spawner.user.orm_user.id:
            return True
        return bool(await find_port_end(self.authenticator, person, spawner, app.port))

    async def _lead(self, app: PublishedApp, spawner: Any) -> None:
        if spawner.ready:
            self.redirect(find_port_url(spawner, app.port), status=303)
            return
        is_starting = self.apps.is_starting(spawner)
        if is_starting:
            self.set_header("Refresh", "2")
        await self.show(
            "app.html",
            app=app,
            owner=spawner.user,
            address=make_address(self.hub.base_url, spawner.user.orm_user, app),
            is_starting=is_starting,
            has_failed=self.apps.has_failed(spawner),
            may_start=self.apps.may_start(app, spawner),
        )


HANDLERS: list[tuple[Any, ...]] = [
    (r"/publish/([^/]+)", PublishPage),
    (r"/publish/([^/]+)/([^/]+)", PublishPage),
    (r"/apps/([^/]+)/([a-z0-9-]+)", AppPage),
]
