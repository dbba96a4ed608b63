"""The page of the record: administrators see all of it, everybody else what concerns them."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado import web

from mlhub.admin.events import TEXTS
from mlhub.admin.record import FILE, read_latest
from mlhub.settings import Settings
from mlhub.web.pages import AccountPage

PAGE_SIZE = 50


class RecordPage(AccountPage):
    """Show the latest records."""

    @web.authenticated
    async def get(self) -> None:
        """Show a page; ``?person=`` narrows it for administrators, ``?offset=`` goes back."""
        mine = self.current_user.name
        asked = self.get_query_argument("person", "")[:100]
        person, since = asked or None, None
        if not self.current_user.admin:
            # Whoever had the name before was somebody else.
            person, since = mine, self.current_user.orm_user.created
        text = self.get_query_argument("offset", "0")
        offset = int(text) if text.isdecimal() and len(text) < 7 else 0
        file = Settings.load().data_volume_container / FILE
        found = await asyncio.to_thread(
            read_latest, file, person=person, since=since, offset=offset, limit=PAGE_SIZE + 1
        )
        await self.show(
            "record.html",
            records=found[:PAGE_SIZE],
            texts=TEXTS,
            person=person or "",
            offset=offset,
            page_size=PAGE_SIZE,
            has_more=len(found) > PAGE_SIZE,
            is_administrator=self.current_user.admin,
        )


HANDLERS: list[tuple[Any, ...]] = [(r"/record", RecordPage)]
