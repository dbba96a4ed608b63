"""What belongs to one hub in memory, and how it fails on demand."""

from __future__ import annotations

from collections.abc import Mapping

from mlhub.backends.fake.server import Servers
from mlhub.backends.memory import MemoryBackend
from mlhub.errors import (
    CapacityError,
    ImageError,
    MLHubError,
    WorkspaceDiedError,
)
from mlhub.identity import Identity
from mlhub.policy.disk import Taken
from mlhub.texts import Text
from mlhub.workspaces.holder import LABEL_PERSON


class FakeBackend(MemoryBackend):
    """Keep the workspaces, volumes, networks and images of one hub in memory."""

    def __init__(self, hub_name: str = "mlhub") -> None:
        super().__init__(hub_name)
        # The newest version of each image, and that of which each workspace was made.
        self.versions: dict[str, int] = {}
        self.made_from: dict[Identity, tuple[str, int]] = {}
        self.updates_due: set[Identity] = set()
        self._broken: set[tuple[str, int]] = set()
        self._failures: dict[str, MLHubError] = {}
        # Bytes that volumes take, by name.
        self.sizes: Mapping[str, int] = {}

    # what tests do to it

    def publish(self, image: str, *, is_broken: bool = False) -> None:
        """Make a newer version of an image, one that ends before it answers where it is broken."""
        self.versions[image] = self.find_version(image) + 1
        if is_broken:
            self._broken.add((image, self.versions[image]))

    def fail_next(self, call: str, error: MLHubError) -> None:
        """Have the next call of one method of the port, or of ``start`` and ``stop``, fail."""
        self._failures[call] = error

    # images

    def find_version(self, image: str) -> int:
        """Return the newest version of an image."""
        return self.versions.get(image, 1)

    def is_old(self, identity: Identity) -> bool:
        """Return True if a workspace was made from another version than the newest one."""
        image, version = self.made_from.get(identity, ("", 1))
        return version != self.find_version(image)

    # what it does in place of a real one

    async def measure_disk(self) -> list[Taken]:
        await self.check("measure_disk")
        return [
            Taken(
                volume.user,
                volume.server or "",
                volume.labels.get(LABEL_PERSON, ""),
                self.sizes.get(volume.name, 0),
                volume.trashed_at is not None,
            )
            for volume in self.volumes.values()
        ]

    async def check(self, call: str) -> None:
        """Fail as a test wants it."""
        if error := self._failures.pop(call, None):
            raise error
        await super().check(call)

    async def launch(
        self, identity: Identity, image: str, environment: dict[str, str], volume: str
    ) -> Servers:
        """Answer as a workspace of an image does, which keeps the version that it was made from
        until an update is due; one that does not start leaves that as it was.
        """
        made_from = self.made_from.get(identity) if identity in self.records else None
        if made_from is None or made_from[0] != image or identity in self.updates_due:
            made_from = (image, self.find_version(image))
        self.updates_due.discard(identity)
        _check_image(image)
        if image == "fake/dies" or made_from in self._broken:
            raise WorkspaceDiedError(
                Text(
                    "The workspace ended before it answered. Its last lines were:\nfake:"
                    " cannot start"
                )
            )
        self.made_from[identity] = made_from
        servers = Servers(image, {**environment, "FAKE_VERSION": str(made_from[1])})
        await servers.start()
        return servers


def _check_image(image: str) -> None:
    if image == "fake/missing":
        raise ImageError(
            Text(
                "The image %(image)s cannot be pulled. Check its name and the registry's access.",
                image=repr(image),
            )
        )
    if image == "fake/full":
        raise CapacityError(
            Text("The Docker host has no disk space left. Ask your administrator to free some.")
        )
