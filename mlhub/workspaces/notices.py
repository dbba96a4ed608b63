"""What a workspace that runs should tell whoever works in it: that it expires or is stopped soon.

Invariants: it is what the hub's pages tell, by the same questions. A workspace asks about itself
alone, with its own token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.options.schedule import EventKind, find_next
from mlhub.policy.expiry import describe_remaining, remaining_seconds
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.extension import WARNING_SECONDS as EXPIRY_SECONDS
from mlhub.workspaces.idle import find_stop
from mlhub.workspaces.schedule import WARNING_SECONDS as SCHEDULE_SECONDS
from mlhub.workspaces.spawner import find_workspace


def list_notices(spawner: Any) -> list[dict[str, Any]]:
    """List for JSON what is to be told of a workspace, the next thing first.

    ``id`` stays the same as long as it is the same thing; ``path`` is where something can be done
    about it, below the hub's own address.
    """
    if not spawner.ready:
        return []
    site, found = spawner.site, []
    now, query = site.clock(), urlencode({"server": spawner.name})
    left = remaining_seconds(spawner.expires_at or 0, now)
    if left is not None and left <= EXPIRY_SECONDS:
        when = describe_remaining(left) or "now"
        text = (
            f"This workspace expires {when}. Then it is stopped, and its data moves to the trash."
        )
        found.append(_make("expiry", now + left, text, "Extend", f"extend?{query}"))
    stop = find_stop(spawner, site.idle)
    if stop is not None and stop.is_near(now, site.idle_warning_seconds):
        when = describe_remaining(int(stop.at - now)) or "soon"
        text = f"This workspace is stopped {when}, because by then {stop.reason}. Its files stay."
        found.append(_make("stop", stop.at, text, "Your workspaces", "home"))
    schedule = spawner.find_schedule().schedule
    event = find_next(schedule, now, site.zone, EventKind.STOP)
    if event is not None and event.at - now <= SCHEDULE_SECONDS:
        when = describe_remaining(int(event.at - now))
        text = f"This workspace is stopped {when} by its schedule. Its files stay."
        found.append(_make("schedule", event.at, text, "Schedule", f"schedule?{query}"))
    return sorted(found, key=lambda each: str(each["at"]))


def _make(kind: str, at: float, text: str, label: str, path: str) -> dict[str, Any]:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
    return {"id": f"{kind} {moment}", "at": moment, "text": text, "label": label, "path": path}


class NoticesHandler(MLHubAPIHandler):
    """Answer a workspace about itself."""

    @needs_scope("access:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send what it should tell."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, "There is no such workspace.")
        spawner = user.spawners[server_name]
        found = [] if find_workspace(spawner) is None else list_notices(spawner)
        self.answer({"notices": found})


HANDLERS: list[tuple[Any, ...]] = [
    (r"/api/users/([^/]+)/server/notices", NoticesHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)/notices", NoticesHandler),
]
