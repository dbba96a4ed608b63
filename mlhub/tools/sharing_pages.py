"""Open one port of a workspace to somebody: ``POST share-port/{user}[/{server}]``, by the form on
the page that shares the workspace. That page lists such shares too, and takes them back.
"""

from __future__ import annotations

from typing import Any

from mlhub.errors import WorkspaceError
from mlhub.quantities import parse_port
from mlhub.texts import Text, explain
from mlhub.tools.access import is_programs_own
from mlhub.workspaces.port_sharing import PortShare, describe, give_port, may_share_ports, tell_port
from mlhub.workspaces.sharing import read_until
from mlhub.workspaces.sharing_pages import SharePage

REFUSED = Text("This hub's policy does not let ports of this workspace be shared.")


def share_port(handler: Any, spawner: Any, port: Any, whom: Any, days: str) -> PortShare:
    """Open a port to a person or a group, for whoever asks a handler. Raises ``WorkspaceError``."""
    if not may_share_ports(spawner):
        raise WorkspaceError(REFUSED)
    number = read_shared_port(spawner, port)
    by, row = handler.current_user.name, spawner.orm_spawner
    share = give_port(handler.db, row, number, whom, read_until(days), by)
    until = share.expires_at.isoformat(timespec="seconds")
    handler.told = {**tell_port(describe(share)), "until": f"{until}Z"}
    return share


def read_shared_port(spawner: Any, port: Any) -> int:
    """Read the number of a program's port. Raises ``WorkspaceError``."""
    try:
        number = parse_port(port)
    except ValueError as error:
        raise WorkspaceError(
            Text("%(port)s %(problem)s", port=repr(str(port)[:40]), problem=explain(error))
        ) from None
    if not is_programs_own(spawner, number):
        raise WorkspaceError(
            Text(
                "Port %(number)s is the workspace's own server or its SSH. Share the"
                " workspace instead.",
                number=number,
            )
        )
    return number


class SharePortPage(SharePage):
    """Open a port to one more; its address shows the page as that of the workspace does."""

    def act(self, spawner: Any) -> dict[str, Any]:
        """Open it; return what the page says of it."""
        whom, port = self.find_whom(spawner), self.field("port").strip()
        share = share_port(self, spawner, port, whom, self.field("days"))
        return {
            "message": Text("%(name)s reaches port %(port)s now.", name=whom.name, port=share.port),
            "alert": "success",
        }


HANDLERS: list[tuple[Any, ...]] = [
    (r"/share-port/([^/]+)", SharePortPage),
    (r"/share-port/([^/]+)/([^/]+)", SharePortPage),
]
