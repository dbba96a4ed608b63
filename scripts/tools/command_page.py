"""The reference page of the commands inside the hub's container."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from mlhub.cli.__main__ import make_parser

INTRODUCTION = """# Commands

<!-- Written by scripts/docs from mlhub/cli and the packages' own commands. -->

Run them in the hub's container: `docker exec mlhub mlhub …`, on Kubernetes \
`kubectl exec deploy/mlhub-hub -- mlhub …`. A command that fails ends with 1 and \
[a message](errors.md). `mlhub-pip` is pip for images of your own ([how](../howto/packages.md)).
"""


def render_commands() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for name, parser in list_commands("mlhub", make_parser()):
        parts += [f"## `{name}`\n", *_describe(parser)]
    return "\n".join(parts).rstrip() + "\n"


def list_commands(
    name: str, parser: argparse.ArgumentParser, about: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """List the commands that do something, in the order in which they are offered."""
    inner = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not inner:
        parser.description = parser.description or about
        yield name, parser
    for action in inner:
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for word, child in action.choices.items():
            yield from list_commands(f"{name} {word}", child, helps.get(word) or "")


def _describe(parser: argparse.ArgumentParser) -> list[str]:
    about = " ".join((parser.description or "").split())
    lines = [f"{about[:1].upper()}{about[1:].rstrip('.')}.\n"] if about else []
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        shown = [f"{name} {value}".strip() for name in action.option_strings] or [str(value)]
        meaning = " ".join((action.help or "").split()).replace("|", "\\|")
        if action.choices:
            meaning = (
                f"{meaning} One of {', '.join(f'`{each}`' for each in action.choices)}.".strip()
            )
        rows.append(f"| {', '.join(f'`{each}`' for each in shown)} | {meaning} |")
    return [*lines, *(["| Argument | Meaning |", "|---|---|", *rows, ""] if rows else [])]
