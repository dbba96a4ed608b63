"""When a workspace expires, and by how much its owner may put that off. Pure: no I/O, and the time is always given.

Promise: an expiry is never further away than a fresh start under today's policy could put it. Times are whole seconds
since the epoch; 0 is for ever, as in the label ``expiration_timestamp_seconds`` of the original.
"""

from __future__ import annotations

from typing import Any

from mlhub.errors import OptionsError
from mlhub.workspace.choices import Refusal, Request, choose_days, find_barrier, find_maximum
from mlhub.workspace.decision import make_request
from mlhub.workspace.options import FieldsError, WorkspaceOptions
from mlhub.workspace.policy import Host, Person, SitePolicy, SpawnerDefaults

LABEL_EXPIRES = "expiration_timestamp_seconds"
NEVER = 0
_DAY = 86_400


def make_expiry(days_to_live: float | None, now: float) -> int:
    """Return when a workspace that is made now expires."""
    return NEVER if days_to_live is None else int(now + days_to_live * _DAY)


def keep_expiry(stored: int, days_to_live: float | None, now: float) -> int:
    """Return the stored expiry, or that of so many days from now where it is earlier."""
    fresh = make_expiry(days_to_live, now)
    if NEVER in (stored, fresh):
        return stored or fresh
    return min(stored, fresh)


def extend_expiry(policy: SitePolicy, person: Person, days: Any, now: float, defaults: SpawnerDefaults = SpawnerDefaults()) -> int:  # noqa: B008 - frozen
    """Return the expiry that lies so many days ahead of now; raise ``FieldsError`` where the policy does not allow it."""
    request = make_request(policy, person, WorkspaceOptions.from_rest({"days_to_live": days}), Host(), defaults)
    try:
        granted, _ = choose_days(request)
        barrier = find_barrier(request, "days_to_live", None)
        if barrier:
            raise Refusal("days_to_live", "days_to_live can not be chosen here. Ask an administrator.", barrier.source)
    except Refusal as refusal:
        raise FieldsError({refusal.field: refusal.sentence}, {refusal.field: str(refusal.source)} if refusal.source else {}) from None
    return make_expiry(granted, now)


def renew_expiry(
    policy: SitePolicy,
    person: Person,
    days_to_live: float | None,
    now: float,
    defaults: SpawnerDefaults = SpawnerDefaults(),  # noqa: B008 - frozen
) -> int:
    """Return when a workspace expires that had expired and is started again by a person; raise ``OptionsError`` where that is not for them."""
    request = make_request(policy, person, WorkspaceOptions(), Host(), defaults)
    if find_barrier(request, "days_to_live", None):
        raise OptionsError("This workspace has expired. Ask an administrator to start it for you, or for longer.")
    return _limit(make_expiry(days_to_live, now), request, now)


def limit_expiry(
    policy: SitePolicy,
    person: Person,
    stored: int,
    now: float,
    defaults: SpawnerDefaults = SpawnerDefaults(),  # noqa: B008 - frozen
) -> int:
    """Return when a workspace that is started again expires: as before, put off or not, or earlier where the policy became stricter."""
    return _limit(stored, make_request(policy, person, WorkspaceOptions(), Host(), defaults), now)


def _limit(expiry: int, request: Request, now: float) -> int:
    most = find_maximum(request, "days_to_live")
    return keep_expiry(expiry, most.value if most else None, now)


def remaining_seconds(expiry: int, now: float) -> int | None:
    """Return how long a workspace has left, at least 0, or None for ever."""
    return None if expiry == NEVER else max(0, int(expiry - now))
