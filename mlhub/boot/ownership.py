"""Whose the files of the data directory are.

The hub's, also those from when it was another user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mlhub.boot.accounts import Account
from mlhub.boot.log import say
from mlhub.errors import ConfigurationError
from mlhub.variables.files import SIGNS

# What boot or the hub keep; anything else in the directory is left alone.
KEPT = (
    "jupyterhub.sqlite*", "jupyterhub_cookie_secret", "proxy_auth_token", "setup-code",
    "ssl", "ssh", "trash", "backups", "audit",
)  # fmt: skip
# The hub's user before its programs got users that no workspace has.
FORMER_USER = 1000


def give_kept(data: Path, hub: Account) -> None:
    """Give the hub what it keeps.

    A bind mount, or a copy made by root, has it with another owner.
    """
    for pattern in KEPT:
        for path in data.glob(pattern):
            os.chown(path, hub.uid, hub.gid, follow_symlinks=False)
            for name, folder in _list_below(path):
                os.chown(name, hub.uid, hub.gid, dir_fd=folder, follow_symlinks=False)


def take_over(data: Path, hub: Account) -> None:
    """Give the hub what its former user kept here, and that user's files beside it.

    Folders of the site's own are left and named: they may be people's homes, whose user has the
    same number. The directory itself is that user's until the caller has changed it, so what was
    interrupted is done again, and what is done is not.
    """
    if data.stat().st_uid != FORMER_USER or not any((data / name).exists() for name in SIGNS):
        return
    give_kept(data, hub)
    left = []
    with os.scandir(data) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_uid != FORMER_USER:
                continue
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.name)
            else:
                os.chown(entry.path, hub.uid, hub.gid, follow_symlinks=False)
    say(
        f"The hub is user {hub.uid} now and was {FORMER_USER}: what it kept in {data} is its own"
        " again."
    )
    if left:
        say(
            f"Warning: these folders in {data} stay with user {FORMER_USER}:"
            f" {', '.join(sorted(left))}. Where the hub writes into one, give it to {hub.uid}."
        )


def check_kept(data: Path) -> None:
    """See that what is kept can be used by this user, who is not root and cannot take it.

    Raises ``ConfigurationError`` with the user who can.
    """
    tops = [top for pattern in KEPT for top in data.glob(pattern)]
    for path in sorted(inner for top in tops for inner in (top, *top.rglob("*"))):
        needed = (
            os.R_OK
            | (os.X_OK if path.is_dir() else 0)
            | (os.W_OK if path.name == "jupyterhub.sqlite" else 0)
        )
        if not os.access(path, needed) and not path.is_symlink():
            owner, me = path.stat(follow_symlinks=False).st_uid, os.geteuid()
            raise ConfigurationError(
                f"{path} belongs to user {owner}, and this container runs as user {me}, who may "
                f"not use it. Run it as user {owner} (on Kubernetes: hub.uid), or give the files "
                f"of {data} to user {me}."
            )


def _list_below(top: Path) -> Iterator[tuple[str, int]]:
    """List each entry below a directory as a name and an open directory.

    So nothing is reached through a symbolic link.
    """

    def stop(error: OSError) -> None:
        raise error

    if top.is_symlink() or not top.is_dir():
        return
    device = top.stat().st_dev
    for _, folders, files, folder in os.fwalk(top, onerror=stop, follow_symlinks=False):
        # What is mounted inside is not what the hub has kept.
        if os.fstat(folder).st_dev != device:
            folders.clear()
            continue
        for name in (*folders, *files):
            yield name, folder
