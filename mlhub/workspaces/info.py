"""The page that tells all about one workspace, to its owner and to whoever may look after it.

Invariants: no secret is shown: of variables the names alone, of sealed options that there is one.
"""

from __future__ import annotations

import math
from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import MLHubError
from mlhub.options.amount import UNLIMITED
from mlhub.options.model import OPTIONS
from mlhub.policy.expiry import describe_remaining, remaining_seconds
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage
from mlhub.workspaces.display_name import change_display_name
from mlhub.workspaces.sealing import is_sealed
from mlhub.workspaces.sharing import can_share, shows_sharing
from mlhub.workspaces.spawner import find_workspace
from mlhub.workspaces.states import find_state
from mlhub.workspaces.tools import has_tools


class InfoPage(AccountPage):
    """Show what one workspace has."""

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show the page."""
        await self._show(user_name=user_name, server_name=server_name)

    @web.authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Call the workspace something else."""
        await self._rename(user_name=user_name, server_name=server_name)

    @needs_scope("servers")
    async def _rename(self, user_name: str, server_name: str) -> None:
        spawner, typed = self._find(user_name, server_name), self.field("display_name")
        try:
            change_display_name(self, spawner.orm_spawner, typed)
        except MLHubError as error:
            values = {"message": explain(error), "status": error.status_code, "typed": typed[:255]}
            await self._show(user_name=user_name, server_name=server_name, **values)
            return
        self.redirect(self.request.path)

    def _find(self, user_name: str, server_name: str) -> Any:
        owner = self.find_user(user_name)
        if owner is None or server_name not in owner.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        return owner.get_spawner(server_name)

    @needs_scope("read:servers")
    async def _show(
        self,
        user_name: str,
        server_name: str,
        message: str = "",
        status: int = 200,
        typed: str | None = None,
    ) -> None:
        spawner = self._find(user_name, server_name)
        owner = spawner.user
        workspace: Any = find_workspace(spawner)
        image: dict[str, Any] = {"reference": "not known: the site's own spawner class starts it"}
        facts: list[tuple[str, str]] = []
        if workspace is not None:
            image = await _describe_image(workspace)
            facts = list_facts(workspace)
        await self.show(
            "workspace-info.html",
            message,
            status=status,
            owner=owner,
            spawner=spawner,
            state=find_state(spawner),
            image=image,
            facts=facts,
            typed_name=spawner.display_name or spawner.name if typed is None else typed,
            may_change=self.has_scope(f"servers!server={owner.name}/{server_name}"),
            has_ports=workspace is not None and spawner.ready and has_tools(workspace),
            may_share=can_share(self, owner.name, server_name) and shows_sharing(spawner),
            folder=workspace.mount_point if workspace is not None else "",
            handed_out_by=workspace.grant.handed_out_by if workspace is not None else None,
        )


async def _describe_image(workspace: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await workspace.describe_image()
    except MLHubError as error:  # the place does not answer; the rest is known here
        return {"reference": workspace.image, "trouble": explain(error)}
    return found


def list_facts(workspace: Any) -> list[tuple[str, str]]:
    """List what a workspace was granted and what was asked for it, as pairs of words."""
    facts: list[tuple[str, str]] = [(Text("Name"), workspace.workspace_name)]
    limits = workspace.describe_limits()
    facts += [(_label(name), _write_limit(name, text)) for name, text in limits.items()]
    for name, value in workspace.grant.options.items():
        if name not in limits and name != "image":
            facts.append((_label(name), mask(name, value)))
    if workspace.expires_at:
        left = remaining_seconds(workspace.expires_at, workspace.site.clock()) or 0
        shown = describe_remaining(math.ceil(left)) if left > 0 else Text("expired")
        facts.append((Text("Expires"), shown))
    return facts


def mask(name: str, value: Any) -> str:
    """Write an option without what may be a secret in it."""
    if is_sealed(value) or (name in OPTIONS and OPTIONS[name].is_secret):
        return Text("set, not shown")
    if isinstance(value, dict):
        return ", ".join(f"{key}=…" for key in value) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return Text("yes") if value else Text("no")
    return str(value)


def _write_limit(name: str, text: str) -> str:
    return text if text == UNLIMITED else OPTIONS[name].find_words(text)


def _label(name: str) -> str:
    return Text(OPTIONS[name].label) if name in OPTIONS else name


HANDLERS: list[tuple[Any, ...]] = [
    (r"/workspace/([^/]+)", InfoPage),
    (r"/workspace/([^/]+)/([^/]+)", InfoPage),
]
