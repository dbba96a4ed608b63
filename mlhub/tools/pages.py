"""The way into the tools of a workspace for a browser that is not known there yet: to the hub,
which knows it, and back (``GET tools?next=…``); and the page that lists them
(``GET tools/ports?next=…``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from jupyterhub.utils import url_escape_path, url_path_join
from tornado import web

from mlhub.ssh.access import may_access
from mlhub.texts import Text
from mlhub.tools.access import find_port_end, has_tools, is_web, list_relay_keys
from mlhub.tools.ports import Found, name_ports
from mlhub.tools.sessions import open_session
from mlhub.tools.ways import find_ways
from mlhub.web.handlers import MLHubHandler
from mlhub.workspaces.port_sharing import may_share_ports
from mlhub.workspaces.sharing import can_share
from mlhub.workspaces.spawner import find_workspace

# How an address names a port, behind "tools/" and an owner's name and server.
PORT = re.compile(r"(?:absolute/)?([1-9][0-9]{0,4})(?=[/?]|\Z)")


@dataclass(frozen=True)
class Place:
    """An address below the tools of a workspace; ``rest`` is what follows ``tools/``."""

    user: str
    server: str
    rest: str


def read_place(address: str, base_url: str) -> Place | None:
    """Read an address of this hub; None where it is not below a workspace's tools."""
    people = f"{base_url}user/"
    if not address.startswith(people) or "\\" in address:
        return None
    path, mark, query = address.removeprefix(people).partition("?")
    parts = path.split("/")
    for server in ([], parts[1:2]):
        if parts[1 + len(server) : 2 + len(server)] == ["tools"]:
            rest = "/".join(parts[2 + len(server) :]) + mark + query
            return Place(unquote(parts[0]), unquote("".join(server)), rest)
    return None


def read_port(place: Place) -> int | None:
    """Return the port of a place, as the front reads it (resources/router/tools.lua); None where it
    names none.
    """
    found = PORT.match(place.rest)
    port = int(found[1]) if found else 0
    return port if 0 < port < 2**16 else None


def read_web_place(address: str, base_url: str, is_web: Callable[[str, str], bool]) -> Place | None:
    """Read an address of this hub; None where no workspace there is behind the check as a whole."""
    people = f"{base_url}user/"
    if not address.startswith(people) or "\\" in address:
        return None
    path, mark, query = address.removeprefix(people).partition("?")
    parts = path.split("/")
    for server in (parts[1:2], []):
        found = unquote(parts[0]), unquote("".join(server))
        if is_web(*found):
            return Place(*found, "/".join(parts[1 + len(server) :]) + mark + query)
    return None


class PlacePage(MLHubHandler):
    """Base of the pages for an address below the tools of a workspace."""

    async def find_place(self) -> tuple[Place, Any]:
        """Find the place that ``next`` names, and its owner; refuse who may not be there."""
        address = self.get_query_argument("next", "")
        place = read_place(address, self.base_url)
        place = place or read_web_place(address, self.base_url, self._is_web)
        if place is None:
            raise web.HTTPError(404, Text("This address leads to no port of a workspace."))
        user: Any = self.find_user(place.user)
        if not await self.may_be_at(place, user):
            whose = f"“{place.server}” of {place.user}" if place.server else f"{place.user}'s"
            raise web.HTTPError(
                403,
                Text(
                    "You may not enter this workspace (%(whose)s). Ask %(user)s to share"
                    " it with you, or an administrator.",
                    whose=whose,
                    user=place.user,
                ),
            )
        if user is None:
            raise web.HTTPError(404, Text("There is no such workspace."))
        return place, user

    async def may_be_at(self, place: Place, user: Any) -> bool:
        """Return True if whoever asks may be at a place of an owner, who may be None."""
        return may_access(self.current_user.orm_user, place.user, place.server)

    def _is_web(self, user_name: str, server: str) -> bool:
        user: Any = self.find_user(user_name)
        return user is not None and server in user.orm_spawners and is_web(user.spawners[server])


class EnterPage(PlacePage):
    """Give a browser the cookie for the tools of a workspace, and lead it there."""

    entered: tuple[str, str] | None = None

    @web.authenticated
    async def get(self) -> None:
        """Set the cookie, and lead on; say why not."""
        place, user = await self.find_place()
        spawner = user.spawners.get(place.server)
        if spawner is not None and spawner.ready:
            if not is_web(spawner) and not has_tools(spawner):
                raise web.HTTPError(
                    403, Text("The ports of this workspace are closed by the site.")
                )
            open_session(self, spawner)
            self.entered = (place.user, place.server)  # the record tells the owner
            port = read_port(place)
            self.told = {"port": port} if port else {}
        # What is not running says so there.
        host = user.host if self.subdomain_host else ""
        self.set_header("Cache-Control", "no-store")
        self.redirect(f"{host}{self.get_query_argument('next')}")

    async def may_be_at(self, place: Place, user: Any) -> bool:
        """Return True also for somebody with whom the port is shared."""
        if await super().may_be_at(place, user):
            return True
        if user is None or place.server not in user.orm_spawners:
            return False
        spawner, person = user.get_spawner(place.server), self.current_user.orm_user
        return bool(await find_port_end(self.authenticator, person, spawner, read_port(place)))


class PortsPage(PlacePage):
    """List the ports of a workspace at which anything listens."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        place, user = await self.find_place()
        spawner = user.spawners.get(place.server)
        is_running = spawner is not None and spawner.ready
        if is_running and not has_tools(spawner):
            raise web.HTTPError(403, Text("The ports of this workspace are closed by the site."))
        found = await self._find_ports(spawner) if is_running else []
        self.set_header("Cache-Control", "no-store")
        page = await self.render_template(
            "ports.html",
            owner=user,
            server=place.server,
            is_running=is_running,
            found=found,
            may_share=is_running
            and may_share_ports(spawner)
            and can_share(self, place.user, place.server),
        )
        self.finish(page)

    async def _find_ports(self, spawner: Any) -> list[Found]:
        server, keys = urlsplit(spawner.server.url), list_relay_keys(spawner)
        ports = await find_ways(self.settings).list_ports(server.hostname or "", keys)
        workspace = find_workspace(spawner)
        declared = workspace.declared_tools if workspace is not None else ()
        host = spawner.user.host if self.subdomain_host else ""
        path = url_path_join(spawner.user.base_url, url_escape_path(spawner.name), "tools/")
        return name_ports(ports, declared, f"{host}{path}", server.port)


HANDLERS: list[tuple[Any, ...]] = [(r"/tools", EnterPage), (r"/tools/ports", PortsPage)]
