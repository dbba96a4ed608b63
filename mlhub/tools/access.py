"""Which workspaces have their ports behind the hub's check, and who gets there.

Invariants: as by SSH, whoever may enter a workspace reaches its ports. Somebody else reaches a port
that its owner has shared with them, and no other one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.orm import object_session

from mlhub.signin.authorization import is_authorized
from mlhub.ssh.access import may_access
from mlhub.tools.ports import OURS
from mlhub.workspaces import tools
from mlhub.workspaces.port_sharing import find_end, may_share_ports
from mlhub.workspaces.published import find_app_at, may_publish
from mlhub.workspaces.spawner import find_workspace
from mlhub.workspaces.tools import find_declared

# Keys of what is said of a route (resources/router/tools.lua).
ROUTE_FLAG = "tools"
WEB = "web"
# Where nothing answers (resources/router/front.lua).
NOWHERE = "http://127.0.0.1:1"
# Among the hub's settings: the servers (by number) of which somebody was let into a port.
OPENED = "mlhub_opened_ports"


def has_tools(spawner: Any) -> bool:
    """Return True if the site's policy, as it is now, opens the ports of a workspace to those who
    may enter it.
    """
    workspace = find_workspace(spawner)
    return workspace is not None and tools.has_tools(workspace)


async def may_come_in(authenticator: Any, person: Any, spawner: Any) -> bool:
    """Return True if a person (``orm.User``) may enter a spawner's workspace now."""
    if not may_access(person, spawner.user.name, spawner.name):
        return False
    return await is_authorized(authenticator, person)


def is_programs_own(spawner: Any, port: int) -> bool:
    """Return True if a port is a program's: not that of the workspace's own server, whose part is
    the whole of it, nor of what the hub brings.
    """
    server = spawner.server
    return port not in OURS and not (server is not None and port == server.port)


async def find_port_end(
    authenticator: Any, person: Any, spawner: Any, port: int | None
) -> datetime | None:
    """Return until when a port of a workspace is open to a person (``orm.User``) because it is
    shared with them; None where it is not.
    """
    if port is None or not is_programs_own(spawner, port) or not may_share_ports(spawner):
        return None
    end = find_end(object_session(person), person, spawner.orm_spawner, port)
    if end is None or not await is_authorized(authenticator, person):
        return None
    return end


def note_opened(settings: dict[str, Any], spawner: Any) -> None:
    """Note that somebody was let into a port of a workspace."""
    settings.setdefault(OPENED, set()).add(spawner.orm_spawner.id)


def find_start_command(spawner: Any, port: int) -> str:
    """Return the command that starts what the site has declared at a port, or its owner has
    published there; "" where there is none.
    """
    tool = find_declared(spawner, port)
    if tool is not None and tool.start:
        return tool.start
    row = spawner.orm_spawner
    app = find_app_at(object_session(row), row, port)
    return app.command if app is not None and app.command and may_publish(spawner) else ""


def list_relay_keys(spawner: Any) -> list[str]:
    """List the keys that the relay of a workspace may have, the likeliest first; none where the hub
    brings no relay.
    """
    workspace = find_workspace(spawner)
    ssh = workspace.ssh if workspace is not None else None
    return ssh.relay_keys if ssh is not None else []


async def is_at_its_route(spawner: Any) -> bool:
    """Return True if a workspace is where its route leads. One that ended without a word may have
    left its address to another one.
    """
    workspace = find_workspace(spawner)
    url = await workspace.find_url() if workspace is not None else None
    return url is not None and urlsplit(url).netloc == urlsplit(spawner.server.url).netloc


def is_web(spawner: Any) -> bool:
    """Return True if a workspace is a web server that does not check who asks."""
    workspace = find_workspace(spawner)
    return workspace is not None and workspace.is_web


def describe_route(
    users: Any, target: str, data: dict[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """Return where a route leads, and what is said of it: ``data``, which JupyterHub says, and
    whether it leads to a workspace whose ports are behind the check.

    The route of a workspace that is behind the check as a whole leads nowhere, and its address is
    in what is said: a proxy that knows nothing of the check leads nobody there.
    """
    user = users.get(data["user"]) if data and "user" in data else None
    spawner: Any = user.spawners.get(data.get("server_name", "")) if user and data else None
    workspace = find_workspace(spawner)
    # The policy has its say at each request, and may say something else by then.
    is_open = (
        workspace is not None
        and tools.may_have_tools(workspace)
        and spawner.server is not None
        and spawner.server.host == target
    )
    said = {**(data or {}), ROUTE_FLAG: True} if is_open else dict(data or {})
    if workspace is not None and workspace.is_web:
        said[WEB] = {"target": target, "absolute": workspace.hears_whole_address}
        target = NOWHERE
    return target, said


def read_target(route: dict[str, Any]) -> str:
    """Return where a route leads, whether or not the check stands before it."""
    said = route["data"].get(WEB)
    return str(said["target"] if said else route["target"])
