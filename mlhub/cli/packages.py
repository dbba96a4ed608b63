"""``mlhub-pip``: pip for images that are made from this one.

Invariants: packages of the hub's own lock keep their versions, so what was tested is what runs, and
none of them can be taken away. What a package needs besides is installed as pip would.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PLACE = Path(sys.prefix) / "share" / "mlhub"
PIP, LOCK = PLACE / "pip.whl", PLACE / "hub.lock"
RUNNING = Path("/run/mlhub/settings.json")
USAGE = """Usage: mlhub-pip COMMAND …
The commands and options are those of pip. `install` keeps the versions that the hub was tested
with; `uninstall` leaves the hub's own packages alone. In a Dockerfile:
    FROM mltooling/ml-hub
    RUN mlhub-pip install jupyterhub-systemdspawner"""


def main(arguments: Sequence[str]) -> int:
    """Run pip; return its exit code."""
    command, *rest = arguments or [""]
    if command in ("", "-h", "--help"):
        print(USAGE)
        return 0 if command else 2
    if command == "uninstall":
        return _uninstall(rest)
    if command != "install":
        return _run(command, *rest)
    code = _run("install", "--no-cache-dir", "--constraint", str(LOCK), *rest)
    if code:
        print(
            "mlhub-pip: nothing was installed. If pip names a conflict with a constraint: the"
            " hub's own packages keep the versions that they were tested with"
            f" ({LOCK}). Name a version of the package that works with them.",
            file=sys.stderr,
        )
        return code
    if RUNNING.exists():
        print(
            "mlhub-pip: this lasts until the container is replaced, and a running hub sees it at"
            " its next start. For good: FROM this image, RUN mlhub-pip install …",
            file=sys.stderr,
        )
    return 0


def _uninstall(arguments: Sequence[str]) -> int:
    locked = _list_locked()
    if ours := [word for word in arguments if _normalize(word) in locked]:
        print(
            f"mlhub-pip: {', '.join(ours)} is what the hub itself runs on, so it stays.",
            file=sys.stderr,
        )
        return 1
    return _run("uninstall", "--yes", *arguments)


def _run(*words: str) -> int:
    pip = [sys.executable, str(PIP / "pip"), "--disable-pip-version-check", "--no-input"]
    return subprocess.call([*pip, *words])


def _list_locked() -> set[str]:
    return {_normalize(line) for line in LOCK.read_text().split()}


def _normalize(requirement: str) -> str:
    """Return the name in a requirement as the packaging guide compares names (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement.removeprefix("-"))
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
