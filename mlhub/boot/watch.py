"""Look every two seconds whether a folder's files changed; have a short-lived process see to it.

Standard library only: reading a certificate takes libraries that the supervisor, which stays, must
not load.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import namedtuple

CHECK_SECONDS = 2.0


class Watch(namedtuple("Watch", "folder command environment")):
    """Name the folder, and what to run with which environment when a file in it changed."""

    __slots__ = ()


def watch_files(watch: Watch) -> None:
    """Never return; run the command each time that the folder's files changed."""
    seen = read_fingerprint(watch.folder)
    while True:
        time.sleep(CHECK_SECONDS)
        current = read_fingerprint(watch.folder)
        if current not in (seen, None):
            seen = current
            subprocess.run(watch.command, env=watch.environment, stdin=subprocess.DEVNULL)


def read_fingerprint(folder: str) -> list[tuple[str, int, int, int]] | None:
    """Return what changes when one of a folder's files does; None while one goes away."""
    try:
        return [
            (name, status.st_mtime_ns, status.st_size, status.st_ino)
            for name in sorted(os.listdir(folder))
            if not name.startswith(".")
            for status in [os.stat(os.path.join(folder, name))]
        ]
    except OSError:
        return None
