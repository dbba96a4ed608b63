"""A sentence for everybody on all pages: a file, which administrators write by a page or by hand.

Invariants: it is shown as text, whatever is in it; pages ask for the file's date alone, at most
once a second. A file that cannot be read announces nothing, and the log says so.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from mlhub.errors import AnnouncementError
from mlhub.texts import Text

FILE = "announcement.txt"
MAX_CHARACTERS = 1000
LOOK_SECONDS = 1.0
log = logging.getLogger(__name__)


class Announcement:
    """Keep what ``file`` says."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = file
        self._clock = clock
        self._looked_at = -LOOK_SECONDS
        self._stamp: tuple[int, int] | None = None
        self._text = ""

    def read(self) -> str:
        """Return what is announced; "" for nothing."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look()
        return self._text

    def write(self, text: str) -> None:
        """Announce something else, or nothing. Raises ``AnnouncementError``."""
        text = text.strip()
        if len(text) > MAX_CHARACTERS:
            raise AnnouncementError(
                Text(
                    "The announcement has %(number)s characters. Write at most %(max_characters)s.",
                    number=len(text),
                    max_characters=MAX_CHARACTERS,
                )
            )
        try:
            fresh = self.file.with_suffix(".new")
            fresh.write_text(text + "\n" if text else "")
            os.replace(fresh, self.file)
        except OSError as error:
            raise AnnouncementError(
                Text("%(file)s cannot be written: %(error)s.", file=self.file, error=error)
            ) from error
        self._looked_at = -LOOK_SECONDS

    def _look(self) -> None:
        try:
            found = self.file.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._stamp = stamp
                text = self.file.read_text(errors="replace")
                self._text = text[:MAX_CHARACTERS].strip()
        except FileNotFoundError:
            self._stamp, self._text = None, ""
        except OSError as error:
            log.warning("The announcement in %s cannot be read: %s", self.file, error)
            self._stamp, self._text = None, ""
