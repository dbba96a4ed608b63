"""The volumes of a hub as a backup reads and writes them, while no hub takes part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

# What is streamed ends with a member of this name, beside the directory, where files could not be
# read: JSON that says how many, and of the first of them what it is and why.
MISSING = "missing.json"


@dataclass(frozen=True)
class KeptVolume:
    """A volume: its name, and the labels by which the hub knows whose it is."""

    name: str
    labels: Mapping[str, str]


class VolumeArchive(Protocol):
    """Read and write whole volumes. Raises ``BackendError`` where the place does not answer, also
    while content is streamed.

    What is streamed is a tar archive whose members lie below one directory; its own entry tells
    owner and mode of the volume's root.
    """

    @abstractmethod
    def list_volumes(self) -> list[KeptVolume]:
        """List all volumes of the hub, those in the trash and what marks them too."""

    @abstractmethod
    def read(self, name: str) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a volume's content. Workspaces that use it are held still for as long.

        Raises ``BackendError`` where it cannot be read or is gone; it is not made anew.
        """

    @abstractmethod
    def create(self, volume: KeptVolume) -> None:
        """Make an empty volume. Raises ``NameTakenError`` where one of that name is there."""

    @abstractmethod
    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Fill a volume with what ``read`` has streamed."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a volume that ``create`` has made just now."""
