"""A backend of a site's own, installed by pip as a site would, but without a network."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parent / "own-backend"
MODE = "processes"


def make_wheel(folder: Path) -> Path:
    """Make the wheel of the package as its build backend would, which is not at hand offline."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    about = f"{name}-{version}.dist-info"
    points = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    files = {
        f"{name}.py": (SOURCE / f"{name}.py").read_text(),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "\n".join(points),
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{about}/RECORD"))
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return wheel


def install(folder: Path) -> Path:
    """Install the package by pip into a folder; return that folder."""
    target = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    words = [*pip, "--disable-pip-version-check", "--target", str(target), str(make_wheel(folder))]
    subprocess.run(words, check=True, timeout=120)
    return target
