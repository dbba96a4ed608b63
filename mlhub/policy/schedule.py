"""Which schedule holds for a workspace, and which one its owner may choose. Pure: no I/O, and the
time is always given.

Invariants: what is stored holds as long as the policy of now allows it; else the policy's own
schedule does, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.options.option import Reason, Refusal
from mlhub.options.schedule import SCHEDULE, Schedule, list_events
from mlhub.policy.circumstances import Circumstances, find_barrier, refuse_choice
from mlhub.policy.model import SitePolicy
from mlhub.texts import Text


@dataclass(frozen=True)
class ValidSchedule:
    """The schedule that holds for one workspace, and why."""

    schedule: Schedule
    reason: Reason
    may_choose: bool


def find_schedule(circumstances: Circumstances, stored: Any) -> ValidSchedule:
    """Return the schedule that holds; ``stored`` is what was chosen, as ``user_options`` has it."""
    if SCHEDULE not in circumstances.options:
        return ValidSchedule(Schedule(), Reason("it means nothing here"), False)
    asked = WorkspaceOptions.from_rest({"schedule": stored}).schedule
    request = circumstances.make_request(WorkspaceOptions())
    may_choose = find_barrier(request, SCHEDULE.name, None) is None
    try:
        chosen, reason = SCHEDULE.choose(request.asking(schedule=asked if may_choose else None))
    except Refusal:  # the policy became stricter
        chosen, reason = SCHEDULE.choose(request)
    return ValidSchedule(chosen, reason, may_choose)


def choose_schedule(circumstances: Circumstances, wanted: Any) -> str | None:
    """Return what is stored of somebody's choice, None where they leave it to the policy.

    Raises ``FieldsError`` where the policy does not allow it.
    """
    options = WorkspaceOptions.from_rest({"schedule": wanted})
    request = circumstances.make_request(options)
    try:
        for refusal in circumstances.find_foreign(["schedule"]).values():
            raise refusal
        if barrier := find_barrier(request, SCHEDULE.name, None):
            raise refuse_choice(SCHEDULE.name, barrier, Text("Ask an administrator."))
        SCHEDULE.choose(request)
    except Refusal as refusal:
        rules = {refusal.name: str(refusal.source)} if refusal.source else {}
        raise FieldsError({refusal.name: refusal.sentence}, rules) from None
    return None if options.schedule is None else str(options.schedule)


def list_due_rules(policy: SitePolicy, after: float, until: float, zone: str) -> Iterator[str]:
    """List the rules whose own schedule has an event in this time: only then does a policy concern
    those who have chosen nothing.
    """
    for path, rule in policy.list_rules():
        default = rule.schedule.default if rule.schedule else None
        if default and list_events(default, after, until, zone):
            yield ".".join(map(str, path))
