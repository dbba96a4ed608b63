"""sshd's processes, as proc(5) tells of them. Standard library only: this runs beside sshd."""

from __future__ import annotations

import contextlib
import os
import signal


def end_leftovers() -> None:
    """End sessions of a former run: nobody watches them, so nobody could end them when their key is
    removed.
    """
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            is_own = os.stat(f"/proc/{name}").st_uid == os.getuid()
            if is_own and read(f"/proc/{name}/comm").strip() == "sshd-session":
                os.kill(int(name), signal.SIGTERM)


def read_parent(pid: int) -> int:
    """Return the number of a process's parent; 0 where there is no such process."""
    try:
        # proc(5): the name in parentheses may hold anything; the fields after it do not.
        return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def read(path: str) -> str:
    """Return what a file of proc(5) says."""
    with open(path, errors="replace") as file:
        return file.read()
