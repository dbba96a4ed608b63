"""The documentation tells what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_pages_are_what_the_code_says():
    result = subprocess.run(["./scripts/docs", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_room_named_in_contributing_exists():
    table = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`((?:mlhub|resources|docker|scripts)/[\w./-]*)`", table):
        assert (ROOT / path).exists(), path
