"""The data directory and the run directory: made, owned and checked before anything starts."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from mlhub.boot.accounts import Account
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings

# A new database and a backup of it; with less, the hub itself would die with a traceback.
FREE_BYTES_MIN = 8 * 2**20
# What boot or the hub keep here; anything else in the directory is left alone.
KEPT = ("jupyterhub.sqlite*", "jupyterhub_cookie_secret", "proxy_auth_token", "setup-code", "ssl", "ssh", "trash", "backups", "audit")


def prepare_data_dir(settings: Settings, hub: Account) -> Path:
    """Make the data directory writable for the hub.

    Raises ``ConfigurationError`` when it is read-only, full, or somebody else's.
    """
    data = settings.data_volume_container
    try:
        data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            hub.own(data, 0o750)
            for pattern in KEPT:
                for path in data.glob(pattern):
                    _own_tree(path, hub)
        probe = data / f".write-{secrets.token_hex(4)}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        status = os.statvfs(data)
        if status.f_bavail * status.f_frsize < FREE_BYTES_MIN:
            raise OSError(errno.ENOSPC, f"less than {FREE_BYTES_MIN // 2**20} MiB are free")
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {data} can not be written ({error.strerror}). Mount a writable volume with free space, e.g. --volume jupyterhub_data:{data}"
        ) from error
    return data


def prepare_run_dir(settings: Settings) -> Path:
    """Empty the run directory: what an earlier boot rendered must not live on."""
    run = settings.mlhub_run_dir
    try:
        run.mkdir(parents=True, exist_ok=True)
        for entry in run.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if os.geteuid() in (0, run.stat().st_uid):  # a volume of Kubernetes is somebody else's, and open to all
            run.chmod(0o755)
        (run / ".write").mkdir()
        (run / ".write").rmdir()
    except OSError as error:
        raise ConfigurationError(
            f"The run directory {run} can not be written ({error.strerror}). Mount a temporary file system there when the root file system is read-only."
        ) from error
    return run


def ensure_secret(file: Path, owner: Account) -> str:
    """Return the secret kept in ``file``, made once (64 hex characters)."""
    if not file.exists() or not file.read_text().strip():
        write_private(file, secrets.token_hex(32) + "\n", owner)
    return file.read_text().strip()


def write_private(file: Path, content: str | bytes, owner: Account, mode: int = 0o600) -> None:
    """Write a file that only its owner can read, never readable in between."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as output:
        output.write(content.encode() if isinstance(content, str) else content)
    owner.own(temporary, mode)
    temporary.replace(file)


def _own_tree(path: Path, owner: Account) -> None:
    # Never through a symbolic link: a link planted in the volume must not hand out files of the image.
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            _own_tree(child, owner)
