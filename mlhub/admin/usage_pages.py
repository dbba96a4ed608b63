"""How long workspaces ran and what they had, as pages and as CSV.

=====  ===================  ====================================================================
GET    ``usage``            one's own days; for administrators those of ``?person=`` or ``?group=``
GET    ``usage.csv``        the same as CSV
GET    ``admin/usage``      all people, or groups (``?by=group``), the most first
GET    ``admin/usage.csv``  the same as CSV, all of them
=====  ===================  ====================================================================
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from jupyterhub.user import User
from tornado import web
from tornado.httputil import url_concat

from mlhub.admin.usage import COLUMNS, LOOKED_AT_DAYS, Amounts, Whose, read_days
from mlhub.admin.usage_sums import Listed, Listing, list_sums
from mlhub.admin.workspaces_pages import WorkspacesMixin
from mlhub.options.amount import describe_size
from mlhub.policy.usage import Bar
from mlhub.texts import Text
from mlhub.web.pages import AccountPage
from mlhub.web.plot import plot_bars, write_amount
from mlhub.workspaces.holder import Holder
from mlhub.workspaces.home import look_at_totals
from mlhub.workspaces.hub_database import ask_beside
from mlhub.workspaces.server_names import suggest_name
from mlhub.workspaces.spawner import find_workspace

PAGE_SIZE = 50
SPANS = (7, 30, 90, 365)
PLOTS = (
    ("hours", Text("Hours"), "h"),
    ("cpu_hours", Text("CPU hours"), "h"),
    ("memory_hours", Text("Memory"), "GB h"),
    ("gpu_hours", Text("GPU hours"), "h"),
)
# Spreadsheets take what begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class UsageMixin(WorkspacesMixin, AccountPage):
    """What the pages have in common."""

    def read_span(self) -> tuple[int, date, date]:
        """Read how many days are asked for: their number, the first and the last."""
        text = self.get_query_argument("days", "")
        days = int(text) if text in map(str, SPANS) else LOOKED_AT_DAYS
        until = datetime.now(UTC).date()
        return days, until - timedelta(days=days - 1), until

    def read_name(self, name: str) -> str:
        """Read a name of the address."""
        return str(self.get_query_argument(name, ""))[:255].strip()

    async def ask(self, question: Any, **values: Any) -> Any:
        """Ask the database beside the event loop."""
        return await ask_beside(self.app.session_factory, partial(question, **values))

    async def send_csv(self, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Answer with a file; it is written beside the event loop."""
        text = await asyncio.to_thread(write_csv, heads, rows)
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="usage.csv"')
        self.finish(text)


class DaysMixin(UsageMixin):
    """Whose days are asked for."""

    def read_whose(self) -> tuple[Whose, str]:
        """Return whose, and their name; for anybody but administrators it is their own."""
        person, group = self.read_name("person"), self.read_name("group")
        mine = self.current_user.name
        if not isinstance(self.current_user, User) and not (person or group):
            raise web.HTTPError(400, "A service has no usage of its own. Say ?person= or ?group=.")
        if (person and person != mine) or group:
            self.check_administrator()
            return (Whose(name=person), person) if person else (Whose(group=group), group)
        if not self.has_scope(f"read:users:activity!user={mine}"):
            raise web.HTTPError(403, "This takes the scope read:users:activity.")
        return Whose(person=Holder.of(self.current_user).key), mine

    async def read_days(self, whose: Whose) -> dict[date, Amounts]:
        """Ask for the days."""
        _, since, until = self.read_span()
        found: dict[date, Amounts] = await self.ask(
            read_days, whose=whose, since=since, until=until
        )
        return found


class UsagePage(DaysMixin):
    """Show somebody's days."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        whose, name = self.read_whose()
        days = await self.read_days(whose)
        user: Any = self.find_user(name) if not whose.group else None
        workspace = find_workspace(user.spawner) if user else None
        bars: tuple[Bar, ...] = ()
        if workspace is not None:
            _, bars = await look_at_totals(workspace, suggest_name(set(user.orm_spawners)))
        query = {"group" if whose.group else "person": name} if not whose.person else {}
        await self.show(
            "usage.html",
            whose=whose,
            whose_name=name,
            bars=bars,
            span=self.read_span()[0],
            spans=SPANS,
            plots=list_plots(days),
            days=[
                (day, write_amounts(amounts))
                for day, amounts in sorted(days.items(), reverse=True)
                if amounts.hours
            ],
            total=write_amounts(sum(days.values(), Amounts())),
            link=lambda page, **more: url_concat(f"{self.hub.base_url}{page}", {**query, **more}),
            is_administrator=self.is_administrator,
        )


class UsageFile(DaysMixin):
    """Send somebody's days as CSV."""

    _accept_token_auth = True

    @web.authenticated
    async def get(self) -> None:
        """Send the file."""
        whose, name = self.read_whose()
        days = await self.read_days(whose)
        rows = [(day.isoformat(), name, *list_cells(amounts)) for day, amounts in days.items()]
        await self.send_csv(("day", "group" if whose.group else "person", *HEADS), rows)


class ListMixin(UsageMixin):
    """Which people or groups are asked for."""

    def read_listing(self, limit: int | None) -> Listing:
        """Read the address; what is no sort or number is the default."""
        sort, offset = self.read_name("sort"), self.read_name("offset")
        return Listing(
            by="group" if self.read_name("by") == "group" else "person",
            search=self.read_name("search"),
            sort=sort if sort in (*COLUMNS, "name") else "hours",
            offset=int(offset) if limit and offset.isdecimal() and len(offset) < 8 else 0,
            limit=limit,
        )

    async def list_sums(self, listing: Listing) -> Listed:
        """Ask for them."""
        _, since, today = self.read_span()
        past = await self.app.past_usage.find(since, today)
        found: Listed = await self.ask(list_sums, listing=listing, past=past, today=today)
        return found


class AllUsagePage(ListMixin):
    """Show all people or groups."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        self.check_administrator()
        listing, (span, _, _) = self.read_listing(PAGE_SIZE), self.read_span()
        found = await self.list_sums(listing)
        asked: dict[str, Any] = {
            "by": listing.by,
            "search": listing.search,
            "sort": listing.sort,
            "days": span,
        }
        await self.show(
            "usage-all.html",
            listing=listing,
            rows=[(name, write_amounts(amounts)) for name, amounts in found.rows],
            total=found.total,
            span=span,
            spans=SPANS,
            plots=list_plots(found.days),
            link=lambda page, **more: url_concat(f"{self.hub.base_url}{page}", {**asked, **more}),
        )


class AllUsageFile(ListMixin):
    """Send all people or groups as CSV."""

    _accept_token_auth = True

    @web.authenticated
    async def get(self) -> None:
        """Send the file."""
        self.check_administrator()
        listing, (_, since, until) = self.read_listing(None), self.read_span()
        found = await self.list_sums(listing)
        dates = (since.isoformat(), until.isoformat())
        rows = ((name, *dates, *list_cells(had)) for name, had in found.rows)
        await self.send_csv((listing.by, "since", "until", *HEADS), rows)


HEADS = ("hours", "cpu_hours", "memory_gb_hours", "gpu_hours", "disk_bytes")


def list_cells(amounts: Amounts) -> list[Any]:
    """Write amounts for a spreadsheet."""
    return [*(round(getattr(amounts, name), 4) for name in COLUMNS[:-1]), int(amounts.disk)]


def write_amounts(amounts: Amounts) -> dict[str, str]:
    """Write amounts for people."""
    texts = {name: write_amount(getattr(amounts, name)) for name, _, _ in PLOTS}
    return {**texts, "disk": describe_size(amounts.disk) if amounts.disk else ""}


def list_plots(days: Mapping[date, Amounts]) -> list[tuple[str, Any]]:
    """Draw each amount of which there is any, with its heading."""
    found: list[tuple[str, Any]] = []
    for name, heading, unit in PLOTS:
        points = [(day.isoformat(), getattr(amounts, name)) for day, amounts in days.items()]
        if plot := plot_bars(points, unit):
            found.append((heading, plot))
    return found


def write_csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a file that a spreadsheet opens."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([write_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def write_cell(cell: Any) -> Any:
    """Write one cell so that a spreadsheet takes no name for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


HANDLERS: list[tuple[Any, ...]] = [
    (r"/usage", UsagePage),
    (r"/usage\.csv", UsageFile),
    (r"/admin/usage", AllUsagePage),
    (r"/admin/usage\.csv", AllUsageFile),
]
