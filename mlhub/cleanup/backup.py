"""Make a backup of a hub that goes on running.

Invariants: the database is copied as it was at one moment; while a volume is read, what writes to
it is held still. Nothing of the hub is changed. What cannot be read of one volume keeps nothing of
the others out, and is named, here and in the archive.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from mlhub import __version__
from mlhub.backends.registry import find_kind
from mlhub.backends.volume_archive import KeptVolume, VolumeArchive
from mlhub.cleanup.archive import END, FORMAT, MANIFEST, Writer
from mlhub.cleanup.missing import REST, Missing, make_plain
from mlhub.errors import BackendError, BackupError
from mlhub.options.amount import describe_size
from mlhub.settings import Settings

DATABASE = "jupyterhub.sqlite"
# What a hub keeps and cannot make anew; copies of it from before are no part of it.
KEPT = (DATABASE, "jupyterhub_cookie_secret", "proxy_auth_token", "setup-code", "ssl", "ssh",
        "audit")  # fmt: skip
# Where they lie is the site's own; a backup calls them by these names.
POLICY, USER_CONFIG = "policy.yaml", "jupyterhub_user_config.py"
MOUNTED = (POLICY, USER_CONFIG)


def make_backup(
    settings: Settings, output: BinaryIO, say: Callable[[str], None], *, with_volumes: bool
) -> list[str]:
    """Write the hub's files, and all volumes where wanted, to a stream. Return the names of volumes
    that are missing, or of which something is.

    Raises ``BackupError`` or ``BackendError``; then the archive has no end and is no backup.
    """
    volumes = open_volumes(settings) if with_volumes else None
    writer = Writer(output)
    writer.add_json(
        MANIFEST,
        {
            "format": FORMAT,
            "version": __version__,
            "hub_name": settings.hub_name,
            "made_at": int(time.time()),
            "has_volumes": with_volumes,
        },
    )
    _add_database(settings.data_volume_container, writer, say)
    for path, name in list_files(settings):
        writer.add_file(path, name)
    count, lacking = _add_volumes(volumes, writer, say) if volumes else (0, [])
    writer.add_json(END, {"volumes": count})
    writer.close()
    return lacking


def open_volumes(settings: Settings) -> VolumeArchive:
    """Return the volumes of the place where workspaces run.

    Raises ``BackupError`` where they are not read from here.
    """
    kind = find_kind(settings.execution_mode)
    if kind.open_volumes is None:
        raise BackupError(
            f"Volumes cannot be read from here with {kind.name}. Leave out --volumes, and back"
            " them up by the means of their storage, such as volume snapshots."
        )
    return kind.open_volumes(settings)


def list_files(settings: Settings) -> Iterator[tuple[Path, str]]:
    """List what belongs into a backup beside the database, and each one's name there."""
    data = settings.data_volume_container
    for name in KEPT:
        top = data / name
        if name == DATABASE or not top.exists():
            continue
        for path in (top, *sorted(top.rglob("*"))) if top.is_dir() else (top,):
            yield path, f"data/{path.relative_to(data)}"
    for name in MOUNTED:
        path = (
            settings.policy_file if name == "policy.yaml" else settings.mlhub_resources_dir / name
        )
        if path.is_file():
            yield path.resolve(), f"resources/{name}"


def _add_database(data: Path, writer: Writer, say: Callable[[str], None]) -> None:
    source = data / DATABASE
    if not source.exists():
        say(
            f"There is no {DATABASE} in {data}. People and servers that the hub keeps in a database"
            " server are backed up by that server's own tools, such as pg_dump."
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DATABASE
        try:
            with (
                closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as before,
                closing(sqlite3.connect(copy)) as after,
            ):
                before.backup(after)
                after.execute("pragma journal_mode=delete")
        except sqlite3.Error as error:
            raise BackupError(f"The database {source} cannot be copied: {error}.") from error
        writer.add_file(copy, f"data/{DATABASE}")


def _add_volumes(
    volumes: VolumeArchive, writer: Writer, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Add all volumes; return how many there are, and the names of those that lack something."""
    found, lacking = volumes.list_volumes(), []
    for number, volume in enumerate(found, 1):
        told, is_whole = _add_volume(volumes, writer, number, volume)
        say(f"Volume {number} of {len(found)}: {volume.name}, {told}")
        if not is_whole:
            lacking.append(volume.name)
    return len(found), lacking


def _add_volume(
    volumes: VolumeArchive, writer: Writer, number: int, volume: KeptVolume
) -> tuple[str, bool]:
    """Add one volume, or what can be read of it; return what is to be said of it, and whether all
    of it is there.
    """
    described = {"name": volume.name, "labels": dict(volume.labels)}
    missing, size = Missing(), None
    try:
        with volumes.read(volume.name) as content:
            writer.add_json(f"volumes/{number}.json", described)
            size = writer.add_volume(number, content, missing)
    except BackendError as error:
        if size is None:
            writer.add_json(f"volumes/{number}.json", {**described, "missing": str(error)})
            return f"MISSING: {make_plain(error)}", False
        missing.note(REST, str(error))
    if not missing.count:
        return describe_size(size), True
    writer.add_json(f"volumes/{number}.missing.json", missing.make_json())
    return f"{describe_size(size)}, WITHOUT {missing.describe()}", False
