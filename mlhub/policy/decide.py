"""Decide what a workspace gets: options, policy, host and what runs already, put together. Pure: no
I/O.

Invariants: ``decide`` returns a ``Decision`` in which each value has its reason, or raises
``FieldsError`` with a sentence and a rule for each field that is refused.

``Ledger`` keeps what runs and what is just starting. Its methods never wait, so within one event
loop starts that arrive together are decided one after the other; threads or processes that share
one must hold a lock around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlhub.errors import OptionsError
from mlhub.options.gpus import count_gpus
from mlhub.options.image import ChosenImage
from mlhub.options.model import OPTIONS, FieldsError, WorkspaceOptions
from mlhub.options.option import Option, Reason, Refusal, Request, Setting
from mlhub.policy import disk
from mlhub.policy.circumstances import Circumstances, find_barrier, refuse_choice
from mlhub.policy.idle import IdleLimits, describe_duration
from mlhub.policy.model import Person, list_group_totals
from mlhub.policy.quota import TOTALS, Reservation, explain_excess, sum_reserved
from mlhub.policy.safe import is_outside
from mlhub.texts import Text

# What can change while a workspace runs, and all that one which runs may keep without asking for
# it.
CHANGEABLE = tuple(name for name, option in OPTIONS.items() if option.may_change_while_running)
KEPT = tuple(name for name, option in OPTIONS.items() if option.is_kept)


@dataclass(frozen=True)
class Decision:
    """Hold what one workspace gets, by the names of the options.

    A limit of None is no limit; ``days_to_live`` None is for ever; sizes are in bytes.
    """

    person: Person
    granted: Mapping[str, Any]
    gpu_count: int | None
    ssh: bool
    reasons: Mapping[str, Reason]
    idle: IdleLimits

    @property
    def image(self) -> ChosenImage:
        """The image, and its entry of the catalogue; without a reference where images mean
        nothing.
        """
        image: ChosenImage = self.granted.get("image", ChosenImage("", None))
        return image

    @property
    def cpu_limit(self) -> float | None:
        """CPU cores."""
        return self.granted.get("cpu_limit")

    @property
    def mem_limit(self) -> int | None:
        """Memory."""
        return self.granted.get("mem_limit")

    @property
    def shm_size(self) -> int | None:
        """Shared memory."""
        return self.granted.get("shm_size")

    @property
    def gpus(self) -> tuple[str, ...]:
        """Indices or UUIDs."""
        return self.granted.get("gpus", ())

    @property
    def days_to_live(self) -> float | None:
        """Days."""
        return self.granted.get("days_to_live")

    @property
    def is_mount_volume(self) -> bool:
        """Whether files are kept in a volume."""
        return self.granted.get("is_mount_volume", False)

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that options give to the workspace."""
        pairs = (OPTIONS[name].make_variables(value) for name, value in self.granted.items())
        return {name: value for given in pairs for name, value in given.items()}

    def to_reservation(self, server: str) -> Reservation:
        """Return what counts against the totals while the workspace runs."""
        return Reservation(
            user=self.person.name,
            server=server,
            groups=self.person.groups,
            cpu_limit=self.cpu_limit,
            mem_limit=self.mem_limit,
            gpus=self.gpu_count,
            volumes=int(self.is_mount_volume),
        )

    def describe(self) -> dict[str, str]:
        """Write each value as text; secrets are not in it."""
        words = {name: OPTIONS[name].describe(value) for name, value in self.granted.items()}
        return {**words, "ssh": str(self.ssh).lower()}

    def explain(self) -> dict[str, dict[str, str]]:
        """Return value, reason, rule and place of each field, for people and for the REST API."""
        reasons = {
            **self.reasons,
            "idle_timeout": Reason("rule", self.idle.timeout.source),
            "max_age": Reason("rule", self.idle.max_age.source),
        }
        words = {
            **self.describe(),
            "idle_timeout": describe_duration(self.idle.timeout.value),
            "max_age": describe_duration(self.idle.max_age.value),
        }
        return {
            name: {
                "value": value,
                "reason": reasons[name].text,
                "rule": source.rule if (source := reasons[name].source) else "",
                "place": source.place if source else "",
            }
            for name, value in words.items()
        }


def decide(circumstances: Circumstances, options: WorkspaceOptions) -> Decision:
    """Decide about one start; raise ``FieldsError``. What this very workspace holds already does
    not count.
    """
    request, asked = circumstances.make_request(options), options.to_user_options()
    chosen, reasons, refusals = _choose_all(circumstances.options, request, asked)
    refusals |= circumstances.find_foreign(asked)
    if not refusals:
        ssh = request.settings["ssh"]
        decision = Decision(
            person=circumstances.person,
            granted=chosen,
            gpu_count=count_gpus(chosen.get("gpus", ()), circumstances.host),
            ssh=ssh.value,
            reasons={**reasons, "ssh": Reason("rule", ssh.source)},
            idle=IdleLimits.of(request.settings),
        )
        refusals = _find_excesses(decision, circumstances, request.settings)
        refusals |= _find_disk_excess(circumstances, request.settings)
        if not refusals:
            return decision
    rules = {name: str(refusal.source) for name, refusal in refusals.items() if refusal.source}
    raise FieldsError({name: refusal.sentence for name, refusal in refusals.items()}, rules)


def decide_kept(
    circumstances: Circumstances,
    asked: WorkspaceOptions,
    found: Mapping[str, Any],
    decision: Decision,
) -> Decision | None:
    """Decide about a workspace that runs already and holds ``found`` (as options), where
    ``decision`` is what a fresh one would get.

    What was not ``asked`` it keeps; CPU and memory, which change while it runs, are cut to what may
    be had now. None where the rest is more than that or other than what was asked, or where a total
    does not allow it: then only a fresh one will do.
    """
    given, circumstances = asked.to_user_options(), circumstances.of(decision.person)
    try:
        has = WorkspaceOptions.from_rest(found)
        both = WorkspaceOptions.from_rest({**has.to_user_options(), **given})
        request = _cut_amounts(circumstances.make_request(both))
        kept = {
            name: OPTIONS[name].choose(request)
            for name in KEPT
            if name in decision.granted and (name in given or getattr(has, name) is not None)
        }
    except (Refusal, OptionsError):
        return None
    fixed = [name for name in kept if name not in CHANGEABLE and getattr(has, name) is not None]
    if any(name in given and decision.granted[name] != getattr(has, name) for name in fixed):
        return None
    granted = {**decision.granted, **{name: value for name, (value, _) in kept.items()}}
    reasons = {**decision.reasons, **{name: reason for name, (_, reason) in kept.items()}}
    gpu_count = count_gpus(granted.get("gpus", ()), circumstances.host)
    taken = replace(decision, granted=granted, reasons=reasons, gpu_count=gpu_count)
    return None if _find_excesses(taken, circumstances, request.settings) else taken


@dataclass
class Ledger:
    """Keep what runs and what is just starting, so that totals hold when many starts arrive at
    once.
    """

    _reserved: dict[tuple[str, str], Reservation] = field(default_factory=dict)

    def reserve(self, circumstances: Circumstances, options: WorkspaceOptions) -> Decision:
        """Decide about one start (see ``decide``) and count it from now on; raise ``FieldsError``
        and count nothing new.
        """
        decision = decide(replace(circumstances, reserved=self.list_reserved()), options)
        self.record(decision.to_reservation(circumstances.server))
        return decision

    def record(self, reservation: Reservation) -> None:
        """Count a workspace that is known to run, for example after the hub was restarted."""
        self._reserved[reservation.key] = reservation

    def release(self, user: str, server: str = "") -> None:
        """Count a workspace no longer, because it stopped or never came up."""
        self._reserved.pop((user, server), None)

    def list_reserved(self) -> tuple[Reservation, ...]:
        """List all that counts."""
        return tuple(self._reserved.values())


def _choose_all(
    options: Iterable[Option], request: Request, asked: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Reason], dict[str, Refusal]]:
    chosen: dict[str, Any] = {}
    reasons: dict[str, Reason] = {}
    refusals: dict[str, Refusal] = {}
    for option in options:
        name = option.name
        try:
            chosen[name], reasons[name] = option.choose(request)
            barrier = find_barrier(request, name, chosen.get("image")) if name in asked else None
            # To ask for what one gets anyway is no harm: stored options outlive the rules they were
            # made under.
            if barrier and option.choose(_without(request, name))[0] != chosen[name]:
                cure = Text("Leave it out.") if name != "image" else Text("Take the default.")
                raise refuse_choice(name, barrier, cure)
        except Refusal as refusal:
            refusals[refusal.name] = refusal
    return chosen, reasons, refusals


def _without(request: Request, name: str) -> Request:
    return request.asking(**{name: None}, **({"is_custom_image": False} if name == "image" else {}))


def _cut_amounts(request: Request) -> Request:
    for name in CHANGEABLE:
        value, limit = request.asked[name], OPTIONS[name].find_maximum(request)
        if value is not None and limit is not None and value > limit.value:
            request = request.asking(**{name: limit.value})
    return request


def _find_excesses(
    decision: Decision, circumstances: Circumstances, settings: Mapping[str, Setting]
) -> dict[str, Refusal]:
    wanted, others = decision.to_reservation(circumstances.server), circumstances.list_others()
    person = decision.person
    own = {total: settings[f"total.{total}"] for total in TOTALS if f"total.{total}" in settings}
    rooms = [(Text("You"), [each for each in others if each.user == person.name], own)]
    for group, totals in list_group_totals(circumstances.policy, person):
        whose = Text("The group %(group)s", group=group) if group else Text("All people together")
        members = [each for each in others if not group or group in each.groups]
        rooms.append((whose, members, totals))
    refusals: dict[str, Refusal] = {}
    for whose, reserved, totals in rooms:
        for total, limit in totals.items():
            held = [each for each in reserved if not is_outside(limit, each.amount(total))]
            sentence = explain_excess(
                total, limit.value, sum_reserved(held, total), wanted.amount(total), whose
            )
            name = "is_mount_volume" if total == "volumes" else total
            if sentence and wanted.amount(total):
                refusals.setdefault(name, Refusal(name, sentence, limit.source))
    return refusals


def _find_disk_excess(
    circumstances: Circumstances, settings: Mapping[str, Setting]
) -> dict[str, Refusal]:
    limit = settings.get(f"total.{disk.TOTAL}")
    if limit is None:
        return {}
    owner = circumstances.person.name
    runs_others = any(each.user == owner for each in circumstances.list_others())
    sentence = disk.explain_disk_excess(
        limit.value, circumstances.disk, circumstances.server, runs_others, circumstances.now
    )
    return {disk.TOTAL: Refusal(disk.TOTAL, sentence, limit.source)} if sentence else {}
