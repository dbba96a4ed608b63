"""Where a workspace answers now: its address changes with the network of its container or pod, when
a node, an engine or the container itself was restarted.

JupyterHub believes the address of its database, and asks a spawner for another one only when the
hub starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub.utils import url_path_join
from traitlets import default
from traitlets.config import LoggingConfigurable

from mlhub.errors import MLHubError

# A look costs little, and whatever has moved or is gone is told within ten seconds.
POLL_SECONDS = 5

if TYPE_CHECKING:
    _Base = Any
else:
    # Not Spawner itself, which would refuse a class without start().
    _Base = LoggingConfigurable


class AddressMixin(_Base):
    """Have JupyterHub and its proxy follow a workspace to its new address."""

    # Where several workspaces share a machine's address, its ports are not one person's.
    has_own_address = False
    _has_moved = False

    @default("poll_interval")
    def _default_poll_interval(self) -> int:
        return POLL_SECONDS

    async def find_url(self) -> str | None:
        """Return where the workspace answers now; None where that is not known at the moment.

        What a backend implements that knows it without asking.
        """
        address = await self.backend.address(self.identity)
        return None if address is None else self.make_url(f"http://{address.host}:{address.port}")

    def make_url(self, host: str) -> str:
        """Make the URL of a workspace of which ``http://<address>:<port>`` is known."""
        return str(url_path_join(host, self.server.base_url if self.server else "/"))

    async def get_url(self) -> str:
        """Return where the workspace answers; JupyterHub asks when it starts."""
        await self.follow_address()
        return str(self.server.url)

    async def poll_and_notify(self) -> int | None:
        """Look whether the workspace still runs, and where."""
        status: int | None = await super().poll_and_notify()
        if status is None:
            await self.follow_address()
        return status

    async def follow_address(self) -> None:
        """Lead people to where the workspace answers now; what cannot be asked changes nothing."""
        try:
            url = await self.find_url()
        except Exception as error:  # noqa: BLE001 - a place of a site's own raises what it likes
            text = str(error) if isinstance(error, MLHubError) else repr(error)
            self.log.warning("Where %s answers is unknown: %s", self._log_name, text)
            return
        if self.server is None:
            return
        if url and urlsplit(url).netloc != urlsplit(self.server.url).netloc:
            self._note_address(url)
        if self._has_moved and self.ready:
            await self.user.settings["proxy"].add_user(self.user, self.name)
            self._has_moved = False

    def _note_address(self, url: str) -> None:
        self.log.warning(
            "%s answers at %s now, and no longer at %s", self._log_name, url, self.server.url
        )
        parts = urlsplit(url)
        self.server.proto = parts.scheme
        self.server.ip = parts.hostname
        self.server.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.user.db.commit()
        self._has_moved = True
