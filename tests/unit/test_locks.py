"""The lock files: whatever is installed is checked by its hash, and comes from wherever the
machine's own clients look.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYTHON_LOCKS = sorted((ROOT / "docker" / "requirements").glob("*.txt"))
NODE_LOCKS = sorted(
    file for folder in ("docker", "tests") for file in (ROOT / folder).rglob("package-lock.json")
)


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def read_pins(file: Path) -> dict[str, list[str]]:
    """Return name==version → hashes."""
    text = re.sub(
        r"\\\n",
        " ",
        "\n".join(
            line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")
        ),
    )
    pins = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *options = line.split(" --hash=")
        pins[requirement.split(";")[0].strip()] = [option.split()[0] for option in options]
    return pins


def test_there_are_locks():
    assert {name(file) for file in PYTHON_LOCKS} >= {
        "docker/requirements/hub.txt",
        "docker/requirements/workspace.txt",
    }
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
    packages = {
        path: package for path, package in json.loads(file.read_text())["packages"].items() if path
    }
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


# The versions in which the last holes were closed that were published of what these images are
# built on. Whoever goes back to one of before, or makes a lock of old packages, is told.
CLOSED_IN = {
    "hub": {
        "jupyterhub": "5.5.1",
        "oauthenticator": "17.4",
        "dockerspawner": "13",
        "tornado": "6.5",
        "jinja2": "3.1.6",
        "cryptography": "44.0.1",
        "aiohttp": "3.12.14",
        "requests": "2.32.4",
        "urllib3": "2.5",
        "pyjwt": "2.4",
    },
    "workspace": {
        "jupyterhub": "5.5.1",
        "jupyter-server": "2.20",
        "jupyterlab": "4.6.2",
        "jupyter-server-proxy": "4.2",
        "tornado": "6.5",
        "jinja2": "3.1.6",
    },
}


@pytest.mark.parametrize("lock", CLOSED_IN)
def test_no_package_is_older_than_the_version_that_closed_its_last_known_hole(lock):
    pins = read_pins(ROOT / "docker" / "requirements" / f"{lock}.txt")
    locked = {
        package.partition("[")[0].lower(): Version(version)
        for package, _, version in (requirement.partition("==") for requirement in pins)
    }
    older = {
        package: f"{locked[package]} is older than {version}"
        for package, version in CLOSED_IN[lock].items()
        if locked[package] < Version(version)
    }
    assert older == {}
