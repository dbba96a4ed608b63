"""What a policy says of options that mean nothing where the hub's workspaces run. Pure: no I/O.

Invariants: a rule that could never hold is an error with its line, not a promise in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlhub.errors import ConfigurationError
from mlhub.options.model import OPTIONS
from mlhub.options.option import KeyPath, Option
from mlhub.policy.model import SitePolicy
from mlhub.policy.rules import GroupRule, Rule, TotalRule

# Where the total of an option has another name than the option.
_TOTALS = {"is_mount_volume": "volumes"}


def refuse_foreign_keys(policy: SitePolicy, options: Iterable[Option]) -> None:
    """Raise ``ConfigurationError``, with a line for each key that is about none of these
    options.
    """
    own = {option.name for option in options}
    foreign = [option for name, option in OPTIONS.items() if name not in own]
    keys = list(_find_keys(policy, foreign))
    if keys:
        raise ConfigurationError(
            "\n".join(
                f"{policy.origin.place(path)}: {'.'.join(map(str, path))} is about {name}, which"
                " means nothing where this hub's workspaces run. Remove it."
                for path, name in keys[:20]
            )
        )


def _find_keys(policy: SitePolicy, foreign: Iterable[Option]) -> Iterator[tuple[KeyPath, str]]:
    for option in foreign:
        if option.name == "image" and policy.images is not None:
            yield ("images",), option.name
        for index, entry in enumerate(policy.images or ()):
            if option.name in (entry.options or ()):
                yield ("images", index, "options"), option.name
        for path, rule in policy.list_rules():
            for key in _find_rule_keys(rule, option):
                yield (*path, *key), option.name


def _find_rule_keys(rule: Rule, option: Option) -> Iterator[KeyPath]:
    yield from ((key,) for key in option.rule_keys if getattr(rule, key) is not None)
    if option.name in (rule.options or ()):
        yield ("options",)
    total = _TOTALS.get(option.name, option.name)
    totals: dict[str, TotalRule | None] = {"total": rule.total}
    if isinstance(rule, GroupRule):
        totals["group_total"] = rule.group_total
    for name, limits in totals.items():
        if getattr(limits, total, None) is not None:
            yield (name, total)
