"""When a workspace that runs is stopped because nobody uses it or it has run for long, who is told
before, and how they keep it.

Invariants: the warning tells what the stop itself goes by (``find_stop``). Keeping a workspace is
use of it, and nothing more: how long it may go unused is the policy's to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub.user import User
from jupyterhub.utils import utcnow
from tornado import web

from mlhub.policy.expiry import describe_remaining
from mlhub.policy.idle import IdleLimits, PlannedStop, plan_stop
from mlhub.policy.model import Person, SitePolicy, SpawnerDefaults, resolve_settings
from mlhub.settings import Settings
from mlhub.texts import Text
from mlhub.web.pages import AccountPage
from mlhub.workspaces.spawner import find_workspace, make_nobodys


@dataclass(frozen=True)
class Stopping:
    """A workspace that is stopped soon; ``remaining`` is "in 5 minutes", "" where it is due."""

    owner: str
    server: str
    title: str
    at: datetime
    remaining: str
    reason: str
    may_keep: bool


def make_idle_defaults(settings: Settings) -> SpawnerDefaults:
    """Return what the variables say of workspaces that nobody uses."""
    if not settings.mlhub_cull_enabled:
        return SpawnerDefaults()
    age = settings.mlhub_cull_max_age or math.inf
    return SpawnerDefaults(idle_timeout=settings.mlhub_cull_timeout, max_age=age)


def find_stop(spawner: Any, defaults: SpawnerDefaults) -> PlannedStop | None:
    """Return when a workspace that runs is stopped by the rules of now, or None for never.

    ``defaults`` hold where no policy says anything, and for a spawner class of a site's own.
    """
    started, used = spawner.orm_spawner.started, spawner.orm_spawner.last_activity
    if not spawner.ready or (started or used) is None:
        return None
    workspace = find_workspace(spawner)
    policy = SitePolicy() if workspace is None else workspace.site.policy
    person = Person(spawner.user.name) if workspace is None else workspace.make_person()
    limits = IdleLimits.of(resolve_settings(policy, person, defaults))
    return plan_stop(limits, _to_seconds(started or used), _to_seconds(used or started))


def list_stopping(user: Any) -> list[Stopping]:
    """List a person's workspaces that are stopped soon, the next one first; none for a service."""
    workspace = find_workspace(user.spawner) if isinstance(user, User) else None
    if workspace is None:
        return []
    site, found = workspace.site, []
    now = site.clock()
    for spawner in list(user.spawners.values()):
        stop = find_stop(spawner, site.idle)
        if stop is not None and stop.is_near(now, site.idle_warning_seconds):
            title = (spawner.display_name or spawner.name) if spawner.name else ""
            at = datetime.fromtimestamp(stop.at, UTC)
            remaining = describe_remaining(int(stop.at - now))
            found.append(
                Stopping(user.name, spawner.name, title, at, remaining, stop.reason, stop.is_idle)
            )
    return sorted(found, key=lambda each: (each.at, each.server))


def describe_stop(spawner: Any) -> dict[str, Any] | None:
    """Return for JSON when a workspace is stopped if nobody uses it, or None for never."""
    stop = find_stop(spawner, spawner.site.idle)
    if stop is None:
        return None
    return {
        "at": datetime.fromtimestamp(stop.at, UTC).isoformat(timespec="seconds"),
        "remaining_seconds": max(0, int(stop.at - spawner.site.clock())),
        "reason": f"By then {stop.reason}.",
        "rule": str(stop.limit.source),
        "may_keep": stop.is_idle,
    }


def note_use(spawner: Any, at: datetime | None = None) -> None:
    """Count a moment, by default this one, as use of a workspace by its owner."""
    moment = (at or utcnow()).astimezone(UTC).replace(tzinfo=None)
    for row in (spawner.user.orm_user, spawner.orm_spawner):
        row.last_activity = max(row.last_activity or moment, moment)
    spawner.user.db.commit()


class KeepPage(AccountPage):
    """Keep one's own workspace running, without JavaScript."""

    @web.authenticated
    async def post(self) -> None:
        """Count this as use."""
        user, server = self.current_user, self.field("server")
        if server not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        spawner = user.spawners.get(server)
        if spawner is not None and spawner.ready:
            note_use(spawner)
        self.redirect(f"{self.hub.base_url}home")


async def start_idle_warnings(app: Any) -> None:
    """Let the hub's pages tell what is stopped soon, and every workspace what the site says."""
    workspace, settings = make_nobodys(app), Settings.load()
    if workspace is not None:
        workspace.site.idle = make_idle_defaults(settings)
        workspace.site.idle_warning_seconds = settings.mlhub_cull_warning
    app.template_vars.setdefault("stopping", list_stopping)


def _to_seconds(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()  # the database has UTC, without saying so


HANDLERS: list[tuple[Any, ...]] = [(r"/keep", KeepPage)]
