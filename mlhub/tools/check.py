"""The front's question about each request for a port of a workspace: who asks, and may they?
``GET mlhub/tools?user=…&server=…&port=…`` of the REST API, with what the request brought. Without
a port it is about the workspace itself, where that is a web server that does not check who asks.

Invariants: the front alone is answered, which shows the token between hub and proxy: the way to a
port has the key of the workspace's relay in it. Whoever shows a token is known by that alone,
whatever its scopes; a cookie is read only where there is no token. Whoever may go on is answered
204 with ``X-MLHub-Word``: how they are known, their name, for how many seconds, and the way to the
port.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from secrets import compare_digest
from typing import Any
from urllib.parse import quote, urlsplit

from jupyterhub.user import User
from jupyterhub.utils import utcnow
from tornado import web

from mlhub.quantities import parse_port
from mlhub.tools.access import (
    find_port_end,
    find_start_command,
    has_tools,
    is_at_its_route,
    is_web,
    list_relay_keys,
    may_come_in,
    note_opened,
)
from mlhub.tools.sessions import find_row
from mlhub.tools.ways import DIRECT, find_ways
from mlhub.web.handlers import MLHubAPIHandler

# Its name has "token" in it, so the log is spared it (mlhub/hub/log.py).
FRONT_HEADER = "X-MLHub-Front-Token"


@dataclass(frozen=True)
class Known:
    """How somebody who may go on is known: ``kind`` is what they showed ("token", "service" or
    "cookie"), ``expires_at`` when that ends (UTC, without a time zone; None for never).
    """

    kind: str
    name: str
    expires_at: Any

    @property
    def seconds(self) -> str:
        """How long it is still good; "-" is for ever."""
        if self.expires_at is None:
            return "-"
        left = (self.expires_at - utcnow(with_tz=False)).total_seconds()
        return str(max(0, math.floor(left)))


class CheckHandler(MLHubAPIHandler):
    """Tell the front whether a request may go on."""

    # Every page of a tool asks for dozens of things.
    quiet_statuses = frozenset({204, 401, 403, 503})

    async def get(self) -> None:
        """Answer 204 where it may; 401 where nobody is known who asks."""
        self._refuse_all_but_the_front()
        spawner, port = self._find_spawner(), self._read_port()
        if port is None and not is_web(spawner):
            raise web.HTTPError(403, "This workspace checks by itself who is there.")
        known = await self._recognize(spawner, port)
        with self.friendly_errors():
            is_there = await is_at_its_route(spawner)
        if not is_there:
            raise web.HTTPError(503, "This workspace is not where it was.")
        way = DIRECT if port is None else await self._choose_way(spawner, port)
        self.set_status(204)
        name = quote(known.name, safe="")
        self.set_header("X-MLHub-Word", f"{known.kind} {name} {known.seconds} {way}")

    def _refuse_all_but_the_front(self) -> None:
        # A proxy of the site's own has no such token, and leads to no port.
        token = getattr(self.proxy, "auth_token", "")
        shown = self.request.headers.get(FRONT_HEADER, "")
        if not token or not compare_digest(shown.encode(), token.encode()):
            raise web.HTTPError(
                403, "Only the hub's own front may ask this. Open the address of the port itself."
            )

    async def _choose_way(self, spawner: Any, port: int) -> str:
        note_opened(self.settings, spawner)
        host, command = urlsplit(spawner.server.url).hostname, find_start_command(spawner, port)
        return await find_ways(self.settings).choose(host, port, list_relay_keys(spawner), command)

    def _read_port(self) -> int | None:
        said = self.get_query_argument("port", None)
        try:
            return None if said is None else parse_port(said)
        except ValueError as error:
            raise web.HTTPError(400, f"The port {error}") from None

    def _find_spawner(self) -> Any:
        user: Any = self.find_user(self.get_query_argument("user", ""))
        name = self.get_query_argument("server", "")
        if user is None or name not in user.orm_spawners:
            raise web.HTTPError(403, "There is no such workspace.")
        spawner = user.spawners[name]
        if not spawner.ready:
            raise web.HTTPError(503, "This workspace is not running, or not yet.")
        return spawner

    async def _recognize(self, spawner: Any, port: int | None) -> Known:
        is_open = port is None or has_tools(spawner)
        if self.current_user is not None:
            return await self._recognize_token(self.current_user, spawner, port, is_open)
        row = find_row(self, spawner)
        if row is None:
            raise web.HTTPError(401, "Nobody is known who asks for this port.")
        if is_open and await may_come_in(self.authenticator, row.user, spawner):
            return Known("cookie", row.user.name, row.expires_at)
        end = await find_port_end(self.authenticator, row.user, spawner, port)
        if end is None:
            raise web.HTTPError(403, "This person does not reach this port of this workspace.")
        return Known("cookie", row.user.name, min(row.expires_at, end))

    async def _recognize_token(
        self, asking: Any, spawner: Any, port: int | None, is_open: bool
    ) -> Known:
        token, is_person = self.get_token(), isinstance(asking, User)
        expires_at = token.expires_at if token is not None else None
        if is_open and self.has_scope(f"access:servers!server={spawner.user.name}/{spawner.name}"):
            return Known("token" if is_person else "service", asking.name, expires_at)
        # No scope names a port: it takes a token with all that its owner may.
        end = None
        if is_person and token is not None and "inherit" in token.scopes:
            end = await find_port_end(self.authenticator, asking.orm_user, spawner, port)
        if end is None:
            raise web.HTTPError(403, "This token does not open this port of this workspace.")
        return Known("token", asking.name, min(expires_at or end, end))


HANDLERS: list[tuple[Any, ...]] = [(r"/api/mlhub/tools", CheckHandler)]
