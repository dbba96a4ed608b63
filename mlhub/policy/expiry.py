"""When a workspace expires, and by how much its owner may put that off. Pure: no I/O, and the time
is always given.

Invariants: an expiry is never further away than a fresh start under today's policy could put it.
Times are whole seconds since the epoch; 0 is for ever, as in the label
``expiration_timestamp_seconds`` of the original.
"""

from __future__ import annotations

from typing import Any

from mlhub.errors import OptionsError
from mlhub.options.days_to_live import DAYS_TO_LIVE
from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.options.option import Refusal, Request
from mlhub.policy.circumstances import Circumstances, find_barrier, refuse_choice
from mlhub.texts import Text

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


def extend_expiry(circumstances: Circumstances, days: Any) -> int:
    """Return the expiry that lies so many days ahead of now; raise ``FieldsError`` where the policy
    does not allow it.
    """
    request = circumstances.make_request(WorkspaceOptions.from_rest({"days_to_live": days}))
    try:
        for refusal in circumstances.find_foreign(["days_to_live"]).values():
            raise refusal
        granted, _ = DAYS_TO_LIVE.choose(request)
        barrier = find_barrier(request, "days_to_live", None)
        if barrier:
            raise refuse_choice("days_to_live", barrier, Text("Ask an administrator."))
    except Refusal as refusal:
        raise FieldsError(
            {refusal.name: refusal.sentence},
            {refusal.name: str(refusal.source)} if refusal.source else {},
        ) from None
    return make_expiry(granted, circumstances.now)


def begin_expiry(circumstances: Circumstances) -> int:
    """Return when a workspace expires that would be made now, with nothing chosen."""
    days, _ = DAYS_TO_LIVE.choose(circumstances.make_request(WorkspaceOptions()))
    return make_expiry(days, circumstances.now)


def renew_expiry(circumstances: Circumstances, days_to_live: float | None) -> int:
    """Return when a workspace expires that had expired and is started again by a person; raise
    ``OptionsError`` where that is not for them.
    """
    request, now = circumstances.make_request(WorkspaceOptions()), circumstances.now
    if find_barrier(request, "days_to_live", None):
        raise OptionsError(
            Text(
                "This workspace has expired. Ask an administrator to start it for you,"
                " or for longer."
            )
        )
    return _limit(make_expiry(days_to_live, now), request, now)


def limit_expiry(circumstances: Circumstances, stored: int) -> int:
    """Return when a workspace that is started again expires: as before, put off or not, or earlier
    where the policy became stricter.
    """
    request = circumstances.make_request(WorkspaceOptions())
    return _limit(stored, request, circumstances.now)


def _limit(expiry: int, request: Request, now: float) -> int:
    most = DAYS_TO_LIVE.find_maximum(request)
    return keep_expiry(expiry, most.value if most else None, now)


def remaining_seconds(expiry: int, now: float) -> int | None:
    """Return how long a workspace has left, at least 0, or None for ever."""
    return None if expiry == NEVER else max(0, int(expiry - now))


_UNITS = (
    (Text("in 1 day"), Text("in %(number)s days"), _DAY),
    (Text("in 1 hour"), Text("in %(number)s hours"), 3600),
)


def describe_remaining(seconds: int) -> str:
    """Write "in 3 days", and nearer to the end hours and minutes; "" where nothing is left."""
    if seconds <= 0:
        return ""
    one, many, size = next(
        (each for each in _UNITS if seconds >= 2 * each[2]),
        (Text("in 1 minute"), Text("in %(number)s minutes"), 60),
    )
    number = max(1, round(seconds / size))
    return one if number == 1 else Text(many, number=number)
