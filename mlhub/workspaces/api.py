"""The hub's REST API about workspaces and the policy, beside JupyterHub's own.

=====  =============================================  ==========================================
GET    ``users/{user}/options-schema``                JSON schema of what this person may ask for
GET    ``users/{user}/servers/{server}/workspace``    image, limits, expiry; ``server/workspace``
                                                      for the default one
PATCH  the same                                       ``{"days_to_live": 5}`` puts the expiry off,
                                                      ``{"schedule": "-18:00"}`` has it stopped
                                                      then, ``{"display_name": "Big data"}`` is
                                                      what its owner calls it
POST   ``…/workspace/update``                         take a newer image; goes back where it does
                                                      not start
POST   ``policy/explain``                             what a start would get, and which rule says
                                                      so (administrators)
=====  =============================================  ==========================================
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import OptionsError
from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.policy.available import make_options_schema
from mlhub.policy.decide import decide
from mlhub.policy.expiry import remaining_seconds
from mlhub.policy.model import Person
from mlhub.texts import Text, translate
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.display_name import change_display_name
from mlhub.workspaces.extension import extend_workspace
from mlhub.workspaces.home import describe_reservation, look_ahead
from mlhub.workspaces.idle import describe_stop
from mlhub.workspaces.schedule import change_schedule, describe_schedule
from mlhub.workspaces.start import PolicyEnforcement


class WorkspaceAPIHandler(MLHubAPIHandler):
    """Base: finds spawners."""

    max_body_bytes = 2**20  # options may hold many variables

    def find_spawner(self, user_name: str, server_name: str) -> Any:
        """Return the spawner of one server."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        return user.spawners[server_name]

    async def make_probe(self, user_name: str, server_name: str = "") -> Any:
        """Make a spawner to ask about the policy, as whoever sent this request."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, Text("There is no such person."))
        spawner = user.spawners[server_name] if server_name in user.orm_spawners else user.spawner
        if not isinstance(spawner, PolicyEnforcement):
            raise web.HTTPError(
                404,
                Text(
                    "The site's own spawner class %(name)s knows no workspace options.",
                    name=type(spawner).__name__,
                ),
            )
        probe = await spawner.make_probe()
        probe.handler = self
        return probe


class OptionsSchemaHandler(WorkspaceAPIHandler):
    """What one person may ask for, for tools that make forms."""

    @needs_scope("start:servers")
    async def get(self, user_name: str) -> None:
        """Send the JSON schema."""
        with self.friendly_errors():
            self.answer(
                make_options_schema((await self.make_probe(user_name)).find_available_options())
            )


class WorkspaceHandler(WorkspaceAPIHandler):
    """One workspace: what it has, and how long."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send the workspace."""
        with self.friendly_errors():
            self.find_spawner(user_name, server_name)
            probe = await self.make_probe(user_name, server_name)
            # It may have been deleted meanwhile.
            self.answer(await self.make_model(self.find_spawner(user_name, server_name), probe))

    @needs_scope("start:servers")
    async def patch(self, user_name: str, server_name: str = "") -> None:
        """Put the expiry off or choose a schedule, as far as the policy lets, or rename it."""
        body = self.read_body("days_to_live", "schedule", "display_name")
        with self.friendly_errors():
            spawner, probe = (
                self.find_spawner(user_name, server_name),
                await self.make_probe(user_name, server_name),
            )
            if "display_name" in body:
                change_display_name(self, spawner.orm_spawner, body["display_name"])
            if "schedule" in body:
                change_schedule(self, spawner, body["schedule"])
            if "days_to_live" in body or not body:
                await extend_workspace(self, spawner, probe, body.get("days_to_live"))
            self.answer(await self.make_model(spawner, probe))

    async def make_model(self, spawner: Any, probe: Any) -> dict[str, Any]:
        """Make the model of one workspace."""
        days = probe.find_available_options().fields.get("days_to_live")
        held = spawner.reservation
        refusal = "" if spawner.active else look_ahead(probe, _stored(spawner))[0]
        return {
            "name": spawner.name,
            "display_name": spawner.display_name or spawner.name,
            "image": await spawner.describe_image(),
            "options": dict(spawner.grant.options),
            "limits": spawner.describe_limits(),
            "expires_at": spawner.expires_at or None,
            "remaining_seconds": remaining_seconds(spawner.expires_at or 0, spawner.site.clock()),
            "may_extend": bool(spawner.expires_at and days and days.is_choosable),
            "most_days": days.maximum_number if days else None,
            "stop": describe_stop(spawner),
            "schedule": describe_schedule(spawner),
            # For people: what it holds, and why it cannot be started as it is.
            "limits_text": translate(describe_reservation(held)) if spawner.active else "",
            "refusal": refusal,
        }


def _stored(spawner: Any) -> dict[str, Any]:
    return spawner.orm_spawner.user_options or dict(spawner.grant.options)


class WorkspaceUpdateHandler(WorkspaceAPIHandler):
    """A newer image for a workspace, whose data and options are kept."""

    @needs_scope("start:servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Pull, stop, start from the new image; where that does not come up, start the old one
        again.

        Answers 202 once the new image is here and the restart has begun; ``progress`` tells the
        rest, as with any start.
        """
        spawner = self.find_spawner(user_name, server_name)
        if spawner.pending:
            raise web.HTTPError(
                409,
                Text(
                    "The workspace is busy (%(pending)s). Try again when that is done.",
                    pending=spawner.pending,
                ),
            )
        with self.friendly_errors():
            await spawner.begin_update()
            spawner.orm_spawner.state = spawner.get_state()
            self.db.commit()
            await self._restart(spawner, server_name)

    async def _restart(self, spawner: Any, server_name: str) -> None:
        if not spawner.ready:
            self.answer({"message": "The next start takes the new image."})
            return
        stopped = await self.stop_single_user(spawner.user, server_name)
        task = asyncio.ensure_future(self._start_again(spawner.user, server_name, stopped))
        _UPDATES.add(task)
        task.add_done_callback(_UPDATES.discard)
        self.answer({"message": "The workspace starts from the new image."}, 202)

    async def _start_again(self, user: Any, server_name: str, stopped: asyncio.Future[Any]) -> None:
        await stopped
        # The first start is from the new image; the backend has put the old one back where it
        # failed.
        for _ in range(2):
            try:
                await self.spawn_single_user(user, server_name)
                spawner = user.spawners[server_name]
                if spawner._spawn_future:
                    await spawner._spawn_future
            except Exception as error:  # noqa: BLE001
                # Whatever it was, the old image is tried next.
                self.log.warning(
                    "%s/%s did not start after its update: %s", user.name, server_name, error
                )
                continue
            return


class PolicyExplainHandler(WorkspaceAPIHandler):
    """The policy's decision about a start that nobody makes."""

    @needs_scope("admin:servers")
    async def post(self) -> None:
        """Explain ``{"user", "server", "options", "admin"}``: what would be granted or refused, and
        by which rule.
        """
        body = self.read_body("user", "server", "options", "admin")
        name, server = body.get("user"), body.get("server") or ""
        if (
            not isinstance(name, str)
            or not isinstance(server, str)
            or not isinstance(body.get("admin", False), bool)
        ):
            raise web.HTTPError(
                400,
                'Write {"user": NAME, "server": NAME, "options": {…}, "admin": true}; only "user" '
                "must be there.",
            )
        with self.friendly_errors():
            self.answer(self.explain(await self.make_probe(name, server), server, body))

    def explain(self, spawner: Any, server: str, body: dict[str, Any]) -> dict[str, Any]:
        """Decide without counting anything."""
        site, circumstances = spawner.site, spawner.make_circumstances()
        owner = circumstances.person
        # Whoever asks is an administrator; the question is about somebody who may not be one.
        person = Person(owner.name, owner.groups, bool(spawner.user.admin or body.get("admin")))
        about: dict[str, Any] = {
            "user": person.name,
            "groups": list(person.groups),
            "admin": person.is_admin,
        }
        about |= {"policy": str(site.policy_file.path), "problem": site.policy_file.problem}
        try:
            options = WorkspaceOptions.from_rest(body.get("options"))
            decision = decide(replace(circumstances, person=person, server=server), options)
        except FieldsError as error:
            return {**about, "granted": False, "fields": error.fields, "rules": error.rules}
        except OptionsError as error:
            return {**about, "granted": False, "fields": {"options": str(error)}, "rules": {}}
        return {**about, "granted": True, "decision": decision.explain()}


# Tasks that nobody waits for; the loop itself keeps no reference.
_UPDATES: set[asyncio.Task[None]] = set()

HANDLERS = [
    (r"/api/users/([^/]+)/options-schema", OptionsSchemaHandler),
    (r"/api/users/([^/]+)/server/workspace", WorkspaceHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)/workspace", WorkspaceHandler),
    (r"/api/users/([^/]+)/server/workspace/update", WorkspaceUpdateHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)/workspace/update", WorkspaceUpdateHandler),
    (r"/api/policy/explain", PolicyExplainHandler),
]
