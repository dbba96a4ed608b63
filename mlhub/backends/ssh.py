"""What the SSH side of every spawner shares: whether there is one, the host identity of a
workspace, and that an sshd which has just answered is not looked at again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import List, Unicode
from traitlets.config import LoggingConfigurable

from mlhub.backends.background import Once
from mlhub.errors import BackendError
from mlhub.identity import HostIdentity
from mlhub.ssh.alias import list_suffixes, make_alias
from mlhub.ssh.authority import AUTHORITY_FILE, Authority
from mlhub.ssh.relay import list_keys
from mlhub.workspaces.port import Address, SshAccess

# An sshd that answered so recently is not looked at again at each login.
TRUSTED_SECONDS = 30.0

if TYPE_CHECKING:
    _Base = Any
else:
    # Not Spawner itself, which would refuse a class without start().
    _Base = LoggingConfigurable


@dataclass
class EntrySsh:
    """The SSH side of one spawner as others see it (``SshAccess``)."""

    spawner: SshEntry

    @property
    def address(self) -> Address | None:
        return self.spawner.ssh_address

    @property
    def trouble(self) -> str:
        return self.spawner.find_ssh_trouble()

    @property
    def relay_keys(self) -> list[str]:
        return self.spawner.list_relay_keys()

    async def ensure(self) -> Address | None:
        return await self.spawner.ensure_ssh()

    async def read_file(self, path: str, size: int) -> str:
        return await self.spawner.read_file(path, size)

    @property
    def wants_bundle(self) -> bool:
        return self.spawner.wants_bundle

    @property
    def next_bundle_at(self) -> float:
        return self.spawner.next_bundle_at

    @next_bundle_at.setter
    def next_bundle_at(self, at: float) -> None:
        self.spawner.next_bundle_at = at

    def note_trouble(self, text: str) -> bool:
        is_new, self.spawner.ssh_trouble = text != self.spawner.ssh_trouble, text
        return is_new

    async def make_host(self) -> HostIdentity:
        return await self.spawner.make_host()


class SshEntry(_Base):
    """Give a spawner its SSH side; put a backend's own one before the spawner class."""

    ssh_folder = Unicode(
        "",
        config=True,
        help=(
            "Directory of the certificate authority that signs host keys. Empty: no SSH into"
            " workspaces."
        ),
    )
    ssh_hostnames = List(
        Unicode(),
        config=True,
        help="Names under which people reach this hub; host certificates hold names made of them.",
    )

    # Of a workspace that fetches its SSH server by itself (mlhub/ssh/bundle.py): when it may do so
    # again, and what it says went wrong the last time.
    next_bundle_at = 0.0
    ssh_trouble = ""
    _sshd: tuple[str, Once[Address | None]] | None = None

    @property
    def ssh(self) -> SshAccess | None:
        """How people enter the workspace by SSH; None where the site has none."""
        return EntrySsh(self) if self.ssh_folder else None

    # what a backend implements

    @property
    def ssh_address(self) -> Address | None:
        """Where the bastion reaches this workspace's sshd, or None where it has none."""
        return None

    @property
    def made_for(self) -> str:
        """For whom what runs was made (``Holder.label``); "" where nothing does, or tells."""
        return ""

    async def read_file(self, path: str, size: int) -> str:
        """Read the start of a small file inside the workspace. Raises ``BackendError``."""
        raise BackendError(f"The hub cannot read {path} inside a workspace here.")

    # what all have

    @property
    def wants_bundle(self) -> bool:
        """Return True if SSH is to be brought into this workspace, because its image has none of
        its own.
        """
        return bool(self.ssh_folder) and not self._image_settings.ssh_port

    @property
    def brings_sshd(self) -> bool:
        """Return True if people enter by the image's own sshd."""
        return bool(self.ssh_folder and self._image_settings.ssh_port)

    async def ensure_ssh(self) -> Address | None:
        """Make sure that the workspace's sshd answers; return where, or None where the hub does not
        answer for it. Raises ``BackendError`` with a sentence where it does not answer.
        """
        run = self.find_sshd_run()
        if run is None:
            return None
        if self._sshd is None or self._sshd[0] != run:
            self._sshd = (run, Once(self.reach_sshd, TRUSTED_SECONDS))
        return await self._sshd[1].get()

    def find_sshd_run(self) -> str | None:
        """Find what the sshd that the hub answers for runs in, by an id that no other run has; None
        where there is no such sshd.
        """
        raise NotImplementedError

    async def reach_sshd(self) -> Address | None:
        """Reach the workspace's sshd, which is started where it has to be, and return where it
        answers. Raises ``BackendError`` with a sentence where that fails.
        """
        raise NotImplementedError

    def find_ssh_trouble(self) -> str:
        """Tell what keeps this workspace's SSH server from coming up, as far as the workspace has
        said; else the empty string.
        """
        return self.ssh_trouble

    async def make_host(self) -> HostIdentity:
        """Make the host key and certificate of one start, for all names under which people reach
        the workspace, and the key of its relay.
        """
        suffixes = list_suffixes(self.hub_name, self.ssh_hostnames)
        names = [
            self.workspace_name,
            *(make_alias(self.user.name, self.name, suffix) for suffix in suffixes),
        ]
        authority = Authority(
            await asyncio.to_thread((Path(self.ssh_folder) / AUTHORITY_FILE).read_bytes)
        )
        relay = next(iter(self.list_relay_keys()), "")
        return replace(authority.make_host(names, datetime.now(UTC)), relay=relay)

    def list_relay_keys(self) -> list[str]:
        """List the keys that the workspace's relay may have, the one that it is started with first;
        none where the hub has no secret to make them of.
        """
        secret = self.user.settings.get("cookie_secret")
        people = (self.holder.label, self.made_for)
        return list_keys(secret, self.user.name, self.name, people) if secret else []
