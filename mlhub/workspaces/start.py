"""Where the site's policy meets a start: nothing is started that ``decide`` did not grant.

Invariants: options are checked before the site's own hooks see them, and what those hooks leave
behind is checked again; between that decision and the start nothing is read from anywhere else.
What is granted counts against the totals from the moment of the decision until the workspace is
stopped.

A refusal leaves things as they were: JupyterHub has already stored the options and calls ``stop()``
after the failed start, so the last accepted options are put back and that one ``stop()`` does
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from jupyterhub.spawner import SpawnException
from traitlets import default

from mlhub.errors import ConfigurationError, MLHubError, OptionsError, friendly_errors
from mlhub.options.model import FieldsError
from mlhub.policy import disk
from mlhub.policy.decide import Decision, decide, decide_kept
from mlhub.policy.expiry import extend_expiry, limit_expiry, make_expiry, renew_expiry
from mlhub.policy.quota import Reservation
from mlhub.policy.schedule import ValidSchedule, choose_schedule, find_schedule
from mlhub.quantities import format_number, format_size
from mlhub.texts import Text, change, explain, join
from mlhub.workspaces.grant import Grant, RefusedStart
from mlhub.workspaces.rights import WorkspaceRights

FOR_ADMINISTRATORS = Text(
    "The hub's configuration keeps this workspace from starting. Tell your administrator:"
)


class PolicyEnforcement(WorkspaceRights):
    """Decide what one workspace gets, and remember what was granted."""

    # A hub that starts goes on with what runs, and neither starts, changes nor stops anything.
    adopts_only = False
    refused: RefusedStart | None = None

    @property
    def decision(self) -> Decision | None:
        """What the start under way was granted; None before that is decided, and after the
        start.
        """
        return None if self.attempt is None else self.attempt.decision

    @property
    def expires_at(self) -> int | None:
        """When the workspace expires, in seconds since the epoch; 0 is for ever."""
        attempt = self.attempt
        planned = attempt is not None and attempt.decision is not None
        return attempt.expires_at if attempt and planned else self.grant.expires_at

    @property
    def reservation(self) -> Reservation | None:
        """What counts against the totals now, or None where the workspace does not run."""
        return self.decision.to_reservation(self.name) if self.decision else self.grant.reservation

    # within a start, in this order

    def check_before_hooks(self) -> None:
        """Refuse malformed and forbidden options before any code of the site sees them."""
        self.refused = None
        decide(self.make_circumstances(), self.read_options())
        # The site's hooks see values that are checked, and always written the same way.
        self.user_options = self.seal_options({**self.list_extra(), **self.list_asked()})

    def reserve(self) -> Decision:
        """Decide about what the hooks left, and count it from now on."""
        options = self.read_options()
        decision = self.site.ledger.reserve(self.make_circumstances(), options)
        self._apply(decision, self._plan_expiry(decision))
        return decision

    def take_over(self, found: Mapping[str, Any]) -> bool:
        """Decide about a workspace that runs already, by what it holds, and count that; tell
        whether it may go on.
        """
        assert self.decision is not None
        options, circumstances = self.read_options(), self.make_circumstances()
        kept = decide_kept(circumstances, options, found, self.decision)
        if kept is None:
            return False
        self._apply(kept, self.expires_at)
        self.site.ledger.record(kept.to_reservation(self.name))
        return True

    def accept(self) -> None:
        """End an attempt that went well: write down what was granted, and if an administrator chose
        it.
        """
        person, asked = self.make_person(), self.seal_options(self.list_asked())
        is_handed_out = person.is_admin and not self.user.admin and not self._is_own_right()
        self.grant = Grant(
            options={**self.list_extra(), **asked},
            handed_out=asked if is_handed_out else None,
            handed_out_by=(
                (self.find_administrator() or self.grant.handed_out_by) if is_handed_out else None
            ),
            expires_at=self.expires_at,
            reservation=self.reservation,
            scheduled_at=self.grant.scheduled_at,
            image=self.image,
        )
        self.attempt = None
        self._store_accepted()

    def release(self) -> None:
        """Count this workspace no longer, and drop what is left of its start."""
        # Whatever of it is known here: an attempt may be refused after it was counted.
        self.site.ledger.release(self.user.name, self.name)
        self.attempt, self.grant = None, replace(self.grant, reservation=None)

    def refuse(self, error: OptionsError) -> None:
        """Undo that JupyterHub stored refused options."""
        if isinstance(error, FieldsError) and disk.TOTAL in error.fields:
            self.site.disk.ask_again()
        # What a form sent is still with the form; what a start was refused for would be lost here.
        options = None if self.attempt is None else self.user_options
        self.refused = RefusedStart(error.fields if isinstance(error, FieldsError) else {}, options)
        if self.attempt is not None:
            self.attempt = replace(self.attempt, is_refused=True)
        self._store_accepted()

    def friendly_errors(self) -> AbstractContextManager[None]:
        """Turn our own errors into errors whose sentence JupyterHub shows to the person."""
        return friendly_errors(self._answer_error)

    def _answer_error(self, error: MLHubError) -> SpawnException:
        if isinstance(error, OptionsError):
            self.refuse(error)
        return make_http_error(error)

    # while it runs

    def extend(self, days: Any) -> int:
        """Put the expiry so many days ahead of now; raise ``FieldsError`` where the policy does not
        allow it.
        """
        expires_at = extend_expiry(self.make_circumstances(counts_grant=False), days)
        self.put_off(expires_at)
        return expires_at

    def put_off(self, expires_at: int) -> None:
        """Let the workspace expire at another time, of a start that is under way too."""
        self.grant = replace(self.grant, expires_at=expires_at)
        if self.attempt is not None and self.attempt.decision is not None:
            self.attempt = replace(self.attempt, expires_at=expires_at)

    def find_schedule(self) -> ValidSchedule:
        """Return the schedule that holds by the policy of now."""
        return find_schedule(self.make_circumstances(), self.grant.options.get("schedule"))

    def choose_schedule(self, wanted: Any, now: float) -> None:
        """Have the workspace started and stopped by another schedule from now on; raise
        ``FieldsError`` where the policy does not allow it.
        """
        chosen = choose_schedule(self.make_circumstances(counts_grant=False), wanted)
        options, given = dict(self.grant.options), self.grant.handed_out
        for kept in (options, given := None if given is None else dict(given)):
            if kept is not None:
                kept.pop("schedule", None)
                kept.update({} if chosen is None else {"schedule": chosen})
        # What was due before is not what they have chosen.
        self.grant = replace(
            self.grant, options=options, handed_out=given, scheduled_at=now, schedule_problem=""
        )
        self._store_accepted()

    def note_schedule(self, at: float, problem: str) -> None:
        """Note that an event of the schedule was carried out, or why it failed."""
        self.grant = replace(self.grant, scheduled_at=at, schedule_problem=problem)

    def describe_limits(self) -> dict[str, str]:
        """Tell what the workspace holds while it runs, as text."""
        reserved = self.reservation
        if reserved is None:
            return {}
        return {
            "cpu_limit": "unlimited"
            if reserved.cpu_limit is None
            else format_number(reserved.cpu_limit),
            "mem_limit": "unlimited"
            if reserved.mem_limit is None
            else format_size(reserved.mem_limit),
            "gpus": "all" if reserved.gpus is None else str(reserved.gpus),
        }

    # what survives a restart of the hub

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote, and count a workspace that runs."""
        super().load_state(state)
        # JupyterHub believes a server to run where it has one in its database.
        is_running = self.orm_spawner is not None and self.orm_spawner.server is not None
        self.grant = Grant.from_state(state, is_running=is_running)
        if self.grant.reservation is not None:
            self.site.ledger.record(self.grant.reservation)

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        return {**super().get_state(), **self.grant.to_state()}

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        # The policy's decision is applied after the site's hook; without any hook JupyterHub logs a
        # warning.
        return lambda spawner, options: None

    # parts

    def _apply(self, decision: Decision, expires_at: int | None) -> None:
        self.image, self.cpu_limit, self.mem_limit = (
            decision.image.reference or self.default_image,
            decision.cpu_limit,
            decision.mem_limit,
        )
        assert self.attempt is not None
        self.attempt = self.attempt.decide(decision, expires_at, self._read_traits())

    def _is_own_right(self) -> bool:
        """Return True if the owner would have got the same alone."""
        own, person = self.make_circumstances(), self.make_owner()
        alone = replace(own, person=person, reserved=(), disk=None)
        try:
            granted = decide(alone, self.read_options())
        except OptionsError:
            return False
        return self.decision is not None and granted.describe() == self.decision.describe()

    def _plan_expiry(self, decision: Decision) -> int:
        circumstances, days = self.make_circumstances(), decision.days_to_live
        stored, asked = self.grant.expires_at, self.list_asked().get("days_to_live")
        if stored is None or (
            asked is not None and asked != self.grant.options.get("days_to_live")
        ):
            return make_expiry(days, circumstances.now)
        if 0 < stored <= circumstances.now and not self.adopts_only:
            # What was handed out has run its time: another one is for whoever may choose it now.
            return renew_expiry(self.make_circumstances(counts_grant=False), days)
        return limit_expiry(circumstances.of(decision.person), stored)

    def _store_accepted(self) -> None:
        """Make the accepted options those of the next start."""
        self.user_options = dict(self.grant.options)
        if self.orm_spawner is not None:
            # JupyterHub commits this together with its own record of the start.
            self.orm_spawner.user_options = dict(self.user_options)


def make_http_error(error: MLHubError) -> SpawnException:
    """Make the error whose sentence JupyterHub shows to the person."""
    sentence = explain(error)
    if isinstance(error, ConfigurationError):
        # Such as what a function of the site's says for each person: not theirs to mend.
        sentence = join(FOR_ADMINISTRATORS, sentence)
    exception = SpawnException(sentence, reason=type(error).__name__, status_code=error.status_code)
    # The "not running" page shows this attribute alone; people there have no use for rules, nor for
    # the id of what they can choose otherwise.
    exception.jupyterhub_message = change(sentence, error.number)
    if isinstance(error, OptionsError):
        fields = error.fields.values() if isinstance(error, FieldsError) else [sentence]
        exception.jupyterhub_message = join(*fields)
    return exception
