"""The pages of the trash: a person's own, and that of all for administrators.

Each action is a form of its own, sent with POST and the XSRF token; what is final asks first.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tornado import web

from mlhub.cleanup.trash import TrashItem, is_emptied
from mlhub.cleanup.trash_api import TrashMixin
from mlhub.errors import MLHubError
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage

PAGE_SIZE = 100


class TrashPage(TrashMixin, AccountPage):
    """Show a person what is in their trash."""

    address = "trash"
    is_for_all = False

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        self.check_access()
        await self.show_trash()

    def check_access(self) -> None:
        """Refuse whoever may not see this page."""

    async def list_items(self) -> list[TrashItem]:
        """List what the page is about."""
        return await self.trash.list_own(self.current_user)

    async def find_item(self, name: str) -> TrashItem:
        """Find one thing that the page is about."""
        return await self.trash.find_own(self.current_user, name)

    def choose_person(self, item: TrashItem) -> Any:
        """Return who gets what is restored."""
        return self.current_user

    async def show_trash(
        self, message: str = "", *, alert: str = "danger", status: int = 200
    ) -> None:
        """Answer with the list, and a message on it."""
        items: list[TrashItem] = []
        try:
            items = await self.list_items()
        except MLHubError as error:
            message, alert, status = message or explain(error), "danger", error.status_code
        offset = self._read_offset()
        await self.show(
            "trash.html",
            message,
            alert=alert,
            status=status,
            items=items[offset : offset + PAGE_SIZE],
            total=len(items),
            offset=offset,
            page_size=PAGE_SIZE,
            is_emptied=is_emptied(self.trash.settings),
            retention_days=self.trash.settings.trash_retention_days,
            **self.describe_page(),
        )

    def describe_page(self) -> dict[str, Any]:
        """Return what both templates know of this page."""
        return {"address": self.address, "is_for_all": self.is_for_all}

    def _read_offset(self) -> int:
        text = self.get_query_argument("offset", "0")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


class RestorePage(TrashPage):
    """Bring something back: as what it was by the button of the list, as something else here."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Ask as what."""
        self.check_access()
        await self.show_form("trash-restore.html", name)

    @web.authenticated
    async def post(self, name: str) -> None:
        """Bring it back."""
        self.check_access()
        try:
            item = await self.find_item(name)
        except MLHubError as error:
            await self.show_trash(explain(error), status=error.status_code)
            return
        fields = self.request.body_arguments
        server = self.field("server").strip() if "server" in fields else item.resource.server or ""
        try:
            user = self.choose_person(item)
            await self.restore(item, user, server)
        except (MLHubError, web.HTTPError) as error:
            status = error.status_code
            sentence = (
                explain(error) if isinstance(error, MLHubError) else error.get_message() or ""
            )
            await self.show_form("trash-restore.html", name, sentence, status=status)
            return
        what = (
            Text("The workspace “%(server)s”", server=server)
            if server
            else Text("The default workspace")
        )
        if user != self.current_user:
            what = Text("%(what)s of %(owner)s", what=what, owner=user.name)
        await self.show_trash(Text("%(what)s is back.", what=what), alert="success")

    async def show_form(
        self, template: str, name: str, message: str = "", *, status: int = 200
    ) -> None:
        """Answer with a page about one thing."""
        try:
            item = await self.find_item(name)
        except MLHubError as error:
            await self.show_trash(message or explain(error), status=error.status_code)
            return
        fields = self.request.body_arguments
        typed = {key: self.field(key)[:255] for key in ("user", "server") if key in fields}
        values = {
            "person": typed.get("user", item.resource.user),
            "server": typed.get("server", item.resource.server or ""),
        }
        await self.show(
            template,
            message,
            status=status,
            item=item,
            path=f"{self.address}/{quote(item.name, safe='')}",
            **values,
            **self.describe_page(),
        )


class RemovePage(RestorePage):
    """Remove something for good, once that was confirmed."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Ask whether it may go."""
        self.check_access()
        await self.show_form("trash-remove.html", name)

    @web.authenticated
    async def post(self, name: str) -> None:
        """Remove it."""
        self.check_access()
        try:
            await self.remove(await self.find_item(name))
        except MLHubError as error:
            await self.show_trash(explain(error), status=error.status_code)
            return
        await self.show_trash(Text("It is removed for good."), alert="success")


class _OfAll(TrashPage):
    """What differs where the trash is that of all."""

    address = "admin/trash"
    is_for_all = True

    def check_access(self) -> None:
        """Refuse whoever is no administrator."""
        self.check_administrator()

    async def list_items(self) -> list[TrashItem]:
        """List what is in the trash."""
        return await self.trash.list_all()

    async def find_item(self, name: str) -> TrashItem:
        """Find one thing."""
        return await self.trash.find(name)

    def choose_person(self, item: TrashItem) -> Any:
        """Return who gets what is restored."""
        fields = self.request.body_arguments
        return self.find_person(
            self.field("user").strip() if "user" in fields else item.resource.user
        )


class AllTrashPage(_OfAll):
    """Show administrators what is in the trash."""


class AnyRestorePage(_OfAll, RestorePage):
    """Bring something back, for its owner or for somebody else."""


class AnyRemovePage(_OfAll, RemovePage):
    """Remove something for good, whoever it was made for."""


HANDLERS: list[tuple[Any, ...]] = [
    (r"/trash", TrashPage),
    (r"/trash/([^/]+)/restore", RestorePage),
    (r"/trash/([^/]+)/remove", RemovePage),
    (r"/admin/trash", AllTrashPage),
    (r"/admin/trash/([^/]+)/restore", AnyRestorePage),
    (r"/admin/trash/([^/]+)/remove", AnyRemovePage),
]
