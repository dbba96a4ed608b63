"""Files of the product's own pages, served by the hub without sign-in.

Invariants: what an address with a hash answers never changes, so browsers keep it for good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from tornado.web import StaticFileHandler

HASH_CHARACTERS = 16
UNVERSIONED_SECONDS = 3600


class StaticHandler(StaticFileHandler):
    """Serve resources/static, for good where the address has the file's hash, else for an hour."""

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Return the seconds that browsers may keep a file."""
        return self.CACHE_MAX_AGE if self._has_hash() else UNVERSIONED_SECONDS

    def set_extra_headers(self, path: str) -> None:
        """Spare browsers even the question whether a file has changed."""
        if self._has_hash():
            self.set_header("Cache-Control", f"public, max-age={self.CACHE_MAX_AGE}, immutable")

    def _has_hash(self) -> bool:
        asked = self.get_query_argument("v", "")
        return bool(asked and self.absolute_path) and asked == hash_file(str(self.absolute_path))


def hash_file(path: str) -> str:
    """Return the part of an address that changes with a file's content."""
    return StaticFileHandler.get_content_version(path)[:HASH_CHARACTERS]


def make_linker(folder: Path) -> Callable[[str], str]:
    """Return the function that templates ask for a file's address, below the hub's prefix."""

    @cache
    def link(name: str) -> str:
        return f"mlhub-static/{name}?v={hash_file(str(folder / name))}"

    return link
