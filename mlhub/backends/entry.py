"""What the SSH side of every spawner shares: whether there is one, and the host identity of a workspace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import List, Unicode
from traitlets.config import LoggingConfigurable

from mlhub.workspace.alias import list_suffixes, make_alias
from mlhub.workspace.ssh import AUTHORITY_FILE, Authority, HostIdentity

if TYPE_CHECKING:
    _Base = Any
else:
    # Not Spawner itself, which would refuse a class without start().
    _Base = LoggingConfigurable


class SshEntry(_Base):
    """Give a spawner its SSH side; put a backend's own one before the spawner class."""

    ssh_folder = Unicode(
        "", config=True, help="Directory of the certificate authority that signs host keys. Empty: no SSH into workspaces."
    )
    ssh_hostnames = List(Unicode(), config=True, help="Names under which people reach this hub; host certificates hold names made of them.")

    @property
    def wants_bundle(self) -> bool:
        """Tell whether SSH is to be brought into this workspace, because its image has none of its own."""
        return bool(self.ssh_folder) and not self._image_settings.ssh_port

    @property
    def brings_sshd(self) -> bool:
        """Tell whether people enter by the image's own sshd."""
        return bool(self.ssh_folder and self._image_settings.ssh_port)

    async def make_host(self) -> HostIdentity:
        """Make the host key and certificate of one start, for all names under which people reach the workspace."""
        suffixes = list_suffixes(self.hub_name, self.ssh_hostnames)
        names = [self.workspace_name, *(make_alias(self.user.name, self.name, suffix) for suffix in suffixes)]
        authority = Authority(await asyncio.to_thread((Path(self.ssh_folder) / AUTHORITY_FILE).read_bytes))
        return authority.make_host(names, datetime.now(UTC))
