"""Stop workspaces that nobody uses, or that have run for as long as they may.

What counts as use is the hub's ``last_activity`` of a server: answered requests and open
WebSockets, which the proxy tells; SSH sessions (``mlhub/ssh/session_registry.py``); what kernels
say, which a Jupyter server tells itself; and a kernel that computes or a terminal in which
something is written (``mlhub/cleanup/kernels.py``), after which it is asked only where the
workspace would be stopped because nobody uses it.

It is the hub itself that looks, and no service with a token: only the hub knows whose rules of the
policy hold for whom, and who uses a workspace at the moment when it would be stopped.

Invariants: what was used since the look is not stopped. A jump of the clock stops nobody at once
(``SteadyClock``). Data stays. One that does not stop keeps no other one running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from traitlets.config import Config, LazyConfigValue

from mlhub.cleanup.evidence import Clock, SteadyClock
from mlhub.cleanup.kernels import find_use
from mlhub.errors import ConfigurationError, MLHubError
from mlhub.policy.idle import PlannedStop
from mlhub.settings import Settings
from mlhub.workspaces.idle import find_stop, make_idle_defaults, note_use
from mlhub.workspaces.stopping import stop_workspace

NAME = "idle-culler"
SETTING = "mlhub_idle"
AT_ONCE = 10


def check_other_culler(c: Config, settings: Settings) -> None:
    """Raise ``ConfigurationError`` where the site runs a culler of its own beside ours."""
    if not settings.mlhub_cull_enabled:
        return
    services = c.JupyterHub.services
    # What is to be appended is looked at in a copy: it takes in nothing more once it was read.
    is_lazy = isinstance(services, LazyConfigValue)
    known = deepcopy(services).get_value([]) if is_lazy else services
    if any(each.get("name") == NAME for each in known):
        raise ConfigurationError(
            f"jupyterhub_user_config.py has a service {NAME!r}, and MLHUB_CULL_ENABLED (in the"
            " chart: cull.enabled) stops idle workspaces as well. Keep one of them."
        )


class Culler:
    """Look for such workspaces; ``app`` is JupyterHub, ``record`` adds an event to the record of
    who did what. The clocks give seconds.
    """

    def __init__(
        self,
        app: Any,
        settings: Settings,
        record: Callable[..., None],
        wall: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.app, self.record = app, record
        self.every, self.defaults = settings.mlhub_cull_every, make_idle_defaults(settings)
        self.clock = SteadyClock(wall, monotonic)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._stopping: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking())

    async def look(self) -> None:
        """Look at all that runs, and begin to stop what is due."""
        for user in list(self.app.users.values()):
            for spawner in list(user.spawners.values()):
                key = (user.name, spawner.name)
                if key not in self._stopping and self._find_due(spawner) is not None:
                    task = asyncio.create_task(self._stop(user, spawner))
                    self._stopping[key] = task
                    task.add_done_callback(partial(self._forget, key))
            await asyncio.sleep(0)  # many workspaces hold up no request

    async def finish(self) -> None:
        """Wait until what is being stopped has stopped."""
        await asyncio.gather(*self._stopping.values())

    def _forget(self, key: tuple[str, str], _: Any) -> None:
        self._stopping.pop(key, None)

    def _find_due(self, spawner: Any) -> PlannedStop | None:
        stop = find_stop(spawner, self.defaults)
        return stop if stop is not None and stop.at <= self.clock.look() else None

    async def _ask_for_due(self, spawner: Any) -> PlannedStop | None:
        """Find what is due where neither kernels nor terminals are in use."""
        stop = self._find_due(spawner)
        if stop is None or not stop.is_idle:
            return stop
        use = await find_use(spawner)
        stop = self._find_due(spawner)  # somebody may have come meanwhile
        if stop is None or use is None:
            return stop
        note_use(spawner, use.at)
        stop = self._find_due(spawner)
        # Whatever the clocks say of a use that goes on, it is one.
        if stop is not None and not (use.is_going_on and stop.is_idle):
            return stop
        self.app.log.info("%s is used, because %s", spawner._log_name, use.how)
        return None

    async def _stop(self, user: Any, spawner: Any) -> None:
        async with self._turns:
            stop = await self._ask_for_due(spawner)  # once more: others had their turn before
            if stop is None:
                return
            self.app.log.info(
                "%s is stopped, because %s (%s)", spawner._log_name, stop.reason, stop.limit.source
            )
            try:
                await stop_workspace(self.app, user, spawner.name, stop.reason)
            except MLHubError as error:
                self.app.log.warning("%s: %s The next look tries again.", spawner._log_name, error)
                return
        self.record("stop", service=NAME, about=user.name, server=spawner.name, reason=stop.reason)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            try:
                await self.look()
            except Exception:  # the database may be away for a while
                self.app.log.exception("Which workspaces nobody uses could not be looked at")


async def start_culling(app: Any) -> None:
    """Begin to look with the hub; where no rule limits anything, a look finds nothing."""
    culler = Culler(app, Settings.load(), app.recorder.record.write)
    app.tornado_application.settings[SETTING] = culler
    culler.start()
