"""Which account each program runs under, and how it gets there.

As root every program gets an account of its own; otherwise (Kubernetes) all share the one that is
there.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """Name a user of the image; ``uid`` and ``gid`` are numbers."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path, mode: int) -> None:
        """Give a file or directory to this account; a no-op for the owner when not root."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        if os.stat(path).st_uid == os.geteuid() or os.geteuid() == 0:
            path.chmod(mode)

    def wrap(self, command: list[str], groups: tuple[int, ...] = ()) -> list[str]:
        """Return the command that runs ``command`` as this account, with no way to gain rights."""
        if os.geteuid() != 0:
            return command
        supplementary = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
        return [
            "setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", *supplementary,
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--", *command,
        ]  # fmt: skip


def find_account(name: str) -> Account:
    """Return the account of that name, or the current one when not root."""
    if os.geteuid() != 0:
        return Account(name, os.geteuid(), os.getegid())
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid)
