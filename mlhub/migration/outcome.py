"""What an import comes to: our files, and a list of what they do not hold. Pure: no I/O."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from mlhub.traits import USER_CONFIG

VALUES, POLICY, VARIABLES, REPORT = "config.yaml", "policy.yaml", "variables.env", "report.md"
# Where the chart has a value of its own for a variable.
VALUES_OF = {
    "MLHUB_BASE_URL": "mlhub.baseUrl",
    "CONFIGPROXY_AUTH_TOKEN": "mlhub.secretToken",
    "SSL_ENABLED": "proxy.https.enabled",
    "MLHUB_CULL_ENABLED": "cull.enabled",
    "MLHUB_CULL_TIMEOUT": "cull.timeout",
    "MLHUB_CULL_EVERY": "cull.every",
    "MLHUB_CULL_MAX_AGE": "cull.maxAge",
}


@dataclass(frozen=True)
class Told:
    """One key of theirs and a sentence about it."""

    key: str
    sentence: str


@dataclass
class Outcome:
    """Gather what an import comes to.

    ``mode`` is a value of EXECUTION_MODE. ``lines`` are the user config; ``carried`` says where a
    key has gone, ``left`` what cannot be carried and ``notes`` what is to be known or done beside.
    """

    mode: str
    lines: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    carried: list[Told] = field(default_factory=list)
    left: list[Told] = field(default_factory=list)
    notes: list[Told] = field(default_factory=list)

    def carry(self, key: str, place: str) -> None:
        """Take down where a key has gone."""
        self.carried.append(Told(key, place))

    def leave(self, key: str, sentence: str) -> None:
        """Take down what cannot be carried, and the cure."""
        self.left.append(Told(key, sentence))

    def note(self, key: str, sentence: str) -> None:
        """Take down what is to be known or done beside the files."""
        self.notes.append(Told(key, sentence))

    def write_trait(self, section: str, trait: str, value: Any) -> None:
        """Write a line of the user config."""
        start = f"c.{section}.{trait} = "
        shown = pprint.pformat(value, width=100 - len(start), sort_dicts=False)
        self.lines += (start + shown.replace("\n", "\n" + " " * len(start))).splitlines()

    def write_value(self, path: str, value: Any) -> None:
        """Write a value of the chart."""
        *sections, name = path.split(".")
        place = self.values
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value

    def write_variable(self, name: str, value: str) -> str:
        """Write an environment variable of the hub, and return where it stands."""
        if self.mode == "k8s":
            path = VALUES_OF.get(name, f"mlhub.env.{name}")
            self.write_value(path, yaml.safe_load(value) if path.startswith("cull.") else value)
            return f"{VALUES}: {path}"
        self.variables[name] = value
        return f"{VARIABLES}: {name}"

    def make_files(self) -> dict[str, str]:
        """Make the files, by name; what nothing was said for is left out."""
        files = {}
        if self.lines:
            files[USER_CONFIG] = "\n".join(self.lines).rstrip() + "\n"
        if self.values:
            files[VALUES] = dump(self.values)
        if self.policy:
            files[POLICY] = dump(self.policy)
        if self.variables:
            files[VARIABLES] = "".join(f"{name}={text}\n" for name, text in self.variables.items())
        return files


def dump(tree: Mapping[str, Any]) -> str:
    """Write a tree as YAML, in its own order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=100)
