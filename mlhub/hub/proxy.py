"""JupyterHub's own CHP client, watching a proxy that the hub did not start.

With ``should_start = False`` JupyterHub looks for lost routes only every ``last_activity_interval``
seconds; a proxy that was started anew knows none, and everybody would meet its error page until
then. In a new container it asks for them itself (mlhub/boot/routes.py) before it is ready; the
watch is for one that starts anew inside its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any as AnyValue
from urllib.parse import unquote

from aiohttp import ClientError, ClientTimeout
from jupyterhub.httpclient import fetch
from traitlets import Any, Bool, Dict, Float, Unicode

from mlhub.errors import BackendError
from mlhub.hub.stopped_routes import StoppedRoutesProxy
from mlhub.tools.access import describe_route, read_target
from mlhub.workspaces.hub_state import Site

ANSWER_SECONDS = 2.0
# No route was idle then: a short answer, and none that CHP writes a warning about.
NO_ROUTES = "/api/routes?inactiveSince=1970-01-01T00:00:00Z"
# A look at a file costs next to nothing; a look at all routes does not where there are thousands.
LOOK_AT_SOCKET_SECONDS = 0.1
SOCKET_SCHEME = "http+unix://"
PUSH_SECONDS = 30.0
# Pauses before one more look at the routes of a proxy that asked for them.
LOOKS_AGAIN_SECONDS = (3.0, 7.0, 20.0)


class TellingProxy(StoppedRoutesProxy):
    """Say of each route what the front has to know of its workspace."""

    def __init__(self, **named: AnyValue) -> None:
        super().__init__(**named)
        Site.proxy_is_told = True

    async def add_route(
        self, routespec: str, target: str, data: dict[str, AnyValue] | None
    ) -> None:
        """Add a route, or replace it."""
        target, said = describe_route(self.app.users, target, data)
        await super().add_route(routespec, target, said)

    async def get_all_routes(self) -> dict[str, AnyValue]:
        """Return the proxy's routes, as they were added."""
        routes = dict(await super().get_all_routes())
        return {spec: {**route, "target": read_target(route)} for spec, route in routes.items()}


class WatchedProxy(TellingProxy):
    """Push all routes again as soon as the proxy has lost them."""

    watch_seconds = Float(1.0, min=0.1, config=True, help="Seconds between two looks at the proxy.")
    is_elsewhere = Bool(
        False,
        config=True,
        help=(
            "The proxy runs in a container of its own and may come, go and be replaced at any time."
        ),
    )
    _watcher = Any()
    _socket_mark = Any()
    _obstacle = Unicode()
    _pushes = Dict()
    _looks_again = Any()

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        # ``self.app`` and its loop exist by now; the first look comes when the hub is up.
        self._watcher = asyncio.get_event_loop().create_task(self._watch())
        self.watch_servers(self.app.db)

    def _read_socket_mark(self) -> tuple[int, int] | None:
        """Return what changes when the proxy makes its API's socket anew; None where there is no
        socket.
        """
        try:
            status = os.stat(unquote(self.api_url.removeprefix(SOCKET_SCHEME)))
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    async def is_there(self) -> bool:
        """Return True if the proxy's API takes orders now; what keeps it from that is a line in the
        log.
        """
        if not self.is_elsewhere:
            return not self.api_url.startswith(SOCKET_SCHEME) or self._socket_mark is not None
        obstacle = await self._find_obstacle(self.api_url)
        if obstacle and obstacle != self._obstacle:
            self.log.warning(
                "The proxy's API at %s %s; the hub goes on, and pushes all routes when it can",
                self.api_url,
                obstacle,
            )
        self._obstacle = obstacle
        return not obstacle

    async def _find_obstacle(self, api_url: str) -> str:
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            answer = await fetch(
                f"{api_url}{NO_ROUTES}",
                headers=headers,
                timeout=ClientTimeout(ANSWER_SECONDS),
                raise_for_status=False,
            )
            answer.release()
        except (ClientError, OSError, TimeoutError):
            return "does not answer"
        if answer.status == 403:
            return "refuses this hub's token (CONFIGPROXY_AUTH_TOKEN must be the same for both)"
        return "" if answer.status == 200 else f"answers with status {answer.status}"

    async def get_all_routes(self) -> dict[str, AnyValue]:
        """Return the proxy's routes; none of a proxy elsewhere that is not there, which the hub
        would wait for, and then give up.
        """
        if self.is_elsewhere and not await self.is_there():
            return {}
        return dict(await super().get_all_routes())

    async def check_routes(
        self, user_dict: AnyValue, service_dict: AnyValue, routes: AnyValue = None
    ) -> None:
        """Check all routes, where there is a proxy; the watch does it for one that comes later."""
        if not self.is_elsewhere or await self.is_there():
            await super().check_routes(user_dict, service_dict, routes)

    async def push_to(self, api_url: str) -> None:
        """Push all routes to a proxy that asked for them; who asks again meanwhile waits for the
        same push.

        Raises ``BackendError`` where that is not possible now.
        """
        push = self._pushes.get(api_url)
        if push is None:
            push = self._pushes[api_url] = asyncio.get_running_loop().create_task(
                self._push(api_url)
            )
            push.add_done_callback(lambda _: self._pushes.pop(api_url, None))
        await asyncio.shield(push)

    async def _push(self, api_url: str) -> None:
        hub = self.app
        if hub.is_looking:
            raise BackendError(
                "The hub has just started, and still looks which workspaces run. Ask again."
            )
        if obstacle := await self._find_obstacle(api_url):
            raise BackendError(
                f"The proxy's API at {api_url} {obstacle}. Ask again when it is there."
            )
        asking = self._make_client(api_url)
        self.log.info("The proxy at %s asks for all routes; pushing them", api_url)
        try:
            await asyncio.wait_for(asking.check_routes(hub.users, hub._service_map), PUSH_SECONDS)
        except (ClientError, OSError, TimeoutError) as error:
            raise BackendError(
                f"The proxy at {api_url} did not take all routes ({error or 'too slow'}). Ask"
                " again."
            ) from error
        if self._looks_again:
            self._looks_again.cancel()
        self._looks_again = asyncio.get_running_loop().create_task(self._look_again())

    def _make_client(self, api_url: str) -> StoppedRoutesProxy:
        named = {
            name: getattr(self, name)
            for name in (
                "db_factory",
                "app",
                "log",
                "hub",
                "host_routing",
                "extra_routes",
                "auth_token",
            )
        }
        client = TellingProxy(parent=self.parent, should_start=False, api_url=api_url, **named)
        client._led = self._led  # who has a route of their own, whether their start is over or not
        return client

    async def _look_again(self) -> None:
        """Look at all routes some more: what changed while there were two proxies may be known to
        the one that goes.

        By the Service, which leads to the new one soon; its own address may be another pod's by
        then.
        """
        for seconds in LOOKS_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            try:
                await asyncio.wait_for(
                    self.check_routes(self.app.users, self.app._service_map), PUSH_SECONDS
                )
            except Exception as error:  # noqa: BLE001
                # Whatever is wrong with the proxy now, look again soon.
                self.log.debug("The proxy does not answer: %s", error)

    async def _wait_for_next_look(self) -> None:
        """Wait for the interval, or, where a new socket tells sooner that the proxy was started
        anew, for that.
        """
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
                    # it is being started: a request now would wait, in growing steps, past the
                    # moment when it answers
                    continue
                routes = await asyncio.wait_for(super().get_all_routes(), 5)
                if routes.get(hub.hub.routespec, {}).get("data", {}).get("hub"):
                    continue  # CHP's own --default-target carries no data
                self.log.warning("The proxy was started anew; pushing all routes again")
                await self.check_routes(hub.users, hub._service_map, routes)
            except Exception as error:  # noqa: BLE001
                # Whatever is wrong with the proxy now, look again soon.
                self.log.debug("The proxy does not answer: %s", error)
