"""What is to be removed. Pure: no I/O, and the time is always given.

Invariants: nothing but what the census, the labels and the clock give ground for
(``mlhub.cleanup.evidence``). Where more of a kind would go than a site allows at once, nothing
goes before an administrator has confirmed just that.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mlhub.cleanup.evidence import GRACE_SECONDS, Census, is_ours
from mlhub.identity import Identity
from mlhub.workspaces.port import Kind, Resource, Workspace, find_expiry

DAY_SECONDS = 86_400
# So many at once are no mistake worth waiting for, where each of them says itself that it is due.
FEW = 3
_ORDER = (Kind.WORKSPACE, Kind.VOLUME, Kind.NETWORK)


class Task(StrEnum):
    """What cleanup does; the first two are the documented endpoints."""

    USERS = "users"
    EXPIRED = "expired"
    TRASH = "trash"


@dataclass(frozen=True)
class Item:
    """One thing that should go, and why. ``resource`` is None for an expired workspace, which goes
    as a whole; ``is_doubtful`` where its ground is weak.
    """

    kind: Kind
    name: str
    user: str
    server: str | None
    reason: str
    resource: Resource | None = None
    is_doubtful: bool = False

    @property
    def key(self) -> Hashable:
        """What this thing is told by from one look to the next."""
        made = self.resource and (self.resource.created_at, self.resource.trashed_at)
        return (self.kind, self.name, self.user, self.server, made)

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": str(self.kind),
            "name": self.name,
            "user": self.user,
            "server": self.server,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Finding:
    """What a look found for one task: what should go, and of how many of each kind.

    ``is_sure`` where each thing says itself that it is due, so that a few may always go;
    ``grace_seconds`` is for how long it must have been seen.
    """

    items: Sequence[Item]
    totals: Mapping[Kind, int]
    is_sure: bool
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True)
class Plan:
    """What is done with what was found: removed now, looked at again later, or kept until it is
    confirmed; ``problems`` say why.
    """

    task: Task
    due: tuple[Item, ...] = ()
    waiting: tuple[Item, ...] = ()
    held: tuple[Item, ...] = ()
    problems: tuple[str, ...] = ()
    confirm: str = ""

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "task": str(self.task),
            "due": [each.describe() for each in self.due],
            "waiting": [each.describe() for each in self.waiting],
            "held": [each.describe() for each in self.held],
            "problems": list(self.problems),
            "confirm": self.confirm or None,
        }


def find_orphans(hub: str, census: Census, resources: Iterable[Resource]) -> Finding:
    """Find what belongs to people and servers that the hub does not know; data that is in the trash
    already is no orphan.
    """
    ours = [each for each in resources if is_ours(hub, each) and each.trashed_at is None]
    unknown = [
        (each, reason)
        for each in ours
        if each.created_at < census.listed_at and (reason := census.explain_unknown(each))
    ]
    # A network does not say for whom it was made; it goes with the rest of its owner's.
    doubtful = {each.user for each, _ in unknown if census.is_unaccounted(each)}
    items = [
        Item(each.kind, each.name, each.user, each.server, reason, each, each.user in doubtful)
        for each, reason in unknown
    ]
    return Finding(items, Counter(each.kind for each in ours), is_sure=False)


def find_expired(hub: str, census: Census, workspaces: Iterable[Workspace], now: float) -> Finding:
    """Find the workspaces of people and servers that the hub knows whose time is over, running or
    stopped.
    """
    held = {each.identity: each for each in workspaces if each.identity.owns(each.labels)}
    known: list[tuple[Identity, int | None]] = []
    for user, servers in census.people.items():
        for server in {"", *servers}:
            identity = Identity(hub, user, server)
            state, workspace = servers.get(server), held.get(identity)
            if workspace is not None:
                known.append((identity, find_expiry(workspace, state)))
            elif state and (expires := int(state.get("expires_at") or 0)):
                known.append((identity, expires))
    items = [
        Item(
            Kind.WORKSPACE,
            identity.container,
            identity.user,
            identity.server,
            f"It expired at {_show(expires)}.",
        )
        for identity, expires in known
        if expires and expires <= now
    ]
    return Finding(items, {Kind.WORKSPACE: len(known)}, is_sure=True, grace_seconds=0)


def find_overdue(
    hub: str, resources: Iterable[Resource], retention_days: float, now: float
) -> Finding:
    """Find the data that has been in the trash for as long as it is kept there; where it is not
    kept at all, all of it.
    """
    volumes = [each for each in resources if each.kind is Kind.VOLUME and is_ours(hub, each)]
    items = []
    for each in volumes:
        # 0 is a mark that cannot be read: such data stays until an administrator removes it.
        is_overdue = bool(each.trashed_at) and (
            (each.trashed_at or 0) + retention_days * DAY_SECONDS <= now
        )
        if each.trashed_at is not None and (is_overdue or retention_days == 0):
            since = f"since {_show(each.trashed_at)}" if each.trashed_at else "already"
            reason = f"It is in the trash {since}."
            items.append(Item(each.kind, each.name, each.user, each.server, reason, each))
    grace_seconds = GRACE_SECONDS if retention_days else 0
    return Finding(items, {Kind.VOLUME: len(volumes)}, is_sure=True, grace_seconds=grace_seconds)


def make_plan(
    task: Task,
    finding: Finding,
    seen_seconds: Mapping[Hashable, float],
    most_percent: int,
    confirmed: str = "",
    approved: Container[Hashable] = (),
) -> Plan:
    """Make a plan of what was found. ``seen_seconds`` says for how long each thing has been seen,
    ``confirmed`` is the plan's own ``confirm`` where an administrator has seen it, ``approved`` are
    the keys of what was confirmed before.
    """
    items = sorted(finding.items, key=lambda each: (each.user, _ORDER.index(each.kind), each.name))
    problems = list(_find_excess(finding, most_percent))
    held = [each for each in items if problems or each.is_doubtful]
    if any(each.is_doubtful for each in items):
        problems.append(
            "Some of it was made under another database of this hub, or an older state of this one"
            " came back from a backup. See whose it is before you confirm."
        )
    confirm = _make_digest(task, held) if held else ""
    if held and (confirmed == confirm or all(each.key in approved for each in held)):
        held, problems, confirm = [], [], ""
    kept = {each.key for each in held}
    due: list[Item] = []
    waiting: list[Item] = []
    for each in items:
        if each.key not in kept:
            is_due = seen_seconds.get(each.key, 0) >= finding.grace_seconds
            (due if is_due else waiting).append(each)
    return Plan(task, tuple(due), tuple(waiting), tuple(held), tuple(problems), confirm)


def _find_excess(finding: Finding, most_percent: int) -> Iterable[str]:
    for kind, count in Counter(each.kind for each in finding.items).items():
        total = finding.totals.get(kind, 0)
        few = FEW if finding.is_sure else 0
        if count > few and count * 100 > most_percent * total:
            yield (
                f"{count} of {total} objects of the kind {kind} would go, which is more than"
                f" {most_percent} % (CLEANUP_MOST_PERCENT). Nothing goes before an administrator"
                " has looked at them and confirms."
            )


def _make_digest(task: Task, items: Iterable[Item]) -> str:
    text = json.dumps([task, sorted(repr(each.key) for each in items)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _show(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return f"second {at:.0f}"
