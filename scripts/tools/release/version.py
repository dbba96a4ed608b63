"""The version, which stands in ``mlhub/__init__.py`` and is SemVer everywhere else; its notes."""

from __future__ import annotations

import re

from tools.console import ROOT, ToolError, read
from tools.images import read_version

SEMVER = re.compile(r"(\d+\.\d+\.\d+)(?:-(a|b|rc|dev)\.(\d+))?")
PYTHON = re.compile(r"(\d+\.\d+\.\d+)(?:\.?(a|b|rc|dev)(\d+))?")


def to_semver(version: str) -> str:
    """Return Python's 3.0.0.dev1 as SemVer's 3.0.0-dev.1."""
    match = PYTHON.fullmatch(version)
    if match is None:
        raise ToolError(f"mlhub/__init__.py: {version!r} is no version such as 3.0.0 or 3.0.0rc1.")
    return f"{match[1]}-{match[2]}.{match[3]}" if match[2] else match[1]


def to_python(version: str) -> str:
    """Return SemVer's 3.0.0-dev.1 as Python's 3.0.0.dev1."""
    match = SEMVER.fullmatch(version)
    if match is None:
        raise ToolError(f"{version!r} is no version. Write e.g. 3.1.0 or 3.1.0-rc.1.")
    dot = "." if match[2] == "dev" else ""
    return f"{match[1]}{dot}{match[2]}{match[3]}" if match[2] else match[1]


def set_version(new: str) -> list[str]:
    """Write another version wherever the present one stands; return the files that changed."""
    old_python = read_version()
    words = {old_python: to_python(new), to_semver(old_python): new}
    # The longer one first: without a suffix both are the same.
    either = "|".join(re.escape(word) for word in sorted(words, key=len)[::-1])
    pattern = re.compile(rf"(?<![\d.])(?:{either})(?!\d)")
    changed = []
    for name in list_files(words):
        file = ROOT / name
        file.write_text(pattern.sub(lambda found: words[found[0]], file.read_text()))
        changed.append(name)
    return changed


def list_files(words: dict[str, str]) -> list[str]:
    """List the files of ours that name the version, but for lock files and what was before."""
    options = [option for word in words for option in ("-e", word)]
    left_out = [":!CHANGELOG.md", ":!docker/requirements", ":!docker/proxy", ":!tests"]
    options += ["--", "mlhub", "helmchart", "docs", "README.md", *left_out]
    found = read("git", "grep", "--files-with-matches", "--fixed-strings", *options)
    return (found or "").splitlines()


def read_notes(changelog: str, version: str) -> str:
    """Return what a version brought: its own section, or what is not released yet."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", changelog, re.M | re.S))
    for name, text in sections.items():
        if name.split(" ")[0].strip("[]") == version:
            return str(text).strip()
    if "Unreleased" not in sections:
        raise ToolError(f"CHANGELOG.md has no section {version!r}, and none Unreleased.")
    return str(sections["Unreleased"]).strip()
