"""What the owner of a key may enter at this moment: one look into the hub's own memory and tables.

Invariants: nothing here asks a workspace or an engine, and the cost does not grow with users or
workspaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlhub.signin.authorization import is_authorized
from mlhub.ssh.access import find_ssh, has_ssh, list_shared, may_enter
from mlhub.ssh.keys import SshKey, SshKeys
from mlhub.ssh.other_keys import KeyFile, WorkspaceKeys, list_ready
from mlhub.workspaces.port import Address


@dataclass(frozen=True)
class Target:
    """Name a workspace and where its sshd answers."""

    owner: str
    server: str
    address: Address

    @property
    def name(self) -> str:
        """The workspace as ``owner/server``, as JupyterHub writes it."""
        return f"{self.owner}/{self.server}"


@dataclass(frozen=True)
class AuthorizedKey:
    """Somebody with a key that opens.

    Who it is, the key as one plain line, and what it opens now.
    """

    user: str
    key_name: str
    line: str
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Filter:
    """Narrow what may be entered.

    ``SSH_PERMIT_TARGET_HOST`` and ``SSH_PERMIT_TARGET_PORT`` say how.
    """

    host: str = "*"
    port: str = "*"

    def allows(self, address: Address) -> bool:
        """Return True if an address passes; the host is a shell pattern, the port a number or
        ``*``.
        """
        return fnmatchcase(address.host, self.host) and self.port in ("*", str(address.port))


class Grants:
    """Answer for the keys of one hub. ``users`` is JupyterHub's own dictionary of users."""

    def __init__(
        self, users: Any, authenticator: Any, keys: SshKeys, target_filter: Filter, socket: str
    ) -> None:
        self.users, self.authenticator, self.keys = users, authenticator, keys
        self.filter, self.socket = target_filter, socket
        self.key_file: KeyFile | None = None
        self.workspace_keys: WorkspaceKeys | None = None

    @property
    def is_learning(self) -> bool:
        """Return True if more keys may soon be known: a hub that was just started asks the
        workspaces for theirs.
        """
        return self.workspace_keys is not None and not self.workspace_keys.has_asked

    async def find_key(self, fingerprint: str) -> SshKey | None:
        """Return a registered key whose owner could sign in now."""
        key = self.keys.find(fingerprint)
        return (
            key if key is not None and await is_authorized(self.authenticator, key.user) else None
        )

    async def find_authorized_key(self, fingerprint: str) -> AuthorizedKey | None:
        """Return who comes with a key, and what it opens now; None where it opens nothing."""
        registered = self.keys.find(fingerprint)
        if registered is None:
            return self._find_other(fingerprint)
        if not await is_authorized(self.authenticator, registered.user):
            return None
        return AuthorizedKey(
            registered.user.name, registered.name, registered.line, self._list_targets(registered)
        )

    async def make_line(self, fingerprint: str) -> str:
        """Make the line of authorized_keys for a key, or "" where nobody may come in with it."""
        authorized = await self.find_authorized_key(fingerprint)
        if authorized is None:
            return ""
        options = ["restrict", f'command="{self.socket} {fingerprint}"']
        if permits := [
            f'permitopen="{target.address.host}:{target.address.port}"'
            for target in authorized.targets
        ]:
            options += ["port-forwarding", *permits]
        return f"{','.join(options)} {authorized.line}\n"

    def find_target(self, spawner: Any) -> Target | None:
        """Return where a workspace is entered, or None where it does not run, or may not be entered
        by anybody.
        """
        ssh = find_ssh(spawner) if spawner.ready else None
        address = ssh.address if ssh is not None else None
        if address is None or not has_ssh(spawner) or not self.filter.allows(address):
            return None
        return Target(spawner.user.name, spawner.name, address)

    def find_spawner(self, owner: str, server: str) -> Any | None:
        """Return the spawner of a workspace that exists, running or not; never make one up."""
        try:
            user = self.users[owner]
        except KeyError:
            return None
        return user.spawners[server] if not server or server in user.orm_spawners else None

    async def may_enter(self, key: SshKey, spawner: Any) -> bool:
        """Return True if a key opens a workspace, and its owner may enter that."""
        if not key.opens(spawner.user.name, spawner.name):
            return False
        return await may_enter(self.authenticator, key.user, spawner)

    def _list_targets(self, key: SshKey) -> tuple[Target, ...]:
        # Whoever is not in this dictionary has nothing running.
        own = self.users[key.user].spawners.values() if key.user in self.users else ()
        shared = (self.find_spawner(owner, server) for owner, server in list_shared(key.user))
        found = [*own, *(spawner for spawner in shared if spawner)]
        return self._make_targets([each for each in found if key.opens(each.user.name, each.name)])

    def _make_targets(self, spawners: Any) -> tuple[Target, ...]:
        return tuple(target for spawner in spawners if (target := self.find_target(spawner)))

    def _find_other(self, fingerprint: str) -> AuthorizedKey | None:
        if self.workspace_keys and (found := self.workspace_keys.find(fingerprint)):
            key, spawners = found
            return AuthorizedKey(
                spawners[0].user.name, "the workspace's own", key.line, self._make_targets(spawners)
            )
        if self.key_file and (kept := self.key_file.find(fingerprint)):
            return AuthorizedKey(
                f"{kept.comment or 'no name'} (MANUAL_AUTH_FILE)",
                "",
                kept.line,
                self._make_targets(list_ready(self.users)),
            )
        return None
