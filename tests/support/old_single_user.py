"""JupyterHub 1.4 with its single-user server, as the images of 2021 have it: released packages in
an environment of their own, kept between runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    *("jupyterhub==1.4.2", "notebook==6.4.12", "jupyter_client<8", "ipykernel<6.20"),
    *("sqlalchemy<1.5", "traitlets<5.10", "tornado<6.2", "pyzmq<25", "setuptools<80"),
)


def ensure_old_jupyterhub() -> Path:
    """Return the environment's folder, which is made where it is missing."""
    cache = Path(os.environ.get("MLHUB_CACHE") or Path.home() / ".cache" / "mlhub")
    folder = cache / f"singleuser-1.4.2-python{sys.version_info[1]}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        install = [folder / "bin/python", "-m", "pip", "install", "--quiet", *PACKAGES]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
        (folder / ".complete").touch()
    return folder
