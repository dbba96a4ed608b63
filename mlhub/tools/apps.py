"""What the hub does for published apps: it starts their workspaces when somebody comes, and their
programs again when they have died.

Invariants: a start is one by the workspace's owner, with the options that it had last, through the
hub's own REST API: each check and limit is the one of the button. An expired workspace is left
alone. A program is started in a workspace that runs and whose owner may publish now; no workspace
keeps another one waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

from mlhub.errors import MLHubError
from mlhub.ssh.autostart import start_workspace
from mlhub.tools.access import find_start_command, is_at_its_route, list_relay_keys
from mlhub.tools.ways import Ways, find_ways
from mlhub.workspaces.published import PublishedApp, may_publish
from mlhub.workspaces.spawner import find_workspace

# Among the hub's settings.
SETTING = "mlhub_apps"
LOOK_SECONDS = 2.0
# After a start that failed the next visitor's waits for so long.
PAUSE_SECONDS = 30.0
TOKEN_NOTE = "App: start a workspace for a visitor"  # noqa: S105 - a note


class Apps:
    """``app`` is JupyterHub, ``api_url`` where its REST API answers."""

    def __init__(self, app: Any, api_url: str) -> None:
        self.app, self.api_url = app, api_url
        self._starts: dict[int, asyncio.Task[None]] = {}
        self._failed: dict[int, float] = {}
        self._looks: dict[int, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking())

    def is_starting(self, spawner: Any) -> bool:
        """Return True if a workspace is being started, or stops and may be started then."""
        return spawner.orm_spawner.id in self._starts or bool(spawner.pending)

    def has_failed(self, spawner: Any) -> bool:
        """Return True if a start for a visitor has just failed."""
        at = self._failed.get(spawner.orm_spawner.id)
        return at is not None and time.monotonic() - at < PAUSE_SECONDS

    def may_start(self, app: PublishedApp, spawner: Any) -> bool:
        """Return True if a visitor may have the workspace of an app started."""
        workspace = find_workspace(spawner)
        if workspace is None or not app.starts or not may_publish(spawner):
            return False
        return not 0 < (workspace.expires_at or 0) <= workspace.site.clock()

    def start(self, owner: Any, spawner: Any) -> bool:
        """Start a workspace as its owner, in the background; return False where that is let be,
        because it runs or starts, or a start has just failed.
        """
        number = spawner.orm_spawner.id
        if spawner.active or number in self._starts or self.has_failed(spawner):
            return False
        self._starts[number] = asyncio.create_task(self._start(owner, spawner.name, number))
        return True

    async def _start(self, owner: Any, server: str, number: int) -> None:
        self._failed.pop(number, None)
        try:
            await start_workspace(self.api_url, owner, server, _say_nothing, TOKEN_NOTE)
        except MLHubError as error:  # a guest is told only that it failed
            self._failed[number] = time.monotonic()
            self.app.log.warning(
                "%s/%s did not start for a visitor of its app: %s", owner.name, server, error
            )
        except Exception:
            self._failed[number] = time.monotonic()
            self.app.log.exception("A workspace could not be started for a visitor of its app")
        finally:
            self._starts.pop(number, None)

    def look(self) -> None:
        """Begin to have those programs started that have died."""
        commands: dict[int, dict[int, str]] = defaultdict(dict)
        running: dict[int, Any] = {}
        for app in self.app.db.query(PublishedApp).all():
            spawner = self._find_running(app)
            if spawner is None or not may_publish(spawner):
                continue
            if command := find_start_command(spawner, app.port):
                running[app.spawner_id] = spawner
                commands[app.spawner_id][app.port] = command
        for number, those in commands.items():
            if number not in self._looks:
                task = asyncio.create_task(self._keep_running(number, running[number], those))
                self._looks[number] = task

    def _find_running(self, app: PublishedApp) -> Any | None:
        """Return the workspace of an app where it runs; None elsewhere."""
        # JupyterHub has in memory whoever has something that runs.
        number, users = app.spawner.user_id, self.app.users
        spawner = users[number].spawners.get(app.spawner.name) if number in users else None
        return spawner if spawner is not None and spawner.ready else None

    async def _keep_running(self, number: int, spawner: Any, commands: dict[int, str]) -> None:
        ways = find_ways(self.app.tornado_application.settings)
        try:
            # An address that it has left may be another workspace's.
            if await is_at_its_route(spawner):
                host = urlsplit(spawner.server.url).hostname or ""
                await keep_running(ways, host, list_relay_keys(spawner), commands)
        except Exception:
            self.app.log.exception("The apps of %s could not be looked at", spawner._log_name)
        finally:
            self._looks.pop(number, None)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # the database may be away for a while
                self.app.log.exception("Published apps could not be looked at")


async def keep_running(ways: Ways, host: str, keys: list[str], commands: dict[int, str]) -> None:
    """Have a workspace's relay start what does not listen at its port; ``commands`` are by port."""
    # A relay lists its own port at least; one that says nothing starts nothing.
    if listening := set(await ways.list_ports(host, keys)):
        for port in commands.keys() - listening:
            await ways.choose(host, port, keys, commands[port])


async def _say_nothing(_: str) -> None:
    """Nobody looks: the owner's progress may tell of what is the owner's alone."""


async def start_apps(app: Any) -> None:
    """Begin with the hub."""
    api_url = urlsplit(app.hub.api_url)._replace(netloc=f"127.0.0.1:{app.hub_port}").geturl()
    apps = Apps(app, api_url)
    app.tornado_application.settings[SETTING] = apps
    apps.begin()
