"""The page on which an administrator tells everybody something."""

from __future__ import annotations

from typing import Any

from tornado import web

from mlhub.admin.announcement import FILE, MAX_CHARACTERS, Announcement
from mlhub.admin.workspaces_pages import WorkspacesMixin
from mlhub.errors import MLHubError
from mlhub.settings import Settings
from mlhub.texts import explain
from mlhub.web.pages import AccountPage

SETTING = "mlhub_announcement"


class AnnouncementPage(WorkspacesMixin, AccountPage):
    """Show and change what is announced."""

    @web.authenticated
    async def get(self) -> None:
        """Show the form."""
        self.check_administrator()
        await self._show(self._announcement.read())

    @web.authenticated
    async def post(self) -> None:
        """Announce what was typed; an empty text ends it."""
        self.check_administrator()
        text = self.field("text")
        try:
            self._announcement.write(text)
        except MLHubError as error:
            await self._show(text, explain(error), status=error.status_code)
            return
        self.redirect(self.request.path)

    @property
    def _announcement(self) -> Announcement:
        found: Announcement = self.settings[SETTING]
        return found

    async def _show(self, text: str, message: str = "", **values: Any) -> None:
        await self.show(
            "announcement.html",
            message,
            text=text,
            file=self._announcement.file,
            most=MAX_CHARACTERS,
            **values,
        )


async def start_announcing(app: Any) -> None:
    """Let all pages show it; ``app`` is JupyterHub."""
    announcement = Announcement(Settings.load().data_volume_container / FILE)
    app.tornado_application.settings[SETTING] = announcement
    app.template_vars.setdefault("told", lambda _: announcement.read())


HANDLERS: list[tuple[Any, ...]] = [(r"/admin/announcement", AnnouncementPage)]
