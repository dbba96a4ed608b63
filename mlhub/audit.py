"""One file of JSON lines per subject, written at its end only, and rotated: it never outgrows what
it was given.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

FILE_BYTES = 10 * 2**20
OLD_FILES = 9

Clock = Callable[[], float]


def write_moment(moment: datetime) -> str:
    """Write a moment of UTC as all records do; what is later sorts behind."""
    return moment.isoformat(timespec="milliseconds")


class AuditLog:
    """Append records to a file; ``clock`` gives seconds since the epoch."""

    def __init__(
        self, file: Path, clock: Clock, *, file_bytes: int = FILE_BYTES, old_files: int = OLD_FILES
    ) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clock = clock
        self._handler = _PrivateFile(
            file, maxBytes=file_bytes, backupCount=old_files, encoding="utf-8", delay=True
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def write(self, event: str, **fields: Any) -> str:
        """Write one record: when, what, and the given fields; what is None is left out. Return its
        line.
        """
        record = {
            "at": write_moment(datetime.fromtimestamp(self._clock(), UTC)),
            "event": event,
            **{name: value for name, value in fields.items() if value is not None},
        }
        line = json.dumps(record, ensure_ascii=True)
        self._handler.handle(logging.makeLogRecord({"msg": line, "args": None}))
        return line

    def close(self) -> None:
        self._handler.close()


class Allowance:
    """Let through so many events a minute, and count the others: what strangers cause must not fill
    a disk.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._minute, self._used, self.suppressed = 0, 0, 0

    def take(self) -> bool:
        """Return True if another event may be written now."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        if self._used > self._per_minute:
            self.suppressed += 1
            return False
        return True

    def take_suppressed(self) -> int | None:
        """Return, once, how many events were left out so far."""
        count, self.suppressed = self.suppressed, 0
        return count or None


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> Any:
        stream = super()._open()
        # One that a hub of another user made is open to the volume's group, which is the hub's
        # alone.
        if os.fstat(stream.fileno()).st_uid == os.geteuid():
            os.fchmod(stream.fileno(), 0o600)
        return stream
