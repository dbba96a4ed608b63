"""The port: what pages, bastion and cleanup may ask of the place where workspaces run.

Promise: every backend behaves as written here (tests/contract runs one suite against all).
Only objects whose labels name this hub are ever listed, returned or removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlhub.workspace.expiry import LABEL_EXPIRES
from mlhub.workspace.identity import Identity


class Kind(StrEnum):
    """Kind of an object that workspaces leave behind."""

    WORKSPACE = "workspace"
    VOLUME = "volume"
    NETWORK = "network"


@dataclass(frozen=True)
class Address:
    """Where a running workspace answers HTTP."""

    host: str
    port: int


@dataclass(frozen=True)
class Workspace:
    """One workspace, running or stopped. Times are seconds since the epoch."""

    identity: Identity
    name: str
    image: str
    is_running: bool
    created_at: float
    address: Address | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def expires_at(self) -> int | None:
        """When the workspace expires as its labels tell, or None for never; ``find_expiry`` knows whether that was put off."""
        value = self.labels.get(LABEL_EXPIRES, "")
        return int(value) or None if value.isdecimal() else None


def find_expiry(workspace: Workspace, state: Mapping[str, Any] | None) -> int | None:
    """Return when a workspace expires, or None for never.

    ``state`` is its spawner's as the hub's database keeps it, None where there is none. The database has the last word, because not
    every place can change a label: the label alone counts where the database was lost.
    """
    kept = (state or {}).get("expires_at")
    return workspace.expires_at if kept is None else int(kept) or None


@dataclass(frozen=True)
class Resource:
    """One object on the backend. ``server`` is None for what all workspaces of a user share."""

    kind: Kind
    name: str
    user: str
    server: str | None
    created_at: float
    trashed_at: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Backend(ABC):
    """List and remove what belongs to one hub. Raises ``BackendError`` where the place does not answer."""

    @abstractmethod
    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        """List workspaces, stopped ones too, of one user or of all."""

    @abstractmethod
    async def list_resources(self, user: str | None = None) -> list[Resource]:
        """List every object of one user or of all, what is in the trash too."""

    @abstractmethod
    async def remove(self, resource: Resource) -> None:
        """Remove one object; what is already gone is no error.

        A volume with data goes to the trash; a volume that is in the trash goes for good.
        """

    @abstractmethod
    async def restore(self, resource: Resource) -> None:
        """Take a volume out of the trash. Raises ``NameTakenError`` where its workspace has another one by now."""

    @abstractmethod
    async def address(self, identity: Identity) -> Address | None:
        """Return where a workspace answers HTTP now, or None where it does not run."""

    @abstractmethod
    async def delete_workspace(self, identity: Identity) -> None:
        """Remove a workspace for good: its data goes to the trash, what nobody uses any more goes with it."""
