"""Who is warned before a workspace expires, and how its owner puts that off.

Invariants: the warning tells what the hub's database says, and is on every page about the
workspace; whether and by how much somebody may put it off is the policy's to say, at the moment
when they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub.user import User
from tornado import web

from mlhub.errors import MLHubError
from mlhub.options.model import FieldsError
from mlhub.policy.expiry import describe_remaining, remaining_seconds
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage
from mlhub.workspaces.spawner import find_workspace

WARNING_SECONDS = 3 * 86_400


@dataclass(frozen=True)
class Expiring:
    """A workspace that expires soon, or has; ``remaining`` is "in 5 hours", "" where it has."""

    owner: str
    server: str
    title: str
    at: datetime
    remaining: str

    @property
    def is_over(self) -> bool:
        """Return True if it has expired."""
        return not self.remaining


def list_expiring(user: Any) -> list[Expiring]:
    """List a person's workspaces that expire soon, the next one first; none for a service."""
    workspace = find_workspace(user.spawner) if isinstance(user, User) else None
    if workspace is None:
        return []
    now, found = workspace.site.clock(), []
    for spawner in user.all_spawners():
        expires_at = _read_expiry(spawner)
        left = remaining_seconds(expires_at, now)
        if left is not None and left <= WARNING_SECONDS:
            title = spawner.display_name or spawner.name if spawner.name else ""
            at = datetime.fromtimestamp(expires_at, UTC)
            found.append(Expiring(user.name, spawner.name, title, at, describe_remaining(left)))
    return sorted(found, key=lambda each: (each.at, each.server))


def _read_expiry(spawner: Any) -> int:
    workspace = find_workspace(spawner)
    if workspace is not None:
        return workspace.expires_at or 0
    return int((spawner.state or {}).get("expires_at") or 0)  # a row: its workspace does not run


async def extend_workspace(handler: Any, spawner: Any, probe: Any, days: Any) -> None:
    """Put the expiry of a workspace off; raise ``FieldsError`` where the policy does not allow it.

    ``probe`` is a spawner of the same workspace that was made to ask.
    """
    spawner.put_off(probe.extend(days))
    spawner.orm_spawner.state = spawner.get_state()
    handler.db.commit()
    try:
        await spawner.note_expiry()
    except MLHubError as error:  # the database holds
        handler.log.warning(
            "The new expiry of %s stands in the hub's database alone: %s", spawner._log_name, error
        )


class ExtendPage(AccountPage):
    """Put the expiry of one's own workspace off, without JavaScript."""

    @web.authenticated
    async def get(self) -> None:
        """Ask for how long."""
        await self.show_form(self.get_query_argument("server", ""))

    @web.authenticated
    async def post(self) -> None:
        """Put it off."""
        server, days = self.field("server"), self.field("days").strip()
        spawner = self._find_spawner(server)
        try:
            await extend_workspace(self, spawner, await self._make_probe(spawner), days)
        except MLHubError as error:
            fields = error.fields if isinstance(error, FieldsError) else {}
            sentence = fields.get("days_to_live", explain(error))  # there is one field only
            await self.show_form(server, sentence, status=error.status_code, days=days[:20])
            return
        self.redirect(f"{self.hub.base_url}home")

    async def show_form(
        self, server: str, message: str = "", *, status: int = 200, days: str = ""
    ) -> None:
        """Answer with the form, or with why there is none."""
        spawner = self._find_spawner(server)
        probe = await self._make_probe(spawner)
        field = probe.find_available_options().fields.get("days_to_live")
        most = field.maximum_number if field else None
        left = remaining_seconds(spawner.expires_at or 0, spawner.site.clock())
        await self.show(
            "extend.html",
            message,
            status=status,
            server=server,
            remaining=None if left is None else describe_remaining(left),
            may_extend=bool(spawner.expires_at and field and field.is_choosable),
            most_days=most,
            days=days or ("" if most is None else f"{most:g}"),
        )

    def _find_spawner(self, server: str) -> Any:
        user = self.current_user
        if server not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        spawner = user.get_spawner(server)
        if find_workspace(spawner) is None:
            raise web.HTTPError(404, Text("The site's own spawner class knows no expiry."))
        return spawner

    async def _make_probe(self, spawner: Any) -> Any:
        probe = await spawner.make_probe()
        probe.handler = self
        return probe


async def start_warnings(app: Any) -> None:
    """Let the hub's pages tell what expires."""
    app.template_vars.setdefault("expiring", list_expiring)


HANDLERS: list[tuple[Any, ...]] = [(r"/extend", ExtendPage)]
