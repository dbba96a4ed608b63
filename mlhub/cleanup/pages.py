"""The cleanup service's endpoints and page.

================================================  =============================================
GET, POST  ``/services/cleanup-service/{task}``   ``users``, ``expired``, ``trash``: with a token,
                                                  make a pass and answer JSON of what was done
GET        ``/services/cleanup-service/status``   with a token: last and next pass, counts
GET        ``/hub/services/cleanup-service``      the page with the plan, and buttons (POST)
================================================  =============================================

Invariants: a cookie alone removes nothing, but a form of the page with its XSRF token does. The
first two are outside the path of the hub's cookies: without a token they lead to the page.
``dry_run=1`` removes nothing anywhere; ``confirm`` is the word that stands with what is held back.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import Scope
from jupyterhub.utils import url_path_join
from tornado import web

from mlhub.cleanup.plan import Task
from mlhub.cleanup.service import Cleanup, Report
from mlhub.cleanup.startup import SETTING
from mlhub.errors import MLHubError, friendly_errors
from mlhub.texts import Text, explain, join
from mlhub.web.handlers import MLHubAPIHandler, MLHubHandler
from mlhub.web.pages import AccountPage

SERVICE = "services/cleanup-service"
# Whoever may do by hand what a task does.
SCOPES = {Task.USERS: "delete:users", Task.EXPIRED: "delete:servers", Task.TRASH: "delete:users"}
STATUS_SCOPE = "list:users"
TITLES = {
    Task.USERS: Text("What nobody owns"),
    Task.EXPIRED: Text("Expired workspaces"),
    Task.TRASH: Text("The trash"),
}
FALSE = {"", "0", "false", "no", "off"}


class CleanupHandler(MLHubHandler):
    """Base of the endpoints and of the page."""

    @property
    def cleanup(self) -> Cleanup:
        """The service."""
        found = self.settings.get(SETTING)
        if not isinstance(found, Cleanup):
            raise web.HTTPError(
                404,
                Text(
                    "This hub runs no cleanup service (IS_CLEANUP_SERVICE_ENABLED, or a"
                    " spawner class of the site's own)."
                ),
            )
        return found

    def check_scope(self, scope: str) -> None:
        """Refuse whoever may not do this for everybody."""
        if self.current_user is None or self.parsed_scopes.get(scope) != Scope.ALL:
            raise web.HTTPError(
                403,
                Text(
                    "Cleanup is for administrators: it takes the scope %(scope)s for everybody.",
                    scope=scope,
                ),
            )

    async def carry_out(self, task: Task) -> Report:
        """Do what the request asks for."""
        confirmed = self.get_argument("confirm", "")
        if self.get_argument("dry_run", "").lower() not in FALSE:
            return await self.cleanup.look(task, confirmed)
        kind = "service" if self.current_user.kind == "service" else "by"
        return await self.cleanup.run(task, confirmed, {kind: self.current_user.name})


class EndpointHandler(CleanupHandler, MLHubAPIHandler):
    """The cleanup service, for programs with a token."""

    _accept_cookie_auth = False

    async def get(self, task: str) -> None:
        """Make a pass, or tell the status; a browser is led to the page."""
        if self.get_auth_token() is None:
            self.redirect(url_path_join(self.hub.base_url, SERVICE))
        elif task == "status":
            self.check_scope(STATUS_SCOPE)
            self.answer(self.cleanup.describe())
        else:
            await self.post(task)

    async def post(self, task: str) -> None:
        """Make a pass."""
        if task == "status":
            raise web.HTTPError(405)
        self.check_scope(SCOPES[Task(task)])
        with self.friendly_errors():
            self.answer((await self.carry_out(Task(task))).describe())


class CleanupPage(AccountPage, CleanupHandler):
    """What would be removed, with a button for each task."""

    @web.authenticated
    async def get(self, task: str | None = None) -> None:
        """Show the plan."""
        self.check_scope("admin:users")
        await self.show_plan()

    @web.authenticated
    async def post(self, task: str | None = None) -> None:
        """Carry out one task, and show what was done."""
        self.check_scope("admin:users")
        if task not in SCOPES:
            raise web.HTTPError(405)
        self.check_scope(SCOPES[Task(task)])
        with friendly_errors(lambda error: web.HTTPError(error.status_code, explain(error))):
            report = await self.carry_out(Task(task))
        count, failed = len(report.removed), len(report.failed)
        title, waiting = TITLES[report.plan.task], len(report.plan.waiting)
        message = join(
            Text("%(title)s: %(number)s removed.", title=title, number=count),
            Text("%(number)s must be seen for ten minutes first.", number=waiting)
            if waiting
            else "",
            Text(
                "%(number)s could not be removed: %(reason)s",
                number=failed,
                reason=report.failed[0][1],
            )
            if failed
            else "",
        )
        await self.show_plan(message, "danger" if failed else "success")

    async def show_plan(self, message: str = "", alert: str = "success") -> None:
        """Show the page."""
        plans: list[dict[str, Any]] = []
        for task in Task:
            try:
                plan = (await self.cleanup.look(task)).describe()
            except MLHubError as error:
                plan = {"task": str(task), "trouble": explain(error)}
            plans.append({**plan, "title": TITLES[task]})
        status = self.cleanup.describe()
        await self.show("cleanup.html", message, alert=alert, plans=plans, cleanup=status)


TASKS = "|".join(Task)
HANDLERS: list[tuple[Any, ...]] = [
    (rf"/{SERVICE}(?:/({TASKS}|status)?)?", CleanupPage),
]
OUTER_HANDLERS: tuple[tuple[Any, ...], ...] = (
    (rf"/{SERVICE}/({TASKS}|status)/?", EndpointHandler),
)
