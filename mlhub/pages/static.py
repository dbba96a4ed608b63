"""Files of the product's own pages, served by the hub without sign-in."""

from __future__ import annotations

from tornado.web import StaticFileHandler


class StaticHandler(StaticFileHandler):
    """Serve resources/static with an hour of caching."""

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Return the seconds that browsers may keep a file."""
        return 3600
