"""The port: what pages, SSH and the removal of people may ask of a workspace, and of the place
where workspaces run.

Invariants: every backend behaves as written here (tests/contract runs one suite against all).
Only objects whose labels name this hub are ever listed, returned or removed. A site may configure a
spawner class that is none of ours: ``find_workspace`` (mlhub/workspaces/spawner.py) tells.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NotRequired, Protocol, TypedDict

from mlhub.identity import HostIdentity, Identity
from mlhub.options.images import DeclaredTool
from mlhub.policy.disk import Taken
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.policy.model import Person
from mlhub.workspaces.hub_state import Site
from mlhub.workspaces.measures import Use


class Kind(StrEnum):
    """Kind of an object that workspaces leave behind."""

    WORKSPACE = "workspace"
    VOLUME = "volume"
    NETWORK = "network"


class Reason(StrEnum):
    """Why something is in the trash; the values are words on Kubernetes, too."""

    DELETED = "deleted"  # its workspace was deleted
    PERSON_DELETED = "person-deleted"
    EXPIRED = "expired"
    NAME_TAKEN = "name-taken"  # somebody else has the name of whoever it was made for
    ORPHANED = "orphaned"  # the hub knew neither its user nor its server
    UNKNOWN = ""  # an older version put it there


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
        """When the workspace expires as its labels tell, or None for never; ``find_expiry`` knows
        whether that was put off.
        """
        value = self.labels.get(LABEL_EXPIRES, "")
        return int(value) or None if value.isdecimal() else None


def find_expiry(workspace: Workspace, state: Mapping[str, Any] | None) -> int | None:
    """Return when a workspace expires, or None for never.

    ``state`` is its spawner's as the hub's database keeps it, None where there is none. The
    database has the last word, because not every place can change a label: the label alone counts
    where the database was lost.
    """
    kept = (state or {}).get("expires_at")
    return workspace.expires_at if kept is None else int(kept) or None


@dataclass(frozen=True)
class Resource:
    """One object on the backend. ``server`` is None for what all workspaces of a user share;
    ``trashed_because`` tells why something is in the trash.
    """

    kind: Kind
    name: str
    user: str
    server: str | None
    created_at: float
    trashed_at: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    trashed_because: Reason = Reason.UNKNOWN


@dataclass(frozen=True)
class Recipient:
    """Whom something of the trash is given to: a workspace, and who holds its user's name
    (``Holder.label``).
    """

    identity: Identity
    person: str


class Backend(Protocol):
    """List and remove what belongs to one hub. Raises ``BackendError`` where the place does not
    answer.
    """

    @abstractmethod
    async def list_workspaces(self, user: str | None = None) -> list[Workspace]:
        """List workspaces, stopped ones too, of one user or of all, in the order of their names.

        A workspace is there as long as it has data that is not in the trash.
        """

    @abstractmethod
    async def list_resources(self, user: str | None = None) -> list[Resource]:
        """List every object of one user or of all, what is in the trash too, in the order of
        users and servers.
        """

    @abstractmethod
    async def remove(self, resource: Resource, reason: Reason = Reason.DELETED) -> None:
        """Remove one object; what is already gone is no error.

        A volume with data goes to the trash, for this reason; a volume that is in the trash goes
        for good, unless it was taken out since it was listed. Raises ``VolumeInUseError`` where
        what is to go for good is used by a workspace that runs.
        """

    @abstractmethod
    async def restore(self, resource: Resource, to: Recipient | None = None) -> None:
        """Take a volume out of the trash; one that is not in it stays as it is.

        With ``to`` it is another workspace's, or another person's, from then on: whoever it was
        made for neither gets it nor loses what they have made since.

        Raises ``VolumeGoneError`` where it is gone, ``NameTakenError`` where the workspace has
        another one by now, ``VolumeInUseError`` where somebody else is to get what a running
        workspace uses.
        """

    @abstractmethod
    async def address(self, identity: Identity) -> Address | None:
        """Return where a workspace answers HTTP now, or None where it does not run."""

    @abstractmethod
    async def delete_workspace(self, identity: Identity, reason: Reason = Reason.DELETED) -> None:
        """Remove a workspace for good: its data goes to the trash, for this reason; what nobody
        uses any more goes with it.
        """

    async def measure_disk(self) -> list[Taken] | None:
        """Tell what each thing of the hub's takes of the disk, what is in the trash too; None where
        the place cannot tell. It may take minutes.
        """
        return None


class ImageInfo(TypedDict):
    """What is known of an image; ``update_available`` None: only the place itself would know."""

    reference: str
    update_available: bool | None
    id: NotRequired[str]
    created: NotRequired[str]


class SshAccess(Protocol):
    """How people enter one workspace by SSH."""

    @property
    def address(self) -> Address | None:
        """Where the bastion reaches the workspace's sshd; None where none runs."""

    @property
    def trouble(self) -> str:
        """What keeps the sshd from coming up, as far as the workspace has said; else ""."""

    @property
    def relay_keys(self) -> list[str]:
        """The keys that the relay may have, the one that it is started with first."""

    async def ensure(self) -> Address | None:
        """Make sure that the sshd answers; return where, or None where the hub does not answer for
        it. Raises ``BackendError`` with a sentence where it does not answer.
        """

    async def read_file(self, path: str, size: int) -> str:
        """Read the first ``size`` bytes of a file inside the workspace. Raises ``BackendError``."""

    # of a workspace that fetches its SSH server from the hub

    @property
    def wants_bundle(self) -> bool:
        """Return True if SSH is brought into this workspace, because its image has none."""

    @property
    def next_bundle_at(self) -> float:
        """When, by the monotonic clock, the workspace may fetch it again."""

    @next_bundle_at.setter
    def next_bundle_at(self, at: float) -> None: ...

    def note_trouble(self, text: str) -> bool:
        """Remember what the workspace says went wrong; return True if that is new."""

    async def make_host(self) -> HostIdentity:
        """Make the host key and certificate of one start."""


class WorkspaceSpawner(Protocol):
    """One workspace: what may be asked of it from outside, beside what JupyterHub asks."""

    name: str
    user: Any

    @property
    def expires_at(self) -> int | None:
        """When the workspace expires, in seconds since the epoch; 0 is for ever."""

    @property
    def ready(self) -> bool:
        """Return True if JupyterHub believes that the workspace runs and answers."""

    @property
    def identity(self) -> Identity:
        """Identity of this workspace."""

    @property
    def workspace_name(self) -> str:
        """Name of the container, pod or job."""

    @property
    def site(self) -> Site:
        """What all spawners of this hub share, the policy among it."""

    @property
    def backend(self) -> Backend:
        """The place where this hub's workspaces run."""

    @property
    def ssh(self) -> SshAccess | None:
        """How people enter by SSH; None where nobody does."""

    @property
    def has_own_address(self) -> bool:
        """Return True if no port of the workspace's address is anybody else's."""

    @property
    def declared_tools(self) -> tuple[DeclaredTool, ...]:
        """The programs that are known to be in the image."""

    async def find_url(self) -> str | None:
        """Return where the workspace answers now, as far as that is known without asking far."""

    is_web: bool  # the image asks nobody who is there
    hears_whole_address: bool  # of a web image

    @property
    def answers_tools(self) -> bool:
        """Return True if the image answers ``/tools`` by itself."""

    @property
    def belief_seconds(self) -> float:
        """For how long the workspace may believe what the hub said about somebody."""

    async def measure_use(self) -> Use | None:
        """Tell what it takes now; None where it does not run, or where the place cannot tell."""

    def make_person(self, *, counts_grant: bool = True) -> Person:
        """Tell whose rules hold."""

    def make_labels(self) -> dict[str, str]:
        """Make the labels of the workspace's own objects."""

    async def prepare_hub(self) -> None:
        """Make the backend ready, once, at the hub's start; this spawner belongs to nobody."""

    async def describe_image(self) -> ImageInfo:
        """Tell which image the workspace has, and whether there is a newer one."""

    async def find_update(self) -> str | None:
        """Tell where a newer image is: "local", "registry", or None where none is known."""

    async def begin_update(self) -> None:
        """Have the next start take the newer image. Raises ``WorkspaceError`` without one."""

    async def note_expiry(self) -> None:
        """Write a changed ``expires_at`` where the workspace runs, as far as that can be."""

    async def delete_forever(self) -> None:
        """Remove the workspace; its data goes to the trash."""
