"""JupyterHub's own CHP client, watching a proxy that the hub did not start.

With ``should_start = False`` JupyterHub looks for lost routes only every ``last_activity_interval`` seconds;
a proxy that was started anew knows none, and everybody would meet its error page until then.
"""

from __future__ import annotations

import asyncio
import os
from urllib.parse import unquote

from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Any, Float

# A look at a file costs next to nothing; a look at all routes does not where there are thousands.
LOOK_AT_SOCKET_SECONDS = 0.1
SOCKET_SCHEME = "http+unix://"


class WatchedProxy(ConfigurableHTTPProxy):
    """Push all routes again as soon as the proxy has lost them."""

    watch_seconds = Float(1.0, min=0.1, config=True, help="Seconds between two looks at the proxy.")
    _watcher = Any()
    _socket_mark = Any()

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
            if self.api_url.startswith(SOCKET_SCHEME) and self._socket_mark is None:
                continue  # it is being started: a request now would wait, in growing steps, past the moment when it answers
            try:
                routes = await asyncio.wait_for(self.get_all_routes(), 5)
                if routes.get(hub.hub.routespec, {}).get("data", {}).get("hub"):
                    continue  # CHP's own --default-target carries no data
                self.log.warning("The proxy was started anew; pushing all routes again")
                await self.check_routes(hub.users, hub._service_map, routes)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the proxy now, look again soon
                self.log.debug("The proxy does not answer: %s", error)
