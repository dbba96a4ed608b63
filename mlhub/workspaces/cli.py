"""``mlhub policy``: check a policy file, explain a decision, print the JSON schema.

Invariants: nothing is changed, and no hub needs to run. What the user config says in ``c.Spawner``,
who is in which group and what runs is not known here, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlhub import quantities as values
from mlhub.errors import ConfigurationError, OptionsError, SettingsError
from mlhub.options.model import ALL_OPTIONS, FieldsError, WorkspaceOptions
from mlhub.options.option import Host, Option
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import Decision, decide
from mlhub.policy.file import load_policy
from mlhub.policy.model import Person, SitePolicy, SpawnerDefaults
from mlhub.settings import Settings
from mlhub.workspaces.idle import make_idle_defaults


def add_policy_commands(
    commands: Any, find_options: Callable[[], tuple[Option, ...]] = lambda: ALL_OPTIONS
) -> None:
    """Add ``policy check``, ``policy explain`` and ``policy schema`` to the parser.

    ``find_options`` returns the options of the backend that is chosen here.
    """
    policy = commands.add_parser("policy", help="the site's policy: check it, ask it")
    policy.set_defaults(run=run_policy, find_options=find_options)
    actions = policy.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=_Parser
    )
    check = actions.add_parser(
        "check", help="read a policy file; exit code 1 and file:line where it is wrong"
    )
    check.add_argument("file", type=Path, metavar="FILE")
    _add_explain(actions)
    actions.add_parser("schema", help="print the JSON schema of policy files")


def _add_explain(actions: Any) -> None:
    explain = actions.add_parser(
        "explain",
        help=(
            "what a start would get, and which line of which rule says so; exit code 1 where "
            "refused"
        ),
    )
    explain.add_argument("user", metavar="USER")
    explain.add_argument(
        "options",
        nargs="*",
        metavar="key=value",
        help="options as in user_options; env=NAME=VALUE may be repeated",
    )
    explain.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="GROUP",
        help="a group of the person; may be repeated",
    )
    explain.add_argument(
        "--admin",
        action="store_true",
        help="the person, or who starts the workspace for them, is an administrator",
    )
    explain.add_argument(
        "--file", type=Path, metavar="FILE", help="the policy file; by default the hub's own"
    )
    told = (
        ("--image", "IMAGE", "the configured c.Spawner.image; by default the hub's own"),
        ("--cpus", "N", "CPU cores of the host; by default this machine's"),
        ("--memory", "SIZE", "memory of the host; by default this machine's"),
        ("--gpus", "N", "number of the host's GPUs; by default not known"),
    )
    for option, word, text in told:
        explain.add_argument(option, metavar=word, help=text)


class _Parser(argparse.ArgumentParser):
    """Accept ``key=value`` anywhere.

    By itself, argparse looks for such a list once, right behind USER.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        if found is not None and hasattr(found, "options"):
            found.options = [*found.options, *(word for word in rest if not word.startswith("-"))]
            rest = [word for word in rest if word.startswith("-")]
        return found, rest


def run_policy(chosen: argparse.Namespace) -> int:
    """Run one of the commands; return the exit code."""
    if chosen.action == "schema":
        print(json.dumps(make_policy_schema(), indent=2))
        return 0
    if chosen.action == "check":
        policy = load_policy(chosen.file, chosen.find_options())
        print(f"{chosen.file} is fine: {_count(policy)}.")
        return 0
    return explain_policy(chosen)


def explain_policy(chosen: argparse.Namespace) -> int:
    """Print a decision with its reasons, or the refusals with theirs."""
    file, image = _find_file(chosen.file), chosen.image or _find_image()
    if chosen.file is not None and not file.exists():
        raise ConfigurationError(f"{file} does not exist. Name the policy file.")
    backend = chosen.find_options()
    policy = load_policy(file, backend) if file.exists() else SitePolicy()
    person = Person(chosen.user, tuple(chosen.group), chosen.admin)
    print(
        f"Policy: {file}"
        if file.exists()
        else f"Policy: there is no {file}, so the built-in defaults hold"
    )
    groups = ", ".join(person.groups) or "not known here, name them with --group"
    print(
        "Person: "
        f"{person.name}{', administrator' if person.is_admin else ', taken for no administrator'}; "
        f"groups: {groups}"
    )
    print(
        "Totals: this workspace alone is held against them; what runs is not known here "
        "(POST /hub/api/policy/explain counts it)"
    )
    try:
        options = WorkspaceOptions.from_form(_read_pairs(chosen.options))
        host, defaults = _make_host(chosen), replace(_find_idle_defaults(), image=image)
        decision = decide(Circumstances(policy, person, host, defaults, options=backend), options)
    except FieldsError as error:
        for name, sentence in error.fields.items():
            print(
                f"  {name:<16} REFUSED  {sentence}"
                + (f"\n{'':<27} {error.rules[name]}" if name in error.rules else "")
            )
        return 1
    _print_decision(decision)
    return 0


def make_policy_schema() -> dict[str, Any]:
    """Make the JSON schema of policy files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SitePolicy.model_json_schema(),
    }


def _print_decision(decision: Decision) -> None:
    for name, line in decision.explain().items():
        rule = ", ".join(part for part in (line["rule"], line["place"]) if part)
        print(
            f"  {name:<16} {line['value']:<32} {line['reason']}"
            + (f"\n{'':<51} {rule}" if rule else "")
        )


def _read_pairs(words: Sequence[str]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise OptionsError(f"{values.show(word)} is not key=value. Write e.g. cpu_limit=2.")
        fields.setdefault(name, []).append(value)
    return fields


def _make_host(chosen: argparse.Namespace) -> Host:
    try:
        cpus = values.parse_cores(chosen.cpus) if chosen.cpus else os.cpu_count()
        memory = (
            values.parse_memory(chosen.memory)
            if chosen.memory
            else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        )
        gpus = (
            None
            if chosen.gpus is None
            else tuple(f"GPU-{index}" for index in range(values.parse_count(chosen.gpus)))
        )
    except ValueError as error:
        raise OptionsError(f"--cpus, --memory or --gpus {error}") from None
    return Host(cpus, memory, gpus, is_shared=True)


def _find_file(given: Path | None) -> Path:
    if given is not None:
        return given
    try:
        return Settings.load().policy_file
    except SettingsError:
        return Path(Settings.model_fields["policy_file"].default)


def _find_image() -> str:
    try:
        return Settings.load().mlhub_workspace_image
    except SettingsError:
        return str(Settings.model_fields["mlhub_workspace_image"].default)


def _find_idle_defaults() -> SpawnerDefaults:
    try:
        return make_idle_defaults(Settings.load())
    except SettingsError:
        return SpawnerDefaults()


def _count(policy: SitePolicy) -> str:
    numbers = {
        "image": len(policy.images or ()),
        "group": len(policy.groups),
        "person": len(policy.users),
    }
    plural = {"image": "images", "group": "groups", "person": "people"}
    return ", ".join(
        f"{number} {name if number == 1 else plural[name]}" for name, number in numbers.items()
    )
