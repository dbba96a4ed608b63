"""One SSH session, as the bastion's program tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlhub.ssh.grants import AuthorizedKey


@dataclass
class Session:
    """One connection that sshd has let in. ``pid`` is its process, ``source`` the client as sshd
    sees it, ``address`` as it is.

    ``bastion`` is the name of one in a container of its own, which may be one of several while it
    is replaced; else "".
    """

    bastion: str
    pid: int
    source: str
    port: int
    fingerprint: str
    at: float
    address: str
    user: str = ""
    workspaces: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    spawners: list[Any] = field(default_factory=list)

    def learn(self, authorized: AuthorizedKey) -> None:
        """Take over who it is, and what is open to them."""
        self.user = authorized.user
        self.names = {
            f"{target.address.host}:{target.address.port}": (target.owner, target.server)
            for target in authorized.targets
        }

    @property
    def name(self) -> int | str:
        """What the audit calls it."""
        return f"{self.bastion}:{self.pid}" if self.bastion else self.pid
