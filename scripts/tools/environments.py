"""Python environments of locked packages, made once per lock file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tools.console import CACHE, run, stage
from tools.engine import install_packages


def ensure_environment(lock: Path, *, what: str) -> Path:
    """Return the Python of a virtual environment with exactly the packages of a lock file."""
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"venv-{key}"
    python = folder / "bin" / "python"
    if (folder / ".complete").exists():
        return python
    with stage(f"Installing {what}"):
        shutil.rmtree(folder, ignore_errors=True)
        if subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], capture_output=True
        ).returncode:
            shutil.rmtree(folder, ignore_errors=True)
            install_packages("python3-venv", why=f"{what} needs a virtual environment")
            run(sys.executable, "-m", "venv", folder, quiet=True)
        run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock, quiet=True)
        (folder / ".complete").touch()
    return python
