"""When one's own workspaces are started and stopped by the clock: told on pages, and chosen there.

Invariants: what is shown is what the timetable goes by (``find_schedule`` of a spawner). Whether
and how far somebody may choose is the policy's to say, at the moment when they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any
from zoneinfo import ZoneInfo

from jupyterhub.user import User
from tornado import web

from mlhub.errors import MLHubError, WorkspaceBusyError
from mlhub.options.model import FieldsError
from mlhub.options.schedule import Event, EventKind, Schedule, find_next
from mlhub.policy.expiry import describe_remaining
from mlhub.settings import Settings
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage
from mlhub.workspaces.spawner import find_workspace, make_nobodys

WARNING_SECONDS = 900


@dataclass(frozen=True)
class Planned:
    """What the clock does to one workspace.

    ``next`` is a sentence, ``problem`` is why the last time failed. ``stops_in`` is "in 5 minutes"
    where a workspace that runs is stopped soon, else "".
    """

    text: str
    next: str
    stops_in: str
    problem: str
    may_choose: bool


def list_planned(user: Any) -> dict[str, Planned]:
    """Return what the clock does to a person's workspaces, by their names; nothing for a service.

    Those are left out of which there is nothing to say or to choose.
    """
    workspace = find_workspace(user.spawner) if isinstance(user, User) else None
    if workspace is None:
        return {}
    found = {name: _plan(user.spawners[name]) for name in list(user.orm_spawners)}
    return {name: plan for name, plan in found.items() if plan.text or plan.may_choose}


def _plan(spawner: Any) -> Planned:
    valid, site = spawner.find_schedule(), spawner.site
    now, zone = site.clock(), site.zone
    kind = EventKind.STOP if spawner.active else EventKind.START
    event = find_next(valid.schedule, now, zone, kind)
    is_near = spawner.active and event is not None and event.at - now <= WARNING_SECONDS
    return Planned(
        text=str(valid.schedule) if valid.schedule else "",
        next=describe_event(event, valid.schedule, zone) if event else "",
        stops_in=describe_remaining(int(event.at - now)) if is_near and event else "",
        problem=spawner.grant.schedule_problem,
        may_choose=valid.may_choose,
    )


DAYS = (
    Text("Mon"),
    Text("Tue"),
    Text("Wed"),
    Text("Thu"),
    Text("Fri"),
    Text("Sat"),
    Text("Sun"),
)


def describe_event(event: Event, schedule: Schedule, zone: str) -> str:
    """Write "starts on Mon 2026-11-30 at 09:00 (Europe/Berlin)"."""
    name = schedule.zone or zone
    at = datetime.fromtimestamp(event.at, ZoneInfo(name))
    values = {
        "day": DAYS[at.weekday()],
        "date": f"{at:%Y-%m-%d}",
        "time": f"{at:%H:%M}",
        "zone": name,
    }
    if event.kind is EventKind.START:
        return Text("starts on %(day)s %(date)s at %(time)s (%(zone)s)", **values)
    return Text("stops on %(day)s %(date)s at %(time)s (%(zone)s)", **values)


def describe_schedule(spawner: Any) -> dict[str, Any]:
    """Return for JSON what the clock does to a workspace."""
    valid, now = spawner.find_schedule(), spawner.site.clock()
    event = find_next(valid.schedule, now, spawner.site.zone)
    return {
        "schedule": str(valid.schedule),
        "reason": str(valid.reason),
        "may_choose": valid.may_choose,
        "timezone": valid.schedule.zone or spawner.site.zone,
        "next": event
        and {
            "event": str(event.kind),
            "at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="seconds"),
        },
        "problem": spawner.grant.schedule_problem,
    }


def change_schedule(handler: Any, spawner: Any, wanted: Any) -> None:
    """Choose another schedule for a workspace, or leave it to the policy (None, or blank text).

    Raises ``FieldsError`` where the policy does not allow it, ``WorkspaceBusyError`` while the
    workspace starts or stops.
    """
    if spawner.pending:
        raise WorkspaceBusyError(
            Text(
                "The workspace is busy (%(pending)s). Try again when that is done.",
                pending=spawner.pending,
            )
        )
    spawner.choose_schedule(wanted, spawner.site.clock())
    spawner.orm_spawner.state = spawner.get_state()
    handler.db.commit()


class SchedulePage(AccountPage):
    """Choose the schedule of one's own workspace, without JavaScript."""

    @web.authenticated
    async def get(self) -> None:
        """Show what holds, and ask for another one."""
        await self.show_form(self.get_query_argument("server", ""))

    @web.authenticated
    async def post(self) -> None:
        """Take another one."""
        server, text = self.field("server"), self.field("schedule").strip()
        try:
            change_schedule(self, self._find_spawner(server), text)
        except MLHubError as error:
            fields = error.fields if isinstance(error, FieldsError) else {}
            sentence = fields.get("schedule", explain(error))  # there is one field only
            await self.show_form(server, sentence, status=error.status_code, typed=text[:120])
            return
        self.redirect(f"{self.hub.base_url}home")

    async def show_form(
        self, server: str, message: str = "", *, status: int = 200, typed: str | None = None
    ) -> None:
        """Answer with the form, or with why there is none."""
        spawner = self._find_spawner(server)
        chosen = spawner.grant.options.get("schedule") or ""
        await self.show(
            "schedule.html",
            message,
            status=status,
            server=server,
            plan=_plan(spawner),
            reason=str(spawner.find_schedule().reason),
            zone=spawner.site.zone,
            typed=chosen if typed is None else typed,
        )

    def _find_spawner(self, server: str) -> Any:
        user = self.current_user
        if server not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        spawner = user.spawners[server]
        if find_workspace(spawner) is None:
            raise web.HTTPError(404, Text("The site's own spawner class knows no schedule."))
        return spawner


async def start_schedules(app: Any) -> None:
    """Let the hub's pages tell what the clock does, and all workspaces know the hub's time zone."""
    workspace = make_nobodys(app)
    if workspace is not None:
        workspace.site.zone = Settings.load().mlhub_timezone
    # A function, because each page gets it and few ask; those that do ask once for each workspace.
    app.template_vars.setdefault("planned", lambda user: cache(partial(list_planned, user)))


HANDLERS: list[tuple[Any, ...]] = [(r"/schedule", SchedulePage)]
