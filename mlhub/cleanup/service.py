"""The cleanup service: passes by its timer and by hand, one after the other, in the hub's own
process, where it is known what starts right now.

Invariants: no failing object, answer or place ends the timer. What was read is looked at as a whole
before anything is removed (``plan.py``, ``evidence.py``), and each thing once more just before it
goes (``removal.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlhub.cleanup import metrics
from mlhub.cleanup.census import take_census
from mlhub.cleanup.evidence import Clock, Sightings, SteadyClock
from mlhub.cleanup.plan import (
    Finding,
    Item,
    Plan,
    Task,
    find_expired,
    find_orphans,
    find_overdue,
    make_plan,
)
from mlhub.cleanup.removal import Remover
from mlhub.errors import MLHubError
from mlhub.settings import Settings
from mlhub.workspaces.port import Backend

# A hub that is started again often gets to it, and a clock has time to be set before.
FIRST_SECONDS = 600.0
# Where the trash keeps nothing, it is looked at so often.
AT_ONCE_SECONDS = 60.0
TIMER = {"service": "cleanup-service"}
EVENTS = {
    Task.USERS: "remove what nobody owns",
    Task.EXPIRED: "remove what expired",
    Task.TRASH: "empty the trash",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a pass did: its plan, what is gone, what stays after all and why, what failed."""

    plan: Plan
    is_dry_run: bool
    at: float
    removed: list[Item] = field(default_factory=list)
    kept: list[tuple[Item, str]] = field(default_factory=list)
    failed: list[tuple[Item, str]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **self.plan.describe(),
            "dry_run": self.is_dry_run,
            "at": show_time(self.at),
            "removed": [each.describe() for each in self.removed],
            "kept": [{**each.describe(), "message": text} for each, text in self.kept],
            "errors": [{**each.describe(), "message": text} for each, text in self.failed],
        }


@dataclass
class Record:
    """How the passes of one task went."""

    passes: int = 0
    errors: int = 0
    removed: int = 0
    last: Report | None = None
    last_at: float | None = None
    trouble: str = ""

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        last = self.last.plan if self.last else None
        return {
            "last_run": show_time(self.last_at),
            "passes": self.passes,
            "removed": self.removed,
            "errors": self.errors,
            "waiting": len(last.waiting) if last else 0,
            "held": len(last.held) if last else 0,
            "problems": [self.trouble] if self.trouble else list(last.problems) if last else [],
        }


@dataclass
class Cleanup:
    """Look after what people leave behind; ``app`` is JupyterHub, ``record`` adds an event to the
    record of who did what. The clocks give seconds.
    """

    app: Any
    settings: Settings
    backend: Backend
    record: Callable[..., None]
    wall: Clock = time.time
    monotonic: Clock = time.monotonic
    records: dict[Task, Record] = field(default_factory=lambda: {task: Record() for task in Task})
    next_at: float | None = None

    def __post_init__(self) -> None:
        self.clock = SteadyClock(self.wall, self.monotonic)
        self.sightings = Sightings(self.monotonic)
        hub = self.settings.hub_name
        self.remover = Remover(self.app, self.backend, hub, self.clock.look)
        self._lock = asyncio.Lock()
        self._approved: dict[Task, frozenset[Hashable]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to count the time until the first pass."""
        interval = self.settings.cleanup_interval_seconds
        if interval > 0:
            self._task = asyncio.create_task(self._keep_running(interval))

    async def look(self, task: Task, confirmed: str = "") -> Report:
        """Tell what a pass would do now; it waits for none that is under way.

        Raises ``MLHubError`` where what there is, or whom it belongs to, cannot be told.
        """
        return Report(await self._make_plan(task, confirmed), True, self.wall())

    async def run(self, task: Task, confirmed: str = "", by: Mapping[str, str] = TIMER) -> Report:
        """Make one pass, after those that are under way, and tell what it did; raise as ``look``
        does. ``by`` says for the record who asked: a person ``by``, or a ``service``.
        """
        record = self.records[task]
        async with self._lock:
            try:
                plan = await self._make_plan(task, confirmed)
            except MLHubError as error:
                self._note_trouble(task, record, str(error))
                raise
            report = Report(plan, False, self.wall())
            if confirmed and not plan.held:
                # What has not been seen for long enough goes with a later pass.
                self._approved[task] = frozenset(each.key for each in (*plan.due, *plan.waiting))
            for item in plan.due:
                await self._remove(item, report, by)
            self._note(task, record, report)
        return report

    async def _make_plan(self, task: Task, confirmed: str) -> Plan:
        finding = await self._look(task)
        seen = self.sightings.note(task, [each.key for each in finding.items])
        most, approved = self.settings.cleanup_most_percent, self._approved.get(task, frozenset())
        return await asyncio.to_thread(make_plan, task, finding, seen, most, confirmed, approved)

    async def _look(self, task: Task) -> Finding:
        """List what there is, then whom the hub knows: who comes in between is known."""
        hub, now, listed_at = self.settings.hub_name, self.clock.look(), self.wall()
        if task is Task.EXPIRED:
            workspaces = await self.backend.list_workspaces()
        else:
            resources = await self.backend.list_resources()
        if task is Task.TRASH:
            days = self.settings.trash_retention_days
            return await asyncio.to_thread(find_overdue, hub, resources, days, now)
        census = await take_census(self.app.session_factory, listed_at, self.wall)
        census.check(self.wall())
        if task is Task.EXPIRED:
            return await asyncio.to_thread(find_expired, hub, census, workspaces, now)
        return await asyncio.to_thread(find_orphans, hub, census, resources)

    async def _remove(self, item: Item, report: Report, by: Mapping[str, str]) -> None:
        try:
            reason = await self.remover.remove(item)
            if reason:
                report.kept.append((item, reason))
                return
            report.removed.append(item)
            log.info("Cleanup removed the %s %s. %s", item.kind, item.name, item.reason)
            self.record(
                EVENTS[report.plan.task],
                **by,
                about=item.user,
                server=item.server,
                kind=str(item.kind),
                name=item.name,
                reason=item.reason,
            )
        except Exception as error:  # noqa: BLE001 - the others go all the same
            text = str(error) if isinstance(error, MLHubError) else f"{error!r}"
            log.warning("Cleanup could not remove %s: %s", item.name, text)
            report.failed.append((item, text))

    def _note(self, task: Task, record: Record, report: Report) -> None:
        record.passes += 1
        record.errors += len(report.failed)
        record.removed += len(report.removed)
        record.last, record.last_at, record.trouble = report, report.at, ""
        for problem in report.plan.problems:
            log.warning("Cleanup of %s has stopped: %s", task, problem)
        metrics.PASSES.labels(task, "error" if report.failed else "ok").inc()
        metrics.ERRORS.labels(task).inc(len(report.failed))
        metrics.HELD.labels(task).set(len(report.plan.held))
        metrics.LAST_PASS.labels(task).set(report.at)
        for item in report.removed:
            metrics.REMOVED.labels(task, item.kind).inc()

    def _note_trouble(self, task: Task, record: Record, text: str) -> None:
        record.passes += 1
        record.errors += 1
        record.last_at, record.trouble = self.wall(), text
        metrics.PASSES.labels(task, "refused").inc()
        metrics.LAST_PASS.labels(task).set(record.last_at)
        log.warning("Cleanup of %s removed nothing: %s", task, text)

    async def _keep_running(self, interval: float) -> None:
        is_at_once = self.settings.trash_retention_days == 0
        due = self.monotonic() + min(interval, FIRST_SECONDS)
        while True:
            wait = due - self.monotonic()
            self.next_at = self.wall() + wait
            metrics.NEXT_PASS.set(self.next_at)
            if is_at_once and wait > AT_ONCE_SECONDS:
                await asyncio.sleep(AT_ONCE_SECONDS)
                await self._try(Task.TRASH)
                continue
            await asyncio.sleep(max(0.0, wait))
            for task in Task:
                await self._try(task)
            due = self.monotonic() + interval

    async def _try(self, task: Task) -> None:
        try:
            await self.run(task)
        except MLHubError:
            pass  # it is noted
        except Exception as error:
            log.exception("Cleanup of %s failed", task)
            self._note_trouble(task, self.records[task], repr(error))

    def describe(self) -> dict[str, Any]:
        """Return for JSON how it goes."""
        return {
            "interval_seconds": self.settings.cleanup_interval_seconds,
            "retention_days": self.settings.trash_retention_days,
            "most_percent": self.settings.cleanup_most_percent,
            "next_run": show_time(self.next_at),
            "tasks": {str(task): record.describe() for task, record in self.records.items()},
        }


def show_time(at: float | None) -> str | None:
    """Write a time for JSON."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
