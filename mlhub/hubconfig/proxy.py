"""JupyterHub's own CHP client, watching a proxy that the hub did not start.

With ``should_start = False`` JupyterHub looks for lost routes only every ``last_activity_interval`` seconds;
a proxy that was started anew knows none, and everybody would meet its error page until then.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any as AnyValue
from urllib.parse import unquote

from aiohttp import ClientError, ClientTimeout
from jupyterhub.httpclient import fetch
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Any, Bool, Float, Unicode

ANSWER_SECONDS = 2.0
# No route was idle then: a short answer, and none that CHP writes a warning about.
NO_ROUTES = "/api/routes?inactiveSince=1970-01-01T00:00:00Z"
# A look at a file costs next to nothing; a look at all routes does not where there are thousands.
LOOK_AT_SOCKET_SECONDS = 0.1
SOCKET_SCHEME = "http+unix://"


class WatchedProxy(ConfigurableHTTPProxy):
    """Push all routes again as soon as the proxy has lost them."""

    watch_seconds = Float(1.0, min=0.1, config=True, help="Seconds between two looks at the proxy.")
    is_elsewhere = Bool(False, config=True, help="The proxy runs in a container of its own and may come, go and be replaced at any time.")
    _watcher = Any()
    _socket_mark = Any()
    _obstacle = Unicode()

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        # ``self.app`` and its loop exist by now; the first look comes when the hub is up.
        self._watcher = asyncio.get_event_loop().create_task(self._watch())

    def _read_socket_mark(self) -> tuple[int, int] | None:
        """Return what changes when the proxy makes its API's socket anew; None where there is no socket."""
        try:
            status = os.stat(unquote(self.api_url.removeprefix(SOCKET_SCHEME)))
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    async def is_there(self) -> bool:
        """Tell whether the proxy's API takes orders now; what keeps it from that is a line in the log."""
        if not self.is_elsewhere:
            return not self.api_url.startswith(SOCKET_SCHEME) or self._socket_mark is not None
        obstacle = await self._find_obstacle()
        if obstacle and obstacle != self._obstacle:
            self.log.warning("The proxy's API at %s %s; the hub goes on, and pushes all routes when it can", self.api_url, obstacle)
        self._obstacle = obstacle
        return not obstacle

    async def _find_obstacle(self) -> str:
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            answer = await fetch(
                f"{self.api_url}{NO_ROUTES}", headers=headers, timeout=ClientTimeout(ANSWER_SECONDS), raise_for_status=False
            )
            answer.release()
        except (ClientError, OSError, TimeoutError):
            return "does not answer"
        if answer.status == 403:
            return "refuses this hub's token (CONFIGPROXY_AUTH_TOKEN must be the same for both)"
        return "" if answer.status == 200 else f"answers with status {answer.status}"

    async def get_all_routes(self) -> dict[str, AnyValue]:
        """Return the proxy's routes; none of a proxy elsewhere that is not there, which the hub would wait for, and then give up."""
        if self.is_elsewhere and not await self.is_there():
            return {}
        return dict(await super().get_all_routes())

    async def check_routes(self, user_dict: AnyValue, service_dict: AnyValue, routes: AnyValue = None) -> None:
        """Check all routes, where there is a proxy; the watch does it for one that comes later."""
        if not self.is_elsewhere or await self.is_there():
            await super().check_routes(user_dict, service_dict, routes)

    async def _wait_for_next_look(self) -> None:
        """Wait for the interval, or, where a new socket tells sooner that the proxy was started anew, for that."""
        for _ in range(max(1, round(self.watch_seconds / LOOK_AT_SOCKET_SECONDS))):
            await asyncio.sleep(LOOK_AT_SOCKET_SECONDS)
            mark = self._read_socket_mark()
            if mark != self._socket_mark:
                self._socket_mark = mark
                return

    async def _watch(self) -> None:
        while True:
            await self._wait_for_next_look()
            hub = self.app
            if not getattr(hub, "http_server", None):
                continue  # still starting: the hub itself pushes every route at the end of that
            try:
                if not await self.is_there():
                    continue  # it is being started: a request now would wait, in growing steps, past the moment when it answers
                routes = await asyncio.wait_for(super().get_all_routes(), 5)
                if routes.get(hub.hub.routespec, {}).get("data", {}).get("hub"):
                    continue  # CHP's own --default-target carries no data
                self.log.warning("The proxy was started anew; pushing all routes again")
                await self.check_routes(hub.users, hub._service_map, routes)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the proxy now, look again soon
                self.log.debug("The proxy does not answer: %s", error)
