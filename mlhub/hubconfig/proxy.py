"""JupyterHub's own CHP client, watching a proxy that the hub did not start.

With ``should_start = False`` JupyterHub looks for lost routes only every ``last_activity_interval`` seconds;
a proxy that was started anew knows none, and everybody would meet its error page until then.
"""

from __future__ import annotations

import asyncio

from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Any, Float


class WatchedProxy(ConfigurableHTTPProxy):
    """Push all routes again as soon as the proxy has lost them."""

    watch_seconds = Float(1.0, min=0.1, config=True, help="Seconds between two looks at the proxy.")
    _watcher = Any()

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        # ``self.app`` and its loop exist by now; the first look comes when the hub is up.
        self._watcher = asyncio.get_event_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.watch_seconds)
            hub = self.app
            if not getattr(hub, "http_server", None):
                continue  # still starting: the hub itself pushes every route at the end of that
            try:
                routes = await asyncio.wait_for(self.get_all_routes(), 5)
                if routes.get(hub.hub.routespec, {}).get("data", {}).get("hub"):
                    continue  # CHP's own --default-target carries no data
                self.log.warning("The proxy was started anew; pushing all routes again")
                await self.check_routes(hub.users, hub._service_map, routes)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the proxy now, look again in a second
                self.log.debug("The proxy does not answer: %s", error)
