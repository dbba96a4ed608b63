"""Routes to the hub for stopped workspaces whose owner's default one runs.

``/user/ann/`` leads to ann's default workspace, and with it all addresses below: the bookmark of a
stopped ``work`` would meet a page of another workspace. The hub knows which names are workspaces,
and says there that this one does not run.

Invariants: such a route stands only beside a default workspace that runs; it never takes the place
of one that leads to a workspace; names that are pages of Jupyter's own have none.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from jupyterhub import orm
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import event, select
from sqlalchemy.orm import aliased

from mlhub.workspaces.server_names import TAKEN

# What is said of such a route: its person's number, and the server.
STOPPED = "stopped"


class StoppedRoutesProxy(ConfigurableHTTPProxy):
    """Lead whoever opens a stopped workspace to the hub."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        # By a person's number: servers with a route to the hub, servers with one to themselves.
        self._stopped: defaultdict[int, set[str]] = defaultdict(set)
        self._led: defaultdict[int, set[str]] = defaultdict(set)
        # A person's routes change one at a time, or the hub's could come after a workspace's own.
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._looks: set[asyncio.Task[None]] = set()

    def watch_servers(self, db: Any) -> None:
        """Look again whenever somebody's workspace is made or deleted."""
        event.listen(db, "before_flush", self._notice)

    def _notice(self, session: Any, *_: Any) -> None:
        for row in (*session.new, *session.deleted):
            if isinstance(row, orm.Spawner) and row.name and row.user is not None:
                self._look_soon(row.user.id)

    async def add_user(self, user: Any, server_name: str = "") -> None:
        """Lead people to a workspace that runs."""
        async with self._turns[user.id]:
            await super().add_user(user, server_name)
            self._led[user.id].add(server_name)
            self._stopped[user.id].discard(server_name)
        if not server_name:
            self._look_soon(user.id)

    async def delete_user(self, user: Any, server_name: str = "") -> None:
        """Lead nobody to a workspace any more."""
        number = user.id
        async with self._turns[number]:
            self._led[number].discard(server_name)
            await super().delete_user(user, server_name)
        self._look_soon(number)

    async def check_routes(
        self, user_dict: Any, service_dict: Any, routes: dict[str, Any] | None = None
    ) -> None:
        """Check all routes; JupyterHub takes those to stopped workspaces for stale ones."""
        routes = routes or await self.get_all_routes()
        known = {spec: route["data"].get(STOPPED) for spec, route in routes.items()}
        others = {spec: route for spec, route in routes.items() if not known[spec]}
        if self.app.is_looking:
            # Whose workspace runs is not known yet, and who works there stays led.
            others = {spec: route for spec, route in others.items() if "user" not in route["data"]}
        await super().check_routes(user_dict, service_dict, others)
        self._stopped.clear()
        for number, server in filter(None, known.values()):
            self._stopped[number].add(server)
        for number in {*self._stopped, *self._find_people()}:
            await self._look(number)

    def _find_people(self) -> Iterable[int]:
        """Find whose default workspace runs while another one may not, by one statement."""
        default, other = aliased(orm.Spawner), aliased(orm.Spawner)
        found = (
            select(other.user_id)
            .join(default, default.user_id == other.user_id)
            .where(other.name != "", other.server_id.is_(None))
            .where(default.name == "", default.server_id.is_not(None))
        )
        return self.app.db.scalars(found.distinct()).all()

    def _look_soon(self, number: int) -> None:
        """Look when whatever goes on just now has been written down."""
        if self.app.allow_named_servers:
            look = asyncio.get_running_loop().create_task(self._look_safely(number))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look_safely(self, number: int) -> None:
        try:
            await self._look(number)
        except Exception as error:  # noqa: BLE001 - the proxy may be away; all routes follow then
            self.log.debug("Routes of stopped workspaces are not set yet: %s", error)

    async def _look(self, number: int) -> None:
        """Make one person's routes what they should be."""
        async with self._turns[number]:
            user = dict.get(self.app.users, number)  # whoever is not loaded has nothing that runs
            names = self._list_stopped(user) if user is not None else set()
            stopped = self._stopped[number]
            for server in sorted(names - stopped):
                data = {STOPPED: [number, server]}
                await self.add_route(self._make_spec(user, server), self.hub.host, data)
                stopped.add(server)
            for server in sorted(stopped - names):
                stopped.discard(server)
                if user is not None and not self._is_led(user, server):
                    await self.delete_route(self._make_spec(user, server))

    def _list_stopped(self, user: Any) -> set[str]:
        if not self.app.allow_named_servers or not self._is_led(user, ""):
            return set()
        rows = select(orm.Spawner.name).where(orm.Spawner.user_id == user.id)
        names = set(self.app.db.scalars(rows)) - {"", *TAKEN}
        return {name for name in names if not self._is_led(user, name)}

    def _is_led(self, user: Any, server: str) -> bool:
        """Return True if a route leads to the workspace itself, or may do so."""
        if server in self._led[user.id]:
            return True
        spawner = dict.get(user.spawners, server)
        return spawner is not None and (spawner.ready or spawner.pending == "check")

    @staticmethod
    def _make_spec(user: Any, server: str) -> str:
        return str(url_path_join(user.proxy_spec, url_escape_path(server), "/"))
