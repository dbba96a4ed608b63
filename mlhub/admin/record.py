"""The record of who did what: JSON lines, each with the digest of the line before, so that nothing
can be changed or taken out of the middle unseen.

Invariants: records are only added. Each file goes on where the one before ended, also after a
restart; of the oldest ones that were rotated away, the first line that is left is believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from mlhub.audit import AuditLog, Clock, write_moment

FILE = "audit/hub.jsonl"
# Where a record names a person; "to" is whom something was given to.
_PEOPLE = ("by", "about", "to")
LINE_BYTES = 2**16  # no record is longer
_END_BYTES = 2 * LINE_BYTES
BLOCK_BYTES = 4 * LINE_BYTES
# Any person may ask for what concerns them, as often as they like.
LOOKED_AT_BYTES = 2**26


class Record:
    """Append to the record of one hub."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._log = AuditLog(file, clock)
        self._previous = read_head(file)

    @property
    def head(self) -> str:
        """Digest of the last line; whoever keeps it elsewhere can tell if lines are missing at the
        end.
        """
        return self._previous

    def write(self, event: str, **fields: Any) -> None:
        """Add one event."""
        line = self._log.write(event, **fields, previous=self._previous)
        self._previous = make_digest(line.encode())


@dataclass(frozen=True)
class Verdict:
    """What a look through the record has found."""

    lines: int
    head: str
    trouble: tuple[str, ...]


def make_digest(line: bytes) -> str:
    """Return the digest of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def list_files(file: Path) -> list[Path]:
    """List the record's files that are there, the oldest first."""
    found = [path for path in file.parent.glob(f"{file.name}.*") if path.suffix[1:].isdecimal()]
    rotated = sorted(found, key=lambda path: -int(path.suffix[1:]))
    return [*rotated, *([file] if file.exists() else [])]


def read_head(file: Path) -> str:
    """Return the digest of the last line; "" where there is none. Ends a line that was cut off."""
    for path in reversed(list_files(file)):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _END_BYTES))
            lines = stream.read().split(b"\n")
        if lines[-1]:
            with path.open("ab") as stream:
                stream.write(b"\n")
        last = next((line for line in reversed(lines) if line), None)
        if last is not None:
            return make_digest(last)
    return ""


def verify(file: Path, noted: str | None = None) -> Verdict:
    """Follow the digests from the oldest line that is there to the last one. One that was noted
    earlier tells if lines are gone at the end.
    """
    trouble, count, previous, is_met = [], 0, "", noted is None
    for path in list_files(file):
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                line, count = raw.rstrip(b"\n"), count + 1
                where = f"{path.name}, line {number}"
                try:
                    told = json.loads(line)["previous"]
                except (ValueError, KeyError, TypeError):
                    trouble.append(
                        f"{where}: this is no record. Was the hub cut off while writing?"
                    )
                else:
                    if count > 1 and told != previous:
                        trouble.append(
                            f"{where}: the line before it was changed, or lines are missing there."
                        )
                previous = make_digest(line)
                is_met = is_met or previous == noted
    if not is_met:
        trouble.append(f"No line has the digest {noted}: lines are missing at the end.")
    return Verdict(count, previous, tuple(trouble))


def read_latest(
    file: Path,
    *,
    person: str | None = None,
    since: datetime | None = None,
    offset: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return records, the newest first: those that concern a person, or all; none from before
    ``since`` (UTC, without a time zone). Reads files, so call it in a thread.
    """
    return list(islice(_read_backwards(file, person, since), offset, offset + limit))


def _list_blocks_backwards(file: Path) -> Iterator[bytes]:
    """Yield whole lines, many at once, as far back as anybody looks."""
    left = LOOKED_AT_BYTES
    for path in reversed(list_files(file)):
        with path.open("rb") as stream:
            end, rest = stream.seek(0, os.SEEK_END), b""
            while end and left > 0:
                begin = max(0, end - BLOCK_BYTES)
                stream.seek(begin)
                block = stream.read(end - begin) + rest
                cut = block.find(b"\n") + 1 if begin else 0  # where its first line may have begun
                rest = block[:cut] if cut <= LINE_BYTES else b""
                left, end = left - (end - begin), begin
                yield block[cut:]


def _read_backwards(
    file: Path, person: str | None, since: datetime | None
) -> Iterator[dict[str, Any]]:
    mark = b"" if person is None else json.dumps(person).encode()
    first = write_moment(since.replace(tzinfo=UTC)) if since else ""
    for block in _list_blocks_backwards(file):
        for line in reversed(block.splitlines() if mark in block else ()):
            record = _parse(line) if mark in line else None
            if record is None or record.get("at", "") < first:
                continue
            if person is None or person in (record.get(key) for key in _PEOPLE):
                yield record


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
