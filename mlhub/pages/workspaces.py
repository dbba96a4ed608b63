"""The hub's REST API about workspaces and the policy, beside JupyterHub's own.

========  ==================================================  ==================================================
GET       ``users/{user}/options-schema``                     JSON schema of what this person may ask for
GET       ``users/{user}/servers/{server}/workspace``         image, limits, expiry; ``server/workspace`` for the default one
PATCH     the same                                            ``{"days_to_live": 5}`` puts the expiry off
POST      ``…/workspace/update``                              take a newer image; goes back where it does not start
POST      ``policy/explain``                                  what a start would get, and which rule says so (administrators)
========  ==================================================  ==================================================
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import MLHubError, OptionsError
from mlhub.workspace.decision import decide
from mlhub.workspace.enforcement import PolicyEnforcement
from mlhub.workspace.expiry import remaining_seconds
from mlhub.workspace.offer import make_options_schema
from mlhub.workspace.options import FieldsError, WorkspaceOptions
from mlhub.workspace.policy import Person


class WorkspaceAPIHandler(APIHandler):
    """Base: finds spawners, answers JSON, turns our errors into JSON."""

    def find_spawner(self, user_name: str, server_name: str) -> Any:
        """Return the spawner of one server."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, "There is no such workspace.")
        return user.spawners[server_name]

    async def make_probe(self, user_name: str, server_name: str = "") -> Any:
        """Make a spawner to ask about the policy, as whoever sent this request."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such person.")
        spawner = user.spawners[server_name] if server_name in user.orm_spawners else user.spawner
        if not isinstance(spawner, PolicyEnforcement):
            raise web.HTTPError(404, f"The site's own spawner class {type(spawner).__name__} knows no workspace options.")
        probe = await spawner.make_probe()
        probe.handler = self
        return probe

    def read_body(self, *keys: str) -> dict[str, Any]:
        """Return the JSON body, an object with no other keys than these."""
        body = self.get_json_body() or {}
        if not isinstance(body, dict) or set(body) - set(keys):
            raise web.HTTPError(400, f"The body is not a JSON object with the keys {', '.join(keys)}.")
        return body

    def answer(self, model: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(model))

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Answer our own errors with what is wrong, field by field where it is about fields."""
        try:
            yield
        except MLHubError as error:
            model: dict[str, Any] = {"status": error.status_code, "message": str(error)}
            if isinstance(error, FieldsError):
                model |= {"fields": error.fields, "rules": error.rules}
            self.answer(model, error.status_code)


class OptionsSchemaHandler(WorkspaceAPIHandler):
    """What one person may ask for, for tools that make forms."""

    @needs_scope("start:servers")
    async def get(self, user_name: str) -> None:
        """Send the JSON schema."""
        with self.sentences():
            self.answer(make_options_schema((await self.make_probe(user_name)).make_offer()))


class WorkspaceHandler(WorkspaceAPIHandler):
    """One workspace: what it has, and how long."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send the workspace."""
        with self.sentences():
            spawner = self.find_spawner(user_name, server_name)
            self.answer(await self.make_model(spawner, await self.make_probe(user_name, server_name)))

    @needs_scope("start:servers")
    async def patch(self, user_name: str, server_name: str = "") -> None:
        """Put the expiry off, as far as the policy lets."""
        days = self.read_body("days_to_live").get("days_to_live")
        with self.sentences():
            spawner, probe = self.find_spawner(user_name, server_name), await self.make_probe(user_name, server_name)
            spawner.expires_at = probe.extend(days)
            spawner.orm_spawner.state = spawner.get_state()
            self.db.commit()
            await self._note_expiry(spawner)
            self.answer(await self.make_model(spawner, probe))

    async def _note_expiry(self, spawner: Any) -> None:
        try:
            await spawner.note_expiry()
        except MLHubError as error:  # the database holds
            self.log.warning("The new expiry of %s stands in the hub's database alone: %s", spawner._log_name, error)

    async def make_model(self, spawner: Any, probe: Any) -> dict[str, Any]:
        """Make the model of one workspace."""
        days = probe.make_offer().fields["days_to_live"]
        return {
            "name": spawner.name,
            "image": await spawner.describe_image(),
            "options": dict(spawner.accepted_options),
            "limits": spawner.describe_limits(),
            "expires_at": spawner.expires_at or None,
            "remaining_seconds": remaining_seconds(spawner.expires_at or 0, spawner.site.clock()),
            "may_extend": bool(spawner.expires_at) and days.is_choosable,
            "most_days": days.maximum_number,
        }


class WorkspaceUpdateHandler(WorkspaceAPIHandler):
    """Take a newer image for a workspace, its data and options kept."""

    @needs_scope("start:servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Pull, stop, start from the new image; where that does not come up, start the old one again.

        Answers 202 once the new image is here and the restart has begun; ``progress`` tells the rest, as with any start.
        """
        spawner = self.find_spawner(user_name, server_name)
        if spawner.pending:
            raise web.HTTPError(409, f"The workspace is busy ({spawner.pending}). Try again when that is done.")
        with self.sentences():
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
        # The first start is from the new image; the backend has put the old one back where it failed.
        for _ in range(2):
            try:
                await self.spawn_single_user(user, server_name)
                spawner = user.spawners[server_name]
                if spawner._spawn_future:
                    await spawner._spawn_future
            except Exception as error:  # noqa: BLE001 - whatever it was, the old image is tried next
                self.log.warning("%s/%s did not start after its update: %s", user.name, server_name, error)
                continue
            return


class PolicyExplainHandler(WorkspaceAPIHandler):
    """The policy's decision about a start that nobody makes."""

    @needs_scope("admin:servers")
    async def post(self) -> None:
        """Explain ``{"user", "server", "options", "admin"}``: what would be granted or refused, and by which rule."""
        body = self.read_body("user", "server", "options", "admin")
        name, server = body.get("user"), body.get("server") or ""
        if not isinstance(name, str) or not isinstance(server, str) or not isinstance(body.get("admin", False), bool):
            raise web.HTTPError(400, 'Write {"user": NAME, "server": NAME, "options": {…}, "admin": true}; only "user" must be there.')
        with self.sentences():
            self.answer(self.explain(await self.make_probe(name, server), server, body))

    def explain(self, spawner: Any, server: str, body: dict[str, Any]) -> dict[str, Any]:
        """Decide without counting anything."""
        owner, site = spawner.make_person(), spawner.site
        policy = site.policy  # read first: only then it is known whether the file is good
        # Whoever asks is an administrator; the question is about somebody who may not be one.
        person = Person(owner.name, owner.groups, bool(spawner.user.admin or body.get("admin")))
        about: dict[str, Any] = {"user": person.name, "groups": list(person.groups), "admin": person.is_admin}
        about |= {"policy": str(site.policy_file.path), "problem": site.policy_file.problem}
        try:
            decision = decide(
                policy,
                person,
                WorkspaceOptions.from_rest(body.get("options")),
                host=site.host,
                defaults=spawner.make_defaults(),
                held=site.ledger.list_held(),
                server=server,
            )
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
