"""What one workspace was granted, and one attempt to start it. Pure: no I/O.

Invariants: a ``StartAttempt`` lives from the beginning of a start to its end, whichever it is; a
``Grant`` changes where a start went well, where its expiry is put off, and where the workspace
stops. What a hub of an older version wrote is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlhub.policy.decide import Decision
from mlhub.policy.disk import DiskUse
from mlhub.policy.quota import Reservation

Traits = Mapping[str, Any]
ACCEPTED = "accepted_options"  # in all that this hub has written of a spawner


@dataclass(frozen=True)
class Grant:
    """Hold what was granted at the last start that went well, by whom, and until when.

    ``options`` are those that were accepted. ``handed_out`` are the ones that an administrator
    chose and the owner could not, ``handed_out_by`` is who that was. ``expires_at`` is in seconds
    since the epoch, 0 is for ever, None is not known. ``reservation`` counts against the totals,
    None where the workspace does not run. ``scheduled_at`` is the time of the event of the schedule
    that was carried out last, ``schedule_problem`` why that failed. ``stopped_because`` is why the
    hub itself stopped it last, as the end of a sentence, until it is started again.
    ``is_stop_due`` tells that its last stop failed and is tried again. ``image`` is the reference
    of the image that it was started from.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    handed_out: Mapping[str, Any] | None = None
    handed_out_by: str | None = None
    expires_at: int | None = None
    reservation: Reservation | None = None
    scheduled_at: float = 0.0
    schedule_problem: str = ""
    stopped_because: str = ""
    is_stop_due: bool = False
    image: str = ""

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, is_running: bool) -> Grant:
        """Read back what ``to_state`` wrote; what does not run counts no longer."""
        # The key is the one of older versions.
        reservation = state.get("holding") if is_running else None
        return cls(
            options=dict(state.get(ACCEPTED) or {}),
            handed_out=state.get("granted_options"),
            handed_out_by=state.get("granted_by"),
            expires_at=state.get("expires_at"),
            reservation=Reservation.from_state(reservation) if reservation else None,
            scheduled_at=float(state.get("scheduled_at") or 0),
            schedule_problem=str(state.get("schedule_problem") or ""),
            stopped_because=str(state.get("stopped_because") or ""),
            is_stop_due=bool(state.get("stop_due")),
            image=str(state.get("granted_image") or ""),
        )

    def to_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub, as JSON."""
        state: dict[str, Any] = {
            ACCEPTED: dict(self.options),
            "granted_options": None if self.handed_out is None else dict(self.handed_out),
            "granted_by": self.handed_out_by,
            "expires_at": self.expires_at,
            **({"granted_image": self.image} if self.image else {}),
        }
        if self.scheduled_at:
            state |= {"scheduled_at": self.scheduled_at, "schedule_problem": self.schedule_problem}
        if self.stopped_because:
            state["stopped_because"] = self.stopped_because
        if self.is_stop_due:
            state["stop_due"] = True
        if self.reservation is not None:
            state["holding"] = self.reservation.to_state()
        return state


def has_started(state: Mapping[str, Any] | None) -> bool:
    """Return True if a spawner's state was written after a start that went well, and before the
    stop.
    """
    return bool((state or {}).get("holding"))


@dataclass(frozen=True)
class StartAttempt:
    """Hold how far one attempt has come; each step makes the next one of it.

    ``defaults`` are the traits as the configuration and its group overrides leave them,
    ``settled`` as this attempt set them last: any other value is what code of the site chose in
    the person's place, and is kept in ``chosen``. ``disk`` is what the owner's files took when it
    began, None where nobody knows.
    """

    defaults: Traits
    settled: Traits
    chosen: Traits = field(default_factory=dict)
    decision: Decision | None = None
    expires_at: int | None = None
    is_refused: bool = False
    disk: DiskUse | None = None

    def notice(self, traits: Traits) -> StartAttempt:
        """Return the attempt after a look at the traits as code of the site left them."""
        return replace(self, chosen={**self.chosen, **find_changes(self.settled, traits)})

    def decide(self, decision: Decision, expires_at: int | None, traits: Traits) -> StartAttempt:
        """Return the attempt after a decision, which was written into the traits."""
        return replace(self, decision=decision, expires_at=expires_at, settled=traits)


@dataclass(frozen=True)
class RefusedStart:
    """Hold what was refused last, until the form has shown it.

    ``fields`` maps a field's name to its sentence. ``options`` are None where a form that was
    refused still has them.
    """

    fields: Mapping[str, str]
    options: Any = None


def find_changes(before: Traits, now: Traits) -> dict[str, Any]:
    """Return the traits that have another value now."""
    return {name: value for name, value in now.items() if value != before[name]}
