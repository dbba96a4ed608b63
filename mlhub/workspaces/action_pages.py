"""Stop, restart and delete a workspace without JavaScript: a question, and a button that does it.

Invariants: GET changes nothing. What is starting or stopping is left alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.texts import Text
from mlhub.web.pages import AccountPage
from mlhub.workspaces.removal import end_workspace, remove_workspace
from mlhub.workspaces.start_pages import StartPage


class ActionPage(AccountPage, StartPage):
    """Ask, and act."""

    verb: ClassVar[str] = ""
    consequence: ClassVar[str] = ""
    style: ClassVar[str] = "primary"

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Ask."""
        await self._ask(user_name=user_name, server_name=server_name)

    @needs_scope("servers")
    async def _ask(self, user_name: str, server_name: str) -> None:
        user = self.find_owner(user_name, server_name)
        row = user.orm_spawners[server_name]
        what = f"“{row.display_name or row.name}”" if server_name else Text("the default workspace")
        if user.name != self.current_user.name:
            what = Text("%(what)s of %(owner)s", what=what, owner=user.name)
        await self.show(
            "question.html",
            question=Text("%(verb)s %(what)s?", verb=self.verb, what=what),
            sentences=[self.consequence],
            action=self.request.path,
            verb=self.verb,
            style=self.style,
            way_back=self.find_way_back(user_name),
        )

    @needs_scope("servers")
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        user = self.find_owner(user_name, server_name)
        await end_workspace(self, user, server_name)
        await self.finish_action(user, server_name, display_name)

    async def finish_action(self, user: Any, server_name: str, display_name: str) -> None:
        """Do what follows the stop."""
        self.redirect(self.find_way_back(user.name))

    def find_owner(self, user_name: str, server_name: str) -> Any:
        """Return whose a workspace is."""
        user: Any = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        return user

    def find_way_back(self, user_name: str) -> str:
        """Return the address of the page that lists the workspace."""
        page = "home" if user_name == self.current_user.name else "admin"
        return f"{self.hub.base_url}{page}"


class StopPage(ActionPage):
    """Stop a workspace."""

    verb = Text("Stop")
    consequence = Text(
        "What runs in it ends, notebooks' kernels too. Its files and options are kept."
    )


class RestartPage(ActionPage):
    """Stop a workspace, and start it as it was."""

    verb = Text("Restart")
    consequence = StopPage.consequence

    async def finish_action(self, user: Any, server_name: str, display_name: str) -> None:
        """Start it."""
        await StartPage._post(
            self, user_name=user.name, server_name=server_name, display_name=display_name
        )


class DeletePage(ActionPage):
    """Delete a workspace."""

    verb, style = Text("Delete"), "danger"
    consequence = Text(
        "It is stopped, forgets its options, and its data moves to the trash."
        " A default workspace stays in the list, and its next start begins anew."
    )

    async def finish_action(self, user: Any, server_name: str, display_name: str) -> None:
        """Delete it."""
        await remove_workspace(self, user, server_name)
        self.redirect(self.find_way_back(user.name))


HANDLERS: list[tuple[Any, ...]] = [
    (rf"/{page.verb.lower()}/([^/]+){server}", page)
    for page in (StopPage, RestartPage, DeletePage)
    for server in ("", "/([^/]+)")
]
