"""Look every two seconds whether files changed, and have a short-lived process see to it.

Standard library only: reading a certificate takes libraries that the supervisor, which stays, must not load.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

CHECK_SECONDS = 2.0


class Watch(NamedTuple):
    """Name the files, and what to run with which environment when one of them changed."""

    files: list[str]
    command: list[str]
    environment: dict[str, str]


def watch_files(watch: Watch, on_taken: Callable[[], None]) -> None:
    """Never return; call ``on_taken`` each time that the files changed and the command ended with 0."""
    seen = read_fingerprint(watch.files)
    while True:
        time.sleep(CHECK_SECONDS)
        current = read_fingerprint(watch.files)
        if current in (seen, None):
            continue
        seen = current
        if subprocess.run(watch.command, env=watch.environment, stdin=subprocess.DEVNULL).returncode == 0:
            on_taken()


def read_fingerprint(files: list[str]) -> list[tuple[int, int, int]] | None:
    """Return what changes when one of the files does; None while one is missing."""
    try:
        return [(status.st_mtime_ns, status.st_size, status.st_ino) for status in map(os.stat, files)]
    except OSError:
        return None
