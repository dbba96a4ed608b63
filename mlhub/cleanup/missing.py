"""What of a volume is not in a backup: files that could not be read, or all of it.

Invariants: a name is whatever a person has chosen, so it is told as Python writes it, on one line;
however many files there are, what is kept of them stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlhub.errors import BackupError

NAMED = 20
NAME_LENGTH, REASON_LENGTH = 4_096, 500
# In the place of a name: what comes after all that was read.
REST = ""


def make_plain(reason: Any) -> str:
    """Make one line of a reason that a terminal shows as it is."""
    text = " ".join(str(reason).split())[:REASON_LENGTH].rstrip(".")
    return "".join(each if each.isprintable() else "?" for each in text)


@dataclass
class Missing:
    """How many files are missing or cut off, and the first of them, each with why."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def note(self, name: str, reason: str) -> None:
        """Note one file."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append((name[:NAME_LENGTH], reason[:REASON_LENGTH]))

    def note_all(self, told: Any) -> None:
        """Note what was told in JSON. Raises ``BackupError`` where that tells nothing so."""
        try:
            first = [(str(name), str(reason)) for name, reason in told["first"]]
            others = int(told["count"]) - len(first)
        except (KeyError, TypeError, ValueError) as error:
            raise BackupError("What a volume lacks is not told as it should be.") from error
        for name, reason in first:
            self.note(name, reason)
        self.count += max(0, others)

    def make_json(self) -> dict[str, Any]:
        """Make what ``note_all`` reads."""
        return {"count": self.count, "first": self.first}

    def describe(self) -> str:
        """List the files, as a part of a sentence."""
        told = [
            f"{'whatever came after' if name == REST else repr(name[-200:])} ({make_plain(reason)})"
            for name, reason in self.first
        ]
        others = self.count - len(self.first)
        return ", ".join(told) + (f" and {others} more" if others > 0 else "")
