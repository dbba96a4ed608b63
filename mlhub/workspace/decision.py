"""Decide what a workspace gets: options, policy, host and what runs already, put together. Pure: no I/O.

Promise: ``decide`` returns a ``Decision`` in which each value has its reason, or raises ``FieldsError`` with a sentence
and a rule for each field that is refused.

``Ledger`` keeps what runs and what is just starting. Its methods never wait, so within one event loop starts that
arrive together are decided one after the other; threads or processes that share one must hold a lock around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlhub.errors import OptionsError
from mlhub.workspace import values
from mlhub.workspace.choices import (
    ChosenImage,
    Reason,
    Refusal,
    Request,
    choose_cores,
    choose_days,
    choose_environment,
    choose_image,
    choose_memory,
    choose_shared_memory,
    choose_volume,
    find_barrier,
    find_maximum,
)
from mlhub.workspace.gpus import choose_gpus, count_gpus
from mlhub.workspace.options import FieldsError, WorkspaceOptions
from mlhub.workspace.policy import (
    Host,
    Person,
    Setting,
    SitePolicy,
    SpawnerDefaults,
    find_host_limit,
    list_group_totals,
    resolve_settings,
)
from mlhub.workspace.quota import TOTALS, Holding, explain_excess, sum_held

CHOICES: Mapping[str, Callable[[Request], tuple[Any, Reason]]] = {
    "image": choose_image,
    "cpu_limit": choose_cores,
    "mem_limit": choose_memory,
    "shm_size": choose_shared_memory,
    "gpus": choose_gpus,
    "env": choose_environment,
    "days_to_live": choose_days,
    "is_mount_volume": choose_volume,
}

# What can change while a workspace runs, and all that one which runs may keep without asking for it.
CHANGEABLE = ("cpu_limit", "mem_limit")
KEPT = (*CHANGEABLE, "shm_size", "gpus", "is_mount_volume")


@dataclass(frozen=True)
class Decision:
    """Hold what one workspace gets. A limit of None is no limit; ``days_to_live`` None is for ever."""

    person: Person
    image: ChosenImage
    cpu_limit: float | None
    mem_limit: int | None
    shm_size: int | None
    gpus: tuple[str, ...]
    gpu_count: int | None
    env: Mapping[str, str]
    days_to_live: float | None
    is_mount_volume: bool
    ssh: bool
    reasons: Mapping[str, Reason]

    def to_holding(self, server: str) -> Holding:
        """Return what counts against the totals while the workspace runs."""
        return Holding(
            user=self.person.name,
            server=server,
            groups=self.person.groups,
            cpu_limit=self.cpu_limit,
            mem_limit=self.mem_limit,
            gpus=self.gpu_count,
            volumes=int(self.is_mount_volume),
        )

    def describe(self) -> dict[str, str]:
        """Write each value as text; of the environment only the names, for values may be secrets."""
        return {
            "image": self.image.reference,
            "cpu_limit": "unlimited" if self.cpu_limit is None else values.format_number(self.cpu_limit),
            "mem_limit": "unlimited" if self.mem_limit is None else values.format_size(self.mem_limit),
            "shm_size": "unlimited" if self.shm_size is None else values.format_size(self.shm_size),
            "gpus": values.format_gpus(self.gpus),
            "env": ", ".join(self.env) or "none",
            "days_to_live": "for ever" if self.days_to_live is None else values.format_number(self.days_to_live),
            "is_mount_volume": str(self.is_mount_volume).lower(),
            "ssh": str(self.ssh).lower(),
        }

    def explain(self) -> dict[str, dict[str, str]]:
        """Return value, reason, rule and place of each field, for people and for the REST API."""
        return {
            name: {
                "value": value,
                "reason": self.reasons[name].text,
                "rule": source.rule if (source := self.reasons[name].source) else "",
                "place": source.place if source else "",
            }
            for name, value in self.describe().items()
        }


def decide(
    policy: SitePolicy,
    person: Person,
    options: WorkspaceOptions,
    *,
    host: Host = Host(),  # noqa: B008 - frozen
    defaults: SpawnerDefaults = SpawnerDefaults(),  # noqa: B008 - frozen
    held: Iterable[Holding] = (),
    server: str = "",
) -> Decision:
    """Decide about one start.

    ``held`` is what runs or is just starting, of all people; what this very server holds does not count.
    Raises ``FieldsError``.
    """
    request = make_request(policy, person, options, host, defaults)
    chosen, reasons, refusals = _choose_all(request)
    if not refusals:
        ssh = request.settings["ssh"]
        decision = Decision(
            person=person,
            gpu_count=count_gpus(chosen["gpus"], host),
            ssh=ssh.value,
            reasons={**reasons, "ssh": Reason("rule", ssh.source)},
            **chosen,
        )
        others = [holding for holding in held if holding.key != (person.name, server)]
        refusals = _find_excesses(decision, policy, request.settings, others, server)
        if not refusals:
            return decision
    rules = {name: str(refusal.source) for name, refusal in refusals.items() if refusal.source}
    raise FieldsError({name: refusal.sentence for name, refusal in refusals.items()}, rules)


def decide_kept(
    policy: SitePolicy,
    asked: WorkspaceOptions,
    found: Mapping[str, Any],
    decision: Decision,
    *,
    host: Host = Host(),  # noqa: B008 - frozen
    defaults: SpawnerDefaults = SpawnerDefaults(),  # noqa: B008 - frozen
    held: Iterable[Holding] = (),
    server: str = "",
) -> Decision | None:
    """Decide about a workspace that runs already and holds ``found`` (as options), where ``decision`` is what a fresh one would get.

    What was not ``asked`` it keeps; CPU and memory, which change while it runs, are cut to what may be had now. None where the rest is
    more than that or other than what was asked, or where a total does not allow it: then only a fresh one will do.
    """
    given = asked.to_user_options()
    try:
        has = WorkspaceOptions.from_rest(found)
        request = make_request(policy, decision.person, WorkspaceOptions.from_rest({**has.to_user_options(), **given}), host, defaults)
        request = _cut_amounts(request)
        kept = {name: CHOICES[name](request) for name in KEPT if name in given or getattr(has, name) is not None}
    except (Refusal, OptionsError):
        return None
    fixed = [name for name in KEPT if name not in CHANGEABLE and getattr(has, name) is not None]
    if any(name in given and getattr(decision, name) != getattr(has, name) for name in fixed):
        return None
    changes = {name: value for name, (value, _) in kept.items()}
    reasons = {**decision.reasons, **{name: reason for name, (_, reason) in kept.items()}}
    taken = replace(decision, **changes, reasons=reasons)
    taken = replace(taken, gpu_count=count_gpus(taken.gpus, host))
    others = [holding for holding in held if holding.key != (decision.person.name, server)]
    return None if _find_excesses(taken, policy, request.settings, others, server) else taken


def make_request(policy: SitePolicy, person: Person, options: WorkspaceOptions, host: Host, defaults: SpawnerDefaults) -> Request:
    """Put together all that the choices depend on."""
    return Request(
        options=options,
        settings=resolve_settings(policy, person, defaults),
        host=host,
        catalogue=policy.list_catalogue(defaults),
        host_limits={name: find_host_limit(policy, host, name) for name in ("cpu_limit", "mem_limit")},
        origin=policy.origin,
    )


@dataclass
class Ledger:
    """Keep what runs and what is just starting, so that totals hold when many starts arrive at once."""

    _held: dict[tuple[str, str], Holding] = field(default_factory=dict)

    def reserve(self, policy: SitePolicy, person: Person, options: WorkspaceOptions, *, server: str = "", **facts: Any) -> Decision:
        """Decide about one start (see ``decide``) and count it from now on; raise ``FieldsError`` and count nothing new."""
        decision = decide(policy, person, options, server=server, held=self._held.values(), **facts)
        self.record(decision.to_holding(server))
        return decision

    def record(self, holding: Holding) -> None:
        """Count a workspace that is known to run, for example after the hub was restarted."""
        self._held[holding.key] = holding

    def release(self, user: str, server: str = "") -> None:
        """Count a workspace no longer, because it stopped or never came up."""
        self._held.pop((user, server), None)

    def list_held(self) -> list[Holding]:
        """List all that counts."""
        return list(self._held.values())


def _choose_all(request: Request) -> tuple[dict[str, Any], dict[str, Reason], dict[str, Refusal]]:
    chosen: dict[str, Any] = {}
    reasons: dict[str, Reason] = {}
    refusals: dict[str, Refusal] = {}
    asked = request.options.to_user_options()
    for name, choose in CHOICES.items():
        try:
            chosen[name], reasons[name] = choose(request)
            barrier = find_barrier(request, name, chosen.get("image")) if name in asked else None
            # To ask for what one gets anyway is no harm: stored options outlive the rules they were made under.
            if barrier and choose(request.without(name))[0] != chosen[name]:
                cure = "Leave it out." if name != "image" else "Take the default."
                raise Refusal(name, f"{name} can not be chosen here. {cure}", barrier.source)
        except Refusal as refusal:
            refusals[refusal.field] = refusal
    return chosen, reasons, refusals


def _cut_amounts(request: Request) -> Request:
    for name in CHANGEABLE:
        value, limit = getattr(request.options, name), find_maximum(request, name)
        if value is not None and limit is not None and value > limit.value:
            request = replace(request, options=request.options.model_copy(update={name: limit.value}))
    return request


def _find_excesses(
    decision: Decision, policy: SitePolicy, settings: Mapping[str, Setting], others: list[Holding], server: str
) -> dict[str, Refusal]:
    wanted = decision.to_holding(server)
    person = decision.person
    own = {total: settings[f"total.{total}"] for total in TOTALS if f"total.{total}" in settings}
    rooms = [("You", [holding for holding in others if holding.user == person.name], own)]
    for group, totals in list_group_totals(policy, person):
        members = [holding for holding in others if not group or group in holding.groups]
        rooms.append((f"The group {group}" if group else "All people together", members, totals))
    refusals: dict[str, Refusal] = {}
    for whose, held, totals in rooms:
        for total, limit in totals.items():
            sentence = explain_excess(total, limit.value, sum_held(held, total), wanted.amount(total), whose)
            name = "is_mount_volume" if total == "volumes" else total
            if sentence and wanted.amount(total):
                refusals.setdefault(name, Refusal(name, sentence, limit.source))
    return refusals
