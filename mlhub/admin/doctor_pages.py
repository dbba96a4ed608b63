"""What ``mlhub doctor`` finds, for administrators in a browser and for programs.

=====  ===================  ====================================================================
GET    ``admin/checklist``  each finding with its cure; where the setup link leads
GET    ``api/doctor``       the same as JSON; 503 where something fails
=====  ===================  ====================================================================
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from tornado import web

from mlhub.admin.doctor import examine
from mlhub.admin.workspaces_pages import WorkspacesMixin
from mlhub.backends.finding import Finding, Level
from mlhub.settings import Settings
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.web.pages import AccountPage


class DoctorMixin(WorkspacesMixin):
    """What the page and the API have in common."""

    _turn = asyncio.Lock()  # an engine that does not answer is asked by one at a time

    async def examine(self) -> list[Finding]:
        """Look at everything; it takes seconds."""
        self.check_administrator()
        async with self._turn:
            return await asyncio.to_thread(examine, Settings.load())


class ChecklistPage(DoctorMixin, AccountPage):
    """Show what was found."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        findings = await self.examine()
        counts = {level: sum(each.level is level for each in findings) for level in Level}
        await self.show("checklist.html", findings=findings, counts=counts)


class DoctorAPI(DoctorMixin, MLHubAPIHandler):
    """What ``mlhub doctor`` finds."""

    async def get(self) -> None:
        """Send the findings; takes ``admin:servers`` for everybody, and is 503 where one fails."""
        findings = await self.examine()
        fails = any(finding.level is Level.FAILS for finding in findings)
        self.answer([asdict(finding) for finding in findings], 503 if fails else 200)


HANDLERS: list[tuple[Any, ...]] = [
    (r"/admin/checklist", ChecklistPage),
    (r"/api/doctor", DoctorAPI),
]
