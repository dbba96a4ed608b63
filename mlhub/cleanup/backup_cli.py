"""``mlhub backup`` and ``mlhub restore``."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mlhub.backends.registry import read_settings
from mlhub.cleanup.backup import make_backup
from mlhub.cleanup.restore import restore_backup
from mlhub.errors import BackupError

# The archive is written and can be restored, but of some volumes it lacks something.
EXIT_INCOMPLETE = 3


def add_backup_commands(commands: Any) -> None:
    """Add ``backup`` and ``restore`` to the parser."""
    backup = commands.add_parser(
        "backup",
        help="write the hub's database, keys and files to one archive, while it runs; exit code 3"
        " where something of a volume is missing in it",
    )
    backup.add_argument("file", metavar="FILE", help="a new file, or - for standard output")
    backup.add_argument(
        "--volumes",
        action="store_true",
        help="people's files too; a workspace pauses while its own are read",
    )
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser(
        "restore", help="bring a hub back from such an archive, into an empty data volume"
    )
    restore.add_argument("file", metavar="FILE", help="the archive, or - for standard input")
    restore.set_defaults(run=run_restore)


def run_backup(chosen: argparse.Namespace) -> int:
    """Write an archive; one that failed is not left behind as a file."""
    if chosen.file == "-":
        if sys.stdout.isatty():
            raise BackupError("The archive is not for a terminal. Write: mlhub backup - > FILE")
        return _write(sys.stdout.buffer, chosen.volumes)
    file = Path(chosen.file)
    try:
        # It holds the hub's secrets: nobody else may read it, and none is overwritten.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BackupError(f"{file} cannot be made: {error.strerror}. Name a new file.") from error
    try:
        with os.fdopen(descriptor, "wb") as output:
            code = _write(output, chosen.volumes)
    except BaseException as error:
        with suppress(OSError):
            file.unlink()
        if isinstance(error, OSError):
            raise BackupError(f"{file} cannot be written: {error.strerror}.") from error
        raise
    _say(f"{file} holds the hub's secrets as well: keep it where nobody else reads it.")
    return code


def _write(output: BinaryIO, with_volumes: bool) -> int:
    """Write an archive to a stream; say what it lacks, and return the exit code."""
    lacking = make_backup(read_settings(), output, _say, with_volumes=with_volumes)
    if not lacking:
        return 0
    _say(
        "The archive is written, and it LACKS something of"
        f" {len(lacking)} volume{'' if len(lacking) == 1 else 's'}: {', '.join(lacking)}."
        " What and why is said above, and in the archive. Keep an older archive until one lacks"
        " nothing."
    )
    return EXIT_INCOMPLETE


def run_restore(chosen: argparse.Namespace) -> int:
    """Read an archive and put back what is in it."""
    if chosen.file == "-":
        restore_backup(read_settings(), sys.stdin.buffer, _say)
        return 0
    try:
        with open(chosen.file, "rb") as source:
            restore_backup(read_settings(), source, _say)
    except OSError as error:
        raise BackupError(f"{chosen.file} cannot be read: {error.strerror}.") from error
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
