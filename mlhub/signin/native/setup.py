"""The one-time code that lets somebody register the first administrator.

Invariants: the code lives in one file of mode 0600, is compared in constant time, and is gone
once it was used. Imports nothing of JupyterHub.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from mlhub.errors import ConfigurationError

SETUP_CODE_NAME = "setup-code"
_MIN_CHARACTERS = 20


def ensure_setup_code(data_dir: Path | str, *, has_admin: bool = False) -> str | None:
    """Return the setup code kept under ``data_dir``, making it at first.

    Returns None, and removes a left-over code, when an administrator exists already.
    Raises ``ConfigurationError`` when the file cannot be written or read.
    """
    file = Path(data_dir) / SETUP_CODE_NAME
    try:
        if has_admin:
            file.unlink(missing_ok=True)
            return None
        return read_setup_code(data_dir) or _write_setup_code(file)
    except OSError as error:
        raise ConfigurationError(
            f"The setup code {file} cannot be kept ({error}). Make its directory writable for the"
            " hub."
        ) from error


def read_setup_code(data_dir: Path | str) -> str:
    """Return the code kept under ``data_dir``, or ``""``."""
    file = Path(data_dir) / SETUP_CODE_NAME
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    with os.fdopen(handle) as stream:
        status = os.fstat(stream.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077 and status.st_uid == os.geteuid():
            os.fchmod(stream.fileno(), 0o600)
        code = stream.read(200).strip()
    return code if len(code) >= _MIN_CHARACTERS else ""


def has_setup_code(data_dir: Path | str) -> bool:
    """Return True if a code is kept under ``data_dir``, so that somebody may still use it."""
    return (Path(data_dir) / SETUP_CODE_NAME).exists()


def is_setup_code(data_dir: Path | str, offered: str) -> bool:
    """Return True if ``offered`` is the code, in constant time."""
    try:
        code = read_setup_code(data_dir)
    except OSError:
        return False
    return hmac.compare_digest(code.encode(), offered.encode("utf-8", "replace")) and bool(code)


def burn_setup_code(data_dir: Path | str, offered: str) -> bool:
    """Remove the code if ``offered`` is it; of two who try at once only one gets True."""
    if not is_setup_code(data_dir, offered):
        return False
    try:
        (Path(data_dir) / SETUP_CODE_NAME).unlink()
    except FileNotFoundError:
        return False
    return True


def _write_setup_code(file: Path) -> str:
    code = secrets.token_urlsafe(24)
    # A file that holds no usable code (cut off by a full disk, say) is replaced as a whole.
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(code + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
    return code
