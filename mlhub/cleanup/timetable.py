"""Start and stop workspaces by the clock, as their schedules say.

A start by schedule is one by the workspace's owner, through the hub's own REST API: each check,
limit and option is the one of the button. Policy and people are asked at the moment when it is due.

Invariants: what a schedule asked for is carried out once, also where the hub is started anew
meanwhile. What was missed for longer than ``MLHUB_SCHEDULE_GRACE`` is left out. A stop ends what
ran when it was due, never what was started since; a start leaves alone what was used since. One
that fails keeps no other one waiting, and is told on its owner's home page and in the record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from jupyterhub import orm
from sqlalchemy import Text, literal_column, or_, select

from mlhub.cleanup.evidence import Clock
from mlhub.errors import MLHubError
from mlhub.options.schedule import Event, EventKind, list_events
from mlhub.policy.schedule import list_due_rules
from mlhub.settings import Settings
from mlhub.ssh.autostart import start_workspace
from mlhub.workspaces.hub_database import ask_beside
from mlhub.workspaces.spawner import find_workspace, make_nobodys
from mlhub.workspaces.stopping import stop_workspace

SETTING = "mlhub_timetable"
SERVICE = "schedule"
LOOK_SECONDS = 15.0
AT_ONCE = 10
TOKEN_NOTE = "Schedule: start a workspace and wait for it"  # noqa: S105 - a note


class Timetable:
    """Carry out schedules; ``app`` is JupyterHub, ``api_url`` where its REST API answers,
    ``record`` adds an event to the record of who did what. The clock gives seconds since the epoch.
    """

    def __init__(
        self,
        app: Any,
        settings: Settings,
        site: Any,
        api_url: str,
        record: Callable[..., None],
        wall: Clock = time.time,
    ) -> None:
        self.app, self.site, self.api_url, self.record = app, site, api_url, record
        self.zone, self.grace, self.wall = (
            settings.mlhub_timezone,
            settings.mlhub_schedule_grace,
            wall,
        )
        self.looked_at = 0.0
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking())

    async def look(self) -> None:
        """Begin to carry out what became due since the last look."""
        now = self.wall()
        after = max(self.looked_at, now - self.grace)
        for user_name, server in await self._list_candidates(after, now):
            user = next((each for each in self._find_users(user_name)), None)
            if user is not None and server in user.orm_spawners:
                self._begin(user, server, after, now)
            await asyncio.sleep(0)  # a whole site's workspaces hold up no request
        # Only now: where the database was away, the next look makes up for it.
        self.looked_at = now

    async def finish(self) -> None:
        """Wait until what was begun is done."""
        await asyncio.gather(*self._running.values())

    def _find_users(self, name: str) -> list[Any]:
        found = self.app.users.get(name)
        return [] if found is None or getattr(found, "is_leaving", False) else [found]

    async def _list_candidates(self, after: float, now: float) -> list[tuple[str, str]]:
        """List the workspaces that were started once and may have something due: those that chose
        a schedule, and all where one of the policy's own is due.
        """
        is_for_all = any(list_due_rules(self.site.policy, after, now, self.zone))
        return await ask_beside(
            self.app.session_factory, lambda session: _read_candidates(session, is_for_all)
        )

    def _begin(self, user: Any, server: str, after: float, now: float) -> None:
        spawner, key = user.spawners[server], (user.name, server)
        if find_workspace(spawner) is None or spawner.grant.expires_at is None:
            return
        schedule = spawner.find_schedule().schedule
        events = list_events(schedule, after, now, self.zone) if schedule else []
        if not events or key in self._running or not _is_due(spawner, events[-1]):
            return
        task = asyncio.create_task(self._carry_out(user, server, events[-1]))
        self._running[key] = task
        task.add_done_callback(partial(self._forget, key))

    def _forget(self, key: tuple[str, str], _: Any) -> None:
        self._running.pop(key, None)

    async def _carry_out(self, user: Any, server: str, event: Event) -> None:
        async with self._turns:
            if not _is_due(user.spawners[server], event):  # others had their turn before
                return
            self._note(user, server, event, "")
            problem = ""
            try:
                if event.kind is EventKind.STOP:
                    await stop_workspace(self.app, user, server, "its schedule says so")
                else:
                    await self._start(user, server)
            except MLHubError as error:
                problem = str(error)
            except Exception as error:
                self.app.log.exception("A schedule could not be carried out")
                problem = f"Something went wrong ({type(error).__name__}). Ask an administrator."
        if problem:
            self._note(user, server, event, problem)
        self.app.log.info(
            "%s of %s/%s by its schedule: %s", event.kind, user.name, server, problem or "done"
        )
        self.record(
            str(event.kind), service=SERVICE, about=user.name, server=server, problem=problem
        )

    async def _start(self, user: Any, server: str) -> None:
        expires_at = user.spawners[server].expires_at
        if 0 < (expires_at or 0) <= self.site.clock():
            raise MLHubError("It has expired, so no schedule starts it.")
        await start_workspace(self.api_url, user, server, _say_nothing, TOKEN_NOTE)

    def _note(self, user: Any, server: str, event: Event, problem: str) -> None:
        """Note in the database that the event was carried out, whatever comes of it."""
        if server not in user.orm_spawners:
            return
        spawner = user.spawners[server]
        when = "start" if event.kind is EventKind.START else "stop"
        at = datetime.fromtimestamp(event.at, UTC)
        text = f"The scheduled {when} of {at:%Y-%m-%d %H:%M} UTC failed: {problem}"
        spawner.note_schedule(event.at, text if problem else "")
        spawner.orm_spawner.state = spawner.get_state()
        self.app.db.commit()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # the database may be away for a while
                self.app.log.exception("What is scheduled could not be looked at")


def _is_due(spawner: Any, event: Event) -> bool:
    """Return True if an event is still to be carried out."""
    if spawner.pending or event.at <= spawner.grant.scheduled_at:
        return False
    row = spawner.orm_spawner
    if event.kind is EventKind.STOP:
        return bool(spawner.ready) and _to_seconds(row.started) < event.at
    return not spawner.active and _to_seconds(row.last_activity) < event.at


def _to_seconds(at: datetime | None) -> float:
    return 0.0 if at is None else at.replace(tzinfo=UTC).timestamp()


def _read_candidates(session: Any, is_for_all: bool) -> list[tuple[str, str]]:
    options = literal_column("spawners.user_options", Text)
    state = literal_column("spawners.state", Text)
    rows = (
        select(orm.User.name, orm.Spawner.name)
        .join(orm.Spawner, orm.Spawner.user_id == orm.User.id)
        .where(state.like('%"expires_at"%'))
    )
    if not is_for_all:
        chosen = '%"schedule":%'
        rows = rows.where(or_(options.like(chosen), state.like(chosen)))
    return [(user, server) for user, server in session.execute(rows)]


async def _say_nothing(_: str) -> None:
    """Nobody looks."""


async def start_timetable(app: Any) -> None:
    """Begin with the hub, where its workspaces are ours."""
    workspace = make_nobodys(app)
    if workspace is None:
        return
    api_url = urlsplit(app.hub.api_url)._replace(netloc=f"127.0.0.1:{app.hub_port}").geturl()
    write = app.recorder.record.write
    timetable = Timetable(app, Settings.load(), workspace.site, api_url, write)
    app.tornado_application.settings[SETTING] = timetable
    timetable.start()
