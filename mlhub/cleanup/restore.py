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
    volumes = open_volumes(settings) if manifest.get("has_volumes") else None
    made: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix=".restoring-", dir=data))
    try:
        _read_members(reader, settings.hub_name, folder, volumes, made, say)
        _put_in_place(folder, data, say)
    except BaseException:
        for name in made:
            with suppress(BackendError):
                assert volumes is not None
                volumes.remove(name)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Restored: {data}" + (f" and {len(made)} volumes" if volumes else "") + ".")


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


def _read_members(
    reader: Reader,
    hub_name: str,
    folder: Path,
    volumes: VolumeArchive | None,
    made: list[str],
    say: Callable[[str], None],
) -> None:
    """Read everything behind the description; ``made`` gets the names of new volumes."""
    while reader.member is not None:
        name = reader.member.name
        if name == END:
            if reader.read_json() != {"volumes": len(made)}:
                raise BackupError("The backup is not whole: volumes are missing.")
            return
        if _is_kept(name):
            reader.extract(folder, name)
            reader.next()
        elif volumes is not None and name == f"volumes/{len(made) + 1}.json":
            _restore_volume(reader, hub_name, volumes, made, say)
        else:
            raise BackupError(f"{name!r} has no place in a backup of a hub.")
    raise BackupError("The backup is not whole: its end is missing. Was it cut off?")


def _is_kept(name: str) -> bool:
    place, _, rest = name.partition("/")
    if place == "resources":
        return rest in MOUNTED
    return place == "data" and rest.partition("/")[0] in KEPT


def _restore_volume(
    reader: Reader,
    hub_name: str,
    volumes: VolumeArchive,
    made: list[str],
    say: Callable[[str], None],
) -> None:
    described, number = reader.read_json(), len(made) + 1
    volume = KeptVolume(str(described["name"]), dict(described["labels"]))
    if volume.labels.get(LABEL_ORIGIN) != hub_name:
        raise BackupError(f"The volume {volume.name!r} in the backup is of another hub.")
    volumes.create(volume)
    made.append(volume.name)
    reader.next()
    reader.copy_volume(number, partial(volumes.write, volume.name))
    say(f"Volume {number}: {volume.name}")


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
