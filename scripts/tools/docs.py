"""Write the reference pages from the code; with --check only tell whether they are up to date.

Runs in the test environment, because it imports the product.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from mlhub.cli.policy import make_policy_schema
from mlhub.settings import SECRET_VARIABLES, Settings
from mlhub.workspace import catalogue, rules
from mlhub.workspace.environment import ALWAYS_REFUSED
from mlhub.workspace.options import WorkspaceOptions
from mlhub.workspace.policy import BUILT_IN, BUILT_IN_ADMINS, SitePolicy

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helmchart" / "mlhub"
INTRODUCTION = """# Environment variables

<!-- Written by scripts/docs from mlhub/settings.py. -->

Every variable of the image. A wrong value stops the start with a sentence; a misspelt name is a warning with the nearest one.
Starting a stopped container with other values takes effect: everything is rendered anew at each start.

| Variable | Meaning | Default |
|---|---|---|
"""

POLICY = """# The site's policy

<!-- Written by scripts/docs from mlhub/workspace/rules.py, policy.py and catalogue.py. -->

One YAML file, `/resources/policy.yaml` or where `POLICY_FILE` points, says which images are offered and what people may ask for.
The form, the REST API and every backend obey it. Its [JSON schema](policy.schema.json) serves editors and pipelines; `mlhub policy check FILE`
tells file, line and reason of a mistake; `mlhub policy explain USER key=value…` tells what a start would get, and which line says so.

The file is read again when it changes. A broken version is refused with a sentence in the log, and the old one stays in force.
Without a file, people may choose among the configured images and ask for anything up to what the host has without the hub's share.

## Which rule holds

For each key the last rule that says something holds, whether that is more or less than before:

1. the built-in defaults below,
2. `c.Spawner.image`, `workspace_images`, `cpu_limit` and `mem_limit` of the user config; a limit there is the default and the maximum,
3. `everyone`,
4. `groups`, those of the person, in the order of the file: put the more generous ones last,
5. `admins`, for administrators and for what they start for others,
6. `users`, the rule of this very person.

`cpu_limit.max` and `cpu_limit.default` are two keys. A list is one value: a later one replaces it. A key without a value says nothing;
`unlimited` lifts a maximum. A default above the maximum is cut; what somebody asks for above it is refused. Whatever the rules say, the hub keeps
its share of the host (`reserve`). Of `group_total` all hold at once: that of `everyone` and that of each group of the person.

Sizes count in powers of 1024: `4`, `4G` and `4Gi` are the same. A bare number from 1048576 up is bytes.
"""

VALUES = """# Values of the Helm chart

<!-- Written by scripts/docs from helmchart/mlhub/values.schema.json and values.yaml. -->

How they are used: [How to run the hub on Kubernetes](../howto/kubernetes.md). A key that is not listed here is refused, so a typo can not pass unseen;
values that contradict each other are refused with the cure. Empty maps and lists take what Kubernetes takes there.
"""


def render_values() -> str:
    """Return the page of the chart's values."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    parts = [VALUES]
    alone = []
    for name, section in schema["properties"].items():
        rows = _list_values(name, section, defaults.get(name))
        if len(rows) == 1:
            alone += rows
            continue
        parts += [f"## `{name}`\n", f"{section['description']}\n", "| Key | Meaning | Default |", "|---|---|---|", *rows[1:], ""]
    parts[1:1] = ["## By themselves\n", "| Key | Meaning | Default |", "|---|---|---|", *alone, ""]
    return "\n".join(parts).rstrip() + "\n"


def _list_values(path: str, section: dict[str, Any], default: Any) -> list[str]:
    choices = [f"`{choice}`" if choice else "unset" for choice in section.get("enum", ())]
    meaning = section["description"] + (f" One of {', '.join(choices)}." if choices and "`" not in section["description"] else "")
    shown = "" if "properties" in section else _show_value(default)
    rows = [f"| `{path}` | {meaning.replace('|', chr(92) + '|')} | {shown} |"]
    for name, child in section.get("properties", {}).items():
        rows += _list_values(f"{path}.{name}", child, (default or {}).get(name))
    return rows


def _show_value(value: Any) -> str:
    if value in (None, "", [], {}):
        return "unset"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def name_properties(schema: object) -> None:
    """Have every closed object of a schema name its keys: "not allowed" alone does not tell what is."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            schema["propertyNames"] = {"enum": list(schema["properties"])}
        for part in schema.values():
            name_properties(part)
    elif isinstance(schema, list):
        for part in schema:
            name_properties(part)


def render_values_schema() -> str:
    """Return the schema of the chart's values with the policy's own in it, so that Helm refuses what the hub would refuse.

    Whoever misspells a key is told which ones there are.
    """
    schema = json.loads((CHART / "values.schema.json").read_text())
    policy = make_policy_schema()
    definitions = policy.pop("$defs")
    policy.pop("$schema")
    schema["$defs"] = {**definitions, "SitePolicy": policy}
    name_properties(schema)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def render_policy() -> str:
    """Return the page of the policy file."""
    parts = [POLICY, "## The file\n", *_render_model(SitePolicy), "### An entry of `images`\n", *_render_model(catalogue.CatalogueImage)]
    parts += [
        "### A rule\n\n`everyone` and `groups` know all of these, `admins` and `users` all but `group_total`.\n",
        *_render_model(rules.GroupRule),
    ]
    parts += ["### `reserve`\n", *_render_model(rules.Reserve)]
    sections = ("cpu_limit", "mem_limit", "shm_size", "gpus", "days_to_live", "is_mount_volume", "env", "total")
    for name in sections:
        model = next(
            each for each in rules.Rule.model_fields[name].annotation.__args__ if isinstance(each, type) and issubclass(each, BaseModel)
        )
        parts += [f"### `{name}`{' and `group_total`' if name == 'total' else ''}\n", *_render_model(model)]
    parts += [
        "## What people ask for\n",
        "The `user_options` of the REST API, and the fields of the form:\n",
        *_render_model(WorkspaceOptions),
    ]
    parts += ["The names of the original are understood as well: `defined_image`, or `is_custom_image` with `custom_image`.\n"]
    shipped = {"everyone": BUILT_IN.model_dump(exclude_none=True), "admins": BUILT_IN_ADMINS.model_dump(exclude_none=True)}
    shipped["everyone"]["shm_size"]["default"], shipped["everyone"]["gpus"]["default"] = "256M", "none"
    parts += ["## Built-in defaults\n", "```json", json.dumps(shipped, indent=2), "```\n"]
    parts += ["## Variables that nobody may set\n", "In any case of letters, whatever the policy says:\n", "| Names | Why |", "|---|---|"]
    for reason in dict.fromkeys(ALWAYS_REFUSED.values()):
        parts.append(f"| {', '.join(f'`{name}`' for name, why in ALWAYS_REFUSED.items() if why == reason)} | {reason} |")
    return "\n".join(parts) + "\n"


def _render_model(model: type[BaseModel]) -> list[str]:
    rows = [f"| `{name}` | {(field.description or '').replace('|', chr(92) + '|')} |" for name, field in model.model_fields.items()]
    return ["| Key | Meaning |", "|---|---|", *rows, ""]


def render_environment() -> str:
    """Return the page of environment variables."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = name.upper()
        also = (
            f" Also as `{variable}_FILE`, a file that holds the value."
            if variable in SECRET_VARIABLES and "_FILE" not in (field.description or "")
            else ""
        )
        rows.append(f"| `{variable}` | {field.description}{also} | {_show(field.default)} |")
    return INTRODUCTION + "\n".join(rows) + "\n"


def _show(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: Sequence[str]) -> int:
    """Write, or check."""
    pages = {
        ROOT / "docs/reference/environment.md": render_environment(),
        ROOT / "docs/reference/policy.md": render_policy(),
        ROOT / "docs/reference/policy.schema.json": json.dumps(make_policy_schema(), indent=2) + "\n",
        ROOT / "docs/reference/chart.md": render_values(),
        CHART / "values.schema.json": render_values_schema(),
    }
    stale = [file for file, text in pages.items() if not file.exists() or file.read_text() != text]
    if "--check" in arguments:
        for file in stale:
            print(f"{file.relative_to(ROOT)} is not what the code says. Run scripts/docs.")
        return 1 if stale else 0
    for file in stale:
        file.write_text(pages[file])
        print(f"wrote {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
