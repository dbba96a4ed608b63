"""What of what was read is ground enough to remove something. Pure: no I/O, and every clock is
given.

Invariants: somebody is unknown only where everybody was read, whole and just now, after what they
have was listed. An object is ours only where its labels say so in full. A jump of the clock, and
something that was seen only once, are no ground yet: both have to last for ``GRACE_SECONDS``, by a
clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from mlhub.errors import EvidenceError
from mlhub.identity import Identity
from mlhub.workspaces.gaps import Gap
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Kind, Resource

Clock = Callable[[], float]
GRACE_SECONDS = 600.0
FRESH_SECONDS = 60.0


@dataclass(frozen=True)
class Census:
    """Everybody whom the hub knows, with their servers and what is kept of each, as the database
    said at one moment; ``count`` is what it says apart from that.

    ``listed_at`` is when the place where workspaces run was asked, ``read_at`` when the database
    was, both in seconds since the epoch. ``holders`` are the labels (``Holder.label``) of all who
    are, or ever were, people of this database; ``gaps`` are the times that it knows nothing of.
    """

    people: Mapping[str, Mapping[str, Mapping[str, Any]]]
    count: int
    listed_at: float
    read_at: float
    holders: frozenset[str] = frozenset()
    gaps: tuple[Gap, ...] = ()

    def check(self, now: float) -> None:
        """Raise ``EvidenceError`` where this is no ground to remove anything."""
        if not self.people:
            raise EvidenceError(
                "The hub's database names nobody, so nothing is removed. Where that is no mistake,"
                " add the first person."
            )
        if self.count != len(self.people):
            raise EvidenceError(
                f"The hub's database counts {self.count} people and names {len(self.people)}, so"
                " nothing is removed. The next pass asks again."
            )
        if not self.listed_at <= self.read_at <= now < self.read_at + FRESH_SECONDS:
            raise EvidenceError(
                f"What the hub's database said is {now - self.read_at:.0f} s old, or older than the"
                " list of what there is, so nothing is removed. The next pass asks again."
            )

    def explain_unknown(self, resource: Resource) -> str:
        """Return why an object belongs to nobody whom the hub knows; "" where it does belong to
        somebody.

        Everybody has a default server, whether or not it was ever started.
        """
        servers = self.people.get(resource.user)
        if servers is None:
            return f"The hub knows nobody named {resource.user!r}."
        if resource.server and resource.server not in servers:
            return f"{resource.user!r} has no server {resource.server!r}."
        return ""

    def is_unaccounted(self, resource: Resource) -> bool:
        """Return True if an object was made for somebody whom this database never knew: it is
        another one than the hub had then, or an older state of it, as after a loss of the hub's
        data. So was what was made in a gap, maybe for somebody whom it knows.
        """
        if any(gap.covers(resource.created_at) for gap in self.gaps):
            return True
        made_for = resource.labels.get(LABEL_PERSON, "")
        return bool(made_for) and made_for not in self.holders


def is_ours(hub: str, resource: Resource) -> bool:
    """Return True if an object's labels name this hub, and just the owner that it is listed for."""
    owner = Identity(hub, resource.user, resource.server or "")
    if resource.kind is Kind.NETWORK:
        return resource.server is None and owner.owns_for_user(resource.labels)
    return resource.server is not None and owner.owns(resource.labels)


class SteadyClock:
    """The time of day, where a jump ahead counts only once it has lasted for ``GRACE_SECONDS``; a
    jump back counts at once.

    ``wall`` gives seconds since the epoch, ``monotonic`` those of a clock that nobody sets.
    """

    def __init__(self, wall: Clock, monotonic: Clock) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._looks: list[tuple[float, float]] = []  # when, and how far the other clock was ahead
        self.look()

    def look(self) -> float:
        """Return the time of day in seconds since the epoch."""
        now = self._monotonic()
        ahead = self._wall() - now
        old = [each for each in self._looks if now - each[0] >= GRACE_SECONDS]
        # Of what is older than the grace the last look alone counts: what came after it has lasted.
        self._looks = [*old[-1:], *self._looks[len(old) :]]
        last = self._looks[-1] if self._looks else None
        # Of many looks one is kept, unless something has happened in between.
        if last is None or now - last[0] >= 1 or abs(ahead - last[1]) >= 1:
            self._looks.append((now, ahead))
        return now + min(ahead, *(each for _, each in self._looks))


class Sightings:
    """For how long things have been seen, look by look, without a look that missed them."""

    def __init__(self, monotonic: Clock) -> None:
        self._monotonic = monotonic
        self._first: dict[Hashable, dict[Hashable, float]] = {}

    def note(self, subject: Hashable, seen: Collection[Hashable]) -> dict[Hashable, float]:
        """Note a whole look at one subject; return for how many seconds each thing has been
        seen.
        """
        now, before = self._monotonic(), self._first.get(subject, {})
        self._first[subject] = first = {each: before.get(each, now) for each in seen}
        return {each: now - at for each, at in first.items()}
