"""The data directory and the run directory: made, owned and checked before anything starts."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from mlhub.boot.accounts import Account
from mlhub.boot.ownership import check_kept, give_kept, take_over
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings

# A new database and a backup of it; with less, the hub itself would die with a traceback.
FREE_BYTES_MIN = 8 * 2**20


def prepare_data_dir(settings: Settings, hub: Account) -> Path:
    """Make the data directory writable for the hub.

    Raises ``ConfigurationError`` when it is read-only, full, or somebody else's.
    """
    data = settings.data_volume_container
    try:
        data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            _give_to_hub(data, hub)
        else:
            check_kept(data)
        probe = data / f".write-{secrets.token_hex(4)}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        status = os.statvfs(data)
        if status.f_bavail * status.f_frsize < FREE_BYTES_MIN:
            raise OSError(errno.ENOSPC, f"less than {FREE_BYTES_MIN // 2**20} MiB are free")
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {data} cannot be written ({error.strerror}). {_cure(settings)}"
        ) from error
    return data


def _cure(settings: Settings) -> str:
    if settings.mlhub_chart_values:
        return (
            "Have its volume writable, with free space: enlarge it by the chart's"
            " hub.db.pvc.storage where its StorageClass allows that, or name another claim in"
            " hub.db.pvc.existingClaim."
        )
    return (
        "Mount a writable volume with free space, e.g. --volume"
        f" jupyterhub_data:{settings.data_volume_container}"
    )


def _give_to_hub(data: Path, hub: Account) -> None:
    try:
        take_over(data, hub)
        hub.own(data, 0o750)
        give_kept(data, hub)
    except PermissionError as error:
        # Such as NFS that makes everybody one user.
        raise ConfigurationError(
            f"The files of {data} cannot be given to user {hub.uid} ({error.filename or data}:"
            f" {error.strerror}). Let the volume have that owner, or run the container as the user"
            f" who owns it, e.g. --user {data.stat().st_uid}."
        ) from error


def prepare_run_dir(settings: Settings) -> Path:
    """Empty the run directory: what an earlier boot rendered must not live on."""
    run = settings.mlhub_run_dir
    try:
        run.mkdir(parents=True, exist_ok=True)
        for entry in run.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if os.geteuid() in (
            0,
            run.stat().st_uid,
        ):  # a volume of Kubernetes is somebody else's, and open to all
            run.chmod(0o755)
        (run / ".write").mkdir()
        (run / ".write").rmdir()
    except OSError as error:
        raise ConfigurationError(
            f"The run directory {run} cannot be written ({error.strerror}). Mount a temporary file"
            " system there when the root file system is read-only."
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
