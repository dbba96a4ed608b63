"""Shared ports for programs.

=======  ==============================================  =========================================
GET      ``users/{user}/servers/{server}/port-shares``  to whom which port is open
POST     the same                                       ``{"port": 8501, "user": "ben", "days": 7}``
DELETE   ``…/port-shares/{number}``                     take one back
GET      ``users/{user}/port-shares``                   ports of others that are open to a person
=======  ==============================================  =========================================

``server`` is the default workspace, as in JupyterHub's own API.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import WorkspaceError
from mlhub.tools.sharing_pages import share_port
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.port_sharing import (
    GivenPort,
    describe,
    list_given_ports,
    take_back_port,
    tell_port,
)
from mlhub.workspaces.published import list_ports_and_apps
from mlhub.workspaces.sharing import find_shareable, find_whom


class PortSharesHandler(MLHubAPIHandler):
    """The ports of one workspace that are shared; takes ``access:servers`` and ``servers`` too, of
    another's ``shares``.
    """

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send to whom which port is open."""
        spawner = find_shareable(self, user_name, server_name)
        self.answer([_write(each) for each in list_given_ports(self.db, spawner.orm_spawner)])

    @needs_scope("read:servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Open a port to the person or the group that the body names, for some days."""
        spawner = find_shareable(self, user_name, server_name)
        body = self.read_body("port", "user", "group", "days")
        name, group = body.get("user") or "", body.get("group") or ""
        with self.friendly_errors():
            if not isinstance(name, str) or not isinstance(group, str) or (name and group):
                raise WorkspaceError('Name one: "user" or "group".')
            whom = find_whom(self, spawner, name, group)
            share = share_port(self, spawner, body.get("port"), whom, str(body.get("days", "")))
            self.answer(_write(describe(share)), 201)


class PortShareHandler(MLHubAPIHandler):
    """One share of a port; takes the same."""

    @needs_scope("read:servers")
    async def delete(self, user_name: str, number: str, server_name: str = "") -> None:
        """Take it back; what is open by it ends."""
        spawner = find_shareable(self, user_name, server_name)
        given = take_back_port(self.db, spawner.orm_spawner, int(number))
        if given is None:
            raise web.HTTPError(404, "There is no such share of a port.")
        self.told = tell_port(given)
        self.set_status(204)


class ReceivedPortsHandler(MLHubAPIHandler):
    """The ports of other people's workspaces that are open to one person."""

    @needs_scope("read:users:shares")
    async def get(self, user_name: str) -> None:
        """Send the list."""
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such person.")
        found = list_ports_and_apps(user, self.users, self.hub.base_url)
        names = ("owner", "server", "port", "name", "url", "app", "app_url")
        self.answer(
            [
                {name: getattr(each, name) for name in names}
                | {"running": each.is_running, "until": _tell_moment(each.until)}
                for each in found
            ]
        )


def _write(given: GivenPort) -> dict[str, Any]:
    return {
        "id": given.number,
        "port": given.port,
        given.kind: given.name,
        "until": _tell_moment(given.until),
    }


def _tell_moment(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='seconds')}Z"


_PERSON = r"/api/users/(?P<user_name>[^/]+)"
_SERVERS = (rf"{_PERSON}/server", rf"{_PERSON}/servers/(?P<server_name>[^/]*)")
HANDLERS: list[tuple[Any, ...]] = [
    *((rf"{server}/port-shares", PortSharesHandler) for server in _SERVERS),
    *((rf"{server}/port-shares/(?P<number>\d{{1,9}})", PortShareHandler) for server in _SERVERS),
    (rf"{_PERSON}/port-shares", ReceivedPortsHandler),
]
