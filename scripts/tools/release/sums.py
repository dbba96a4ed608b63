"""The checksums of a release's files, as `sha256sum --check` reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tools.console import ToolError

SUMS, MANIFEST = "SHA256SUMS", "release.json"


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file that may be large."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Write the checksums of all files of a folder."""
    files = sorted(each for each in folder.iterdir() if each.is_file() and each.name != SUMS)
    (folder / SUMS).write_text("".join(f"{hash_file(file)}  {file.name}\n" for file in files))


def read_release(folder: Path) -> dict[str, Any]:
    """Return a release's manifest. Raises ``ToolError`` where a file is missing or has changed."""
    if not (folder / SUMS).is_file():
        raise ToolError(f"{folder} is no release: it has no {SUMS}. ./scripts/release makes one.")
    listed = {}
    for line in (folder / SUMS).read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    check_file(folder, MANIFEST, listed)
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    for name in (manifest["chart"], *(image["archive"] for image in manifest["images"])):
        check_file(folder, name, listed)
    return manifest


def check_file(folder: Path, name: str, listed: dict[str, str]) -> None:
    """Refuse a file that is missing, not listed, or not what it was."""
    if name not in listed:
        raise ToolError(f"{folder / SUMS} does not list {name}. Make the release anew.")
    if not (folder / name).is_file():
        raise ToolError(f"{folder / name} is missing. Copy the whole folder.")
    found = hash_file(folder / name)
    if found != listed[name]:
        raise ToolError(
            f"{folder / name} has the checksum {found}, and {SUMS} says {listed[name]}. Copy the"
            " folder again."
        )
