"""What each package adds to the hub: its pages and REST handlers, and what runs beside requests.

A new topic is a folder, and a line here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mlhub.admin import announcement_pages, doctor_pages, record_pages, usage_pages
from mlhub.admin import workspaces_pages as workspaces_pages_of_admin
from mlhub.admin.recorder import open_record
from mlhub.admin.usage_counting import start_counting
from mlhub.admin.users import open_desk
from mlhub.cleanup import pages as cleanup_pages
from mlhub.cleanup import trash_api, trash_pages
from mlhub.cleanup.idle import start_culling
from mlhub.cleanup.startup import start_cleanup
from mlhub.cleanup.timetable import start_timetable
from mlhub.cleanup.trash_startup import start_trash
from mlhub.hub import front_numbers, routes
from mlhub.hub.withdrawal import Withdrawal
from mlhub.settings import Settings
from mlhub.signin import people
from mlhub.ssh import api as ssh_api
from mlhub.ssh import bundle as ssh_bundle
from mlhub.ssh import guest_pages as ssh_guest_pages
from mlhub.ssh import pages as ssh_pages
from mlhub.ssh.startup import open_bastion, tell_names
from mlhub.tools import apps_api as tools_apps_api
from mlhub.tools import apps_pages as tools_apps_pages
from mlhub.tools import check as tools_check
from mlhub.tools import pages as tools_pages
from mlhub.tools import sharing_api as tools_sharing_api
from mlhub.tools import sharing_pages as tools_sharing_pages
from mlhub.tools.apps import start_apps
from mlhub.workspaces import (
    action_pages,
    extension,
    home,
    idle,
    info,
    notices,
    owner_pages,
    schedule,
    sharing_pages,
    start_pages,
    stopping,
    use_api,
)
from mlhub.workspaces import api as workspaces_api
from mlhub.workspaces import pages as workspaces_pages
from mlhub.workspaces.disk import start_measuring
from mlhub.workspaces.sharing import start_sharing
from mlhub.workspaces.use import start_looking


@dataclass(frozen=True)
class Room:
    """A package's part of the hub. ``start`` is awaited, with the JupyterHub application, once that
    is initialized and before it answers; what it raises of ours ends the hub with a sentence.
    ``handlers`` answer below ``/hub``, ``outer_handlers`` beside it, where no cookie of the hub
    comes.
    """

    handlers: list[tuple[Any, ...]]
    start: Callable[[Any], Awaitable[None]] | None = None
    outer_handlers: tuple[tuple[Any, ...], ...] = ()


async def start_withdrawal(app: Any) -> None:
    """Begin to look who may still be here."""
    app.withdrawal = Withdrawal(app, app.correction_seconds)
    app.withdrawal.start()


async def start_bastion(app: Any) -> None:
    """Answer sshd, and hear of whoever may not be here any more."""
    settings = Settings.load()
    app.bastion = await open_bastion(app, settings)
    if app.bastion is not None:
        tell_names(app, settings)
        app.withdrawal.listeners.append(app.bastion.journal.note_access_revoked)


# They start in this order, before the services, for which JupyterHub waits.
ROOMS = (
    Room([*routes.HANDLERS, *front_numbers.HANDLERS], start_withdrawal),
    Room(people.HANDLERS),
    Room([], start_measuring),
    Room(
        [
            *workspaces_api.HANDLERS,
            *workspaces_pages.HANDLERS,
            *extension.HANDLERS,
            *info.HANDLERS,
            *home.HANDLERS,
            *start_pages.HANDLERS,
            *action_pages.HANDLERS,
            *owner_pages.HANDLERS,
        ],
        extension.start_warnings,
    ),
    Room(use_api.HANDLERS, start_looking),
    Room(sharing_pages.HANDLERS, start_sharing),
    Room(idle.HANDLERS, idle.start_idle_warnings),
    Room(notices.HANDLERS, stopping.start_reasons),
    Room(schedule.HANDLERS, schedule.start_schedules),
    Room(
        [
            *ssh_pages.HANDLERS,
            *ssh_guest_pages.HANDLERS,
            *ssh_api.HANDLERS,
            *ssh_bundle.HANDLERS,
        ],
        start_bastion,
    ),
    Room(
        [
            *tools_check.HANDLERS,
            *tools_pages.HANDLERS,
            *tools_sharing_pages.HANDLERS,
            *tools_sharing_api.HANDLERS,
            *tools_apps_pages.HANDLERS,
            *tools_apps_api.HANDLERS,
        ],
        start_apps,
    ),
    Room([*record_pages.HANDLERS, *workspaces_pages_of_admin.HANDLERS], open_record),
    Room(usage_pages.HANDLERS, start_counting),
    Room(doctor_pages.HANDLERS),
    Room([], open_desk),
    Room(announcement_pages.HANDLERS, announcement_pages.start_announcing),
    Room([*trash_api.HANDLERS, *trash_pages.HANDLERS], start_trash),
    Room([], start_culling),
    Room([], start_timetable),
    Room(cleanup_pages.HANDLERS, start_cleanup, cleanup_pages.OUTER_HANDLERS),
)
