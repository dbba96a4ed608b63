"""The lock files: whatever is installed is checked by its hash, and comes from wherever the machine's own clients look."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON_LOCKS = sorted((ROOT / "docker" / "requirements").glob("*.txt"))
NODE_LOCKS = sorted([ROOT / "docker" / "proxy" / "package-lock.json", *(ROOT / "tests").rglob("package-lock.json")])


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def read_pins(file: Path) -> dict[str, list[str]]:
    """Return name==version → hashes."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")))
    pins = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *options = line.split(" --hash=")
        pins[requirement.split(";")[0].strip()] = [option.split()[0] for option in options]
    return pins


def test_there_are_locks():
    assert {name(file) for file in PYTHON_LOCKS} >= {"docker/requirements/hub.txt", "docker/requirements/workspace.txt"}
    assert len(NODE_LOCKS) > 1


@pytest.mark.parametrize("file", PYTHON_LOCKS, ids=name)
def test_every_python_package_is_pinned_with_hashes_and_without_an_address(file):
    pins = read_pins(file)
    assert len(pins) > 10
    for requirement, hashes in pins.items():
        assert re.fullmatch(r"[\w.\[\],-]+==[\w.!+]+", requirement), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", entry) for entry in hashes), requirement
    assert "://" not in file.read_text()


@pytest.mark.parametrize("file", NODE_LOCKS, ids=name)
def test_every_node_package_is_pinned_with_a_hash_and_without_an_address(file):
    packages = {path: package for path, package in json.loads(file.read_text())["packages"].items() if path}
    assert packages
    for path, package in packages.items():
        assert package["version"], path
        assert package["integrity"].startswith("sha512-"), path
        assert "resolved" not in package, path


def test_hub_and_workspaces_speak_the_same_version_of_jupyterhub():
    versions = {
        requirement
        for lock in ("hub", "workspace")
        for requirement in read_pins(ROOT / "docker" / "requirements" / f"{lock}.txt")
        if requirement.startswith("jupyterhub==")
    }
    assert len(versions) == 1, versions
