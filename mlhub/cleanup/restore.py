"""Bring a hub back from a backup, before its first start.

Invariants: nothing that is there is overwritten, and what was not restored as a whole is not there
at all: the hub's files appear at the end, and volumes that were made are removed where it fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mlhub.backends.volume_archive import KeptVolume, VolumeArchive
from mlhub.cleanup.archive import END, FORMAT, MANIFEST, Reader
from mlhub.cleanup.backup import KEPT, MOUNTED, open_volumes
from mlhub.cleanup.missing import Missing, make_plain
from mlhub.errors import BackendError, BackupError
from mlhub.identity import LABEL_ORIGIN
from mlhub.settings import Settings
from mlhub.variables.files import SIGNS

RESOURCES = "restored-resources"


def restore_backup(settings: Settings, source: BinaryIO, say: Callable[[str], None]) -> None:
    """Read a backup and put back what is in it.

    Raises ``BackupError``, ``NameTakenError`` or ``BackendError``; then nothing was restored.
    """
    data = settings.data_volume_container
    if there := [name for name in SIGNS if (data / name).exists()]:
        raise BackupError(
            f"{data} belongs to a hub already ({', '.join(there)}). Restore into an empty volume,"
            " or move these files away."
        )
    reader = Reader(source)
    manifest = _read_manifest(reader, settings.hub_name)
    archive = open_volumes(settings) if manifest.get("has_volumes") else None
    volumes = _Volumes(reader, settings.hub_name, archive, say)
    folder = Path(tempfile.mkdtemp(prefix=".restoring-", dir=data))
    try:
        _read_members(reader, folder, volumes)
        _put_in_place(folder, data, say)
    except BaseException:
        volumes.remove_made()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Restored: {data}" + (f" and {len(volumes.made)} volumes" if archive else "") + ".")
    if volumes.lacking:
        say(
            "The backup lacks something of these volumes, as is said above:"
            f" {', '.join(volumes.lacking)}. Look for it in an older backup before people go on."
        )


class _Volumes:
    """Make the volumes of a backup, in its order; ``made`` has the names of those that are there
    now, ``lacking`` of those of which the backup has not all. ``_last`` is the one just read.
    """

    def __init__(
        self,
        reader: Reader,
        hub_name: str,
        archive: VolumeArchive | None,
        say: Callable[[str], None],
    ) -> None:
        self._reader, self._hub_name, self._archive, self._say = reader, hub_name, archive, say
        self.count = 0
        self._last = ""
        self.made: list[str] = []
        self.lacking: list[str] = []

    def restore(self, name: str) -> bool:
        """Restore the volume whose description is the current member, or tell what the one before
        lacks; return False if it is neither.
        """
        if self._archive is not None and name == f"volumes/{self.count + 1}.json":
            self._restore_next(self._archive)
        elif self._last and name == f"volumes/{self.count}.missing.json":
            missing = Missing()
            missing.note_all(self._reader.read_json())
            self._reader.next()
            self._say(f"Volume {self.count}: the backup is WITHOUT {missing.describe()}")
            self.lacking.append(self._last)
            self._last = ""
        else:
            return False
        return True

    def _restore_next(self, archive: VolumeArchive) -> None:
        described = self._reader.read_json()
        try:
            volume = KeptVolume(str(described["name"]), dict(described["labels"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BackupError("A volume in the backup is not described as it should be.") from error
        if volume.labels.get(LABEL_ORIGIN) != self._hub_name:
            raise BackupError(f"The volume {volume.name!r} in the backup is of another hub.")
        self.count += 1
        self._reader.next()
        if reason := make_plain(described.get("missing", "")):
            self._say(f"Volume {self.count}: {volume.name} is MISSING in the backup: {reason}")
            self.lacking.append(volume.name)
            self._last = ""
            return
        archive.create(volume)
        self.made.append(volume.name)
        self._reader.copy_volume(self.count, partial(archive.write, volume.name))
        self._say(f"Volume {self.count}: {volume.name}")
        self._last = volume.name

    def remove_made(self) -> None:
        """Remove what was made."""
        for name in self.made:
            with suppress(BackendError):
                assert self._archive is not None
                self._archive.remove(name)


def _read_manifest(reader: Reader, hub_name: str) -> dict[str, Any]:
    if reader.member is None or reader.member.name != MANIFEST:
        raise BackupError("This is no backup of a hub: it does not begin with a description.")
    manifest = reader.read_json()
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError(
            "This backup was made by another version of MLHub, whose form is not known here."
            " Restore it with that version, then upgrade."
        )
    if manifest.get("hub_name") != hub_name:
        raise BackupError(
            f"This is a backup of the hub {manifest.get('hub_name')!r}, and HUB_NAME is"
            f" {hub_name!r}. Volumes and containers carry that name: pass"
            f" --env HUB_NAME={manifest.get('hub_name')}."
        )
    reader.next()
    return manifest


def _read_members(reader: Reader, folder: Path, volumes: _Volumes) -> None:
    """Read everything behind the description."""
    while reader.member is not None:
        name = reader.member.name
        if name == END:
            if reader.read_json() != {"volumes": volumes.count}:
                raise BackupError("The backup is not whole: volumes are missing.")
            return
        if _is_kept(name):
            reader.extract(folder, name)
            reader.next()
        elif not volumes.restore(name):
            raise BackupError(f"{name!r} has no place in a backup of a hub.")
    raise BackupError("The backup is not whole: its end is missing. Was it cut off?")


def _is_kept(name: str) -> bool:
    place, _, rest = name.partition("/")
    if place == "resources":
        return rest in MOUNTED
    return place == "data" and rest.partition("/")[0] in KEPT


def _put_in_place(folder: Path, data: Path, say: Callable[[str], None]) -> None:
    """Move what was read to where the hub looks for it; the database, its sign, comes last."""
    files = sorted((folder / "data").iterdir(), key=lambda path: path.name in SIGNS)
    places = {path: data / path.name for path in files}
    resources = folder / "resources"
    if resources.exists():
        places = {resources: data / RESOURCES, **places}
    if taken := [place.name for place in places.values() if _is_taken(place)]:
        raise BackupError(
            f"In {data} there is something already ({', '.join(taken)}). Restore into an empty"
            " volume, or move these away."
        )
    for path, place in places.items():
        path.rename(place)
    if resources in places:
        say(
            f"The policy and user config of that hub are in {data / RESOURCES}. They take effect"
            " where they are mounted, as before."
        )


def _is_taken(place: Path) -> bool:
    """Return True if something is there; nothing is lost of an empty directory."""
    if place.is_symlink() or not place.is_dir():
        return os.path.lexists(place)
    return any(place.iterdir())
