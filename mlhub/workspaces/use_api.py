"""What a workspace takes, for the page about it and for programs:
``GET users/{user}/server/workspace/use``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.spawner import find_workspace
from mlhub.workspaces.use import SETTING, Point, UseHistory

KNOCK_SECONDS = 1.0


class UseHandler(MLHubAPIHandler):
    """What one workspace takes now and took in the last hour, and which of its ports answer."""

    quiet_statuses = frozenset({200})

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Send it; ``points`` is empty where the place cannot tell."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, "There is no such workspace.")
        spawner = user.get_spawner(server_name)
        workspace: Any = find_workspace(spawner)
        history: UseHistory = self.settings[SETTING]
        with self.friendly_errors():
            points = await history.look(spawner)
            ports = await list_ports(workspace) if workspace is not None and spawner.ready else []
            self.answer(describe_use(workspace, points) | {"ports": ports})


def describe_use(workspace: Any, points: list[Point]) -> dict[str, Any]:
    """Describe the use of a workspace for JSON; what is without limit, or not known, is null."""
    reserved = workspace.reservation if workspace is not None else None
    disk = None
    if workspace is not None and workspace.site.disk.taken is not None:
        disk = workspace.site.disk.sum_by_name(workspace.user.name)
    return {
        "cpu_limit": reserved.cpu_limit if reserved else None,
        "memory_limit": reserved.mem_limit if reserved else None,
        "gpus": reserved.gpus if reserved else None,
        "owner_disk": disk,
        "points": [
            [round(point.at), None if point.cpu is None else round(point.cpu, 3), point.memory]
            for point in points
        ],
    }


async def list_ports(workspace: Any) -> list[dict[str, Any]]:
    """Knock at the ports of a workspace that are known to mean something."""
    url = urlsplit(await workspace.find_url() or "")
    wanted = []
    if url.hostname and url.port:
        wanted.append(("Jupyter", url.hostname, url.port))
        if workspace.has_own_address:
            wanted += [(tool.name, url.hostname, tool.port) for tool in workspace.declared_tools]
    if workspace.ssh is not None and workspace.ssh.address is not None:
        address = workspace.ssh.address
        wanted.append(("SSH", address.host, address.port))
    answers = await asyncio.gather(*(_answers(host, port) for _, host, port in wanted))
    return [
        {"name": name, "port": port, "answers": does}
        for (name, _, port), does in zip(wanted, answers, strict=True)
    ]


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(KNOCK_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


HANDLERS: list[tuple[Any, ...]] = [
    (r"/api/users/([^/]+)/server/workspace/use", UseHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)/workspace/use", UseHandler),
]
