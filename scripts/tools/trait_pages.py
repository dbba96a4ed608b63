"""The reference page of what becomes of upstream's traits."""

from __future__ import annotations

from mlhub.hub.layers.rulings import list_tables
from mlhub.traits import Outcome, Ruling

INTRODUCTION = """# Traits of upstream

<!-- Written by scripts/docs from the rulings beside the code (mlhub/*/rulings.py and others). -->

Every line that a site may write in `jupyterhub_user_config.py` about the classes that this \
product builds on, and what becomes of it:

- **honored**: it means what upstream's documentation says. The test that holds us to it is named.
- **refused**: the hub does not start. All refusals of a file are told at once, each with its line \
and the cure. Values that ask for nothing are fine.
- **decided**: the deployment decides about it; the line is refused unless it repeats that.
- **without effect**: there is nothing here that it could change. The hub starts, and a warning in \
its log names the line.

What a line adds in place (`c.DockerSpawner.volumes.update(…)`) is held to the same. What does not \
fit the value that is there at first (`c.DockerSpawner.volumes.append(…)`), and would be dropped \
without a word, is refused.

A trait that no class of the hub knows (`c.DockerSpawner.volumns`), and a section that reaches \
nothing, are warnings with the nearest name. How the file is read: \
[How to configure the hub](../howto/configure.md). What a spawner that is none of ours understands \
by its traits is its own affair.
"""


def render_traits() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for table in list_tables():
        parts += [
            f"## {table.upstream.rpartition('.')[2]}\n",
            "| Trait | | |",
            "|---|---|---|",
            *(_render_row(name, ruling) for name, ruling in sorted(table.rulings.items())),
            "",
        ]
    return "\n".join(parts).rstrip() + "\n"


def _render_row(name: str, ruling: Ruling) -> str:
    outcome = "decided" if ruling.is_compared else ruling.outcome.value
    words = [_capitalize(ruling.sentence)] if ruling.sentence else []
    if ruling.outcome is Outcome.HONORED:
        words.append(f"`{ruling.test.replace('::', ' ')}`")
    return f"| `{name}` | {outcome} | {' '.join(words).replace('|', chr(92) + '|')} |"


def _capitalize(sentence: str) -> str:
    return sentence if sentence.startswith("c.") else sentence[:1].upper() + sentence[1:]
