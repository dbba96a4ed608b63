"""Write the reference pages from the code; with --check only tell whether they are up to date.

Runs in the test environment, because it imports the product.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from command_page import render_commands
from error_page import render_errors
from pydantic import BaseModel
from rest_page import render_openapi, render_rest
from trait_pages import render_traits
from weakness_page import render_weaknesses

from mlhub.options import image_catalogue as catalogue
from mlhub.options.environment import ALWAYS_REFUSED
from mlhub.options.model import WorkspaceOptions
from mlhub.policy import rules
from mlhub.policy.model import BUILT_IN, BUILT_IN_ADMINS, SitePolicy
from mlhub.settings import SECRET_VARIABLES, Settings
from mlhub.workspaces.cli import make_policy_schema

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helmchart" / "mlhub"
INTRODUCTION = """# Environment variables

<!-- Written by scripts/docs from mlhub/variables. -->

Every variable of the image. A wrong value stops the start with a sentence; \
a misspelled name is a warning with the nearest one.
Starting a stopped container with other values takes effect: everything is rendered \
anew at each start.
"""

TABLE_OF_VARIABLES = ("| Variable | Meaning | Default |", "|---|---|---|")
POLICY = """# The site's policy

<!-- Written by scripts/docs from mlhub/options and mlhub/policy. -->

One YAML file, `/resources/policy.yaml` or where `POLICY_FILE` points, says which images \
are offered and what people may ask for.
The form, the REST API and every backend obey it. \
Its [JSON schema](policy.schema.json) serves editors and pipelines; `mlhub policy check FILE`
tells file, line and reason of a mistake; `mlhub policy explain USER key=value…` tells \
what a start would get, and which line says so.

The file is read again when it changes. A broken version is refused with a sentence in the log, \
and the old one stays in force.
Without a file, people may choose among the configured images and ask for anything up to \
what the host has without the hub's share, so far that no one person fills the host: \
at most 20 workspaces of one person run at once, and on Docker, where all share one host, \
they have at most three quarters of its memory, and of the disk that workspaces have; a \
workspace gets an eighth of that memory, or a gibibyte, where nobody asks for more. \
The first line of a file ends that, such as `everyone: {total: {mem_limit: unlimited}}`.

## Which rule holds

For each key the last rule that says something holds, whether that is more or less than before:

1. the built-in defaults below,
2. `c.Spawner.image`, `workspace_images`, `cpu_limit` and `mem_limit` of the user config; \
a limit there is the default and the maximum,
3. `everyone`,
4. `groups`, those of the person, in the order of the file: put the more generous ones last,
5. `admins`, for administrators and for what they start for others,
6. `users`, the rule of this very person.

`cpu_limit.max` and `cpu_limit.default` are two keys. A list is one value: a later one \
replaces it. A key without a value says nothing;
`unlimited` lifts a maximum. A default above the maximum is cut; what somebody asks for above it \
is refused. Whatever the rules say, the hub keeps
its share of the host (`reserve`). Of `group_total` all hold at once: \
that of `everyone` and that of each group of the person.

Sizes count in powers of 1024: `4`, `4G` and `4Gi` are the same. \
A bare number from 1048576 up is bytes.
"""

VALUES = """# Values of the Helm chart

<!-- Written by scripts/docs from helmchart/mlhub/values.schema.yaml and values.yaml. -->

How they are used: [How to run the hub on Kubernetes](../howto/kubernetes.md). \
A key that is not listed here is refused, so a typo cannot pass unseen;
values that contradict each other are refused with the cure. \
Empty maps and lists take what Kubernetes takes there.
"""


def render_values() -> str:
    """Return the page of the chart's values."""
    schema = read_values_schema()
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    parts = [VALUES]
    alone = []
    for name, section in schema["properties"].items():
        rows = _list_values(name, section, defaults.get(name))
        if len(rows) == 1:
            alone += rows
            continue
        parts += [
            f"## `{name}`\n",
            f"{section['description']}\n",
            "| Key | Meaning | Default |",
            "|---|---|---|",
            *rows[1:],
            "",
        ]
    parts += [
        "## Keys of Zero to JupyterHub\n",
        "Values of that chart are refused, all of them at once, with where each goes:\n",
        "| Key there | Here |",
        "|---|---|",
        *(f"| `{path}` | {place} |" for path, place in read_foreign_keys().items()),
    ]
    parts[1:1] = ["## By themselves\n", "| Key | Meaning | Default |", "|---|---|---|", *alone, ""]
    return "\n".join(parts).rstrip() + "\n"


def _list_values(path: str, section: dict[str, Any], default: Any) -> list[str]:
    choices = [f"`{choice}`" if choice else "unset" for choice in section.get("enum", ())]
    meaning = section["description"] + (
        f" One of {', '.join(choices)}." if choices and "`" not in section["description"] else ""
    )
    shown = "" if "properties" in section else _show_value(default)
    rows = [f"| `{path}` | {meaning.replace('|', chr(92) + '|')} | {shown} |"]
    for name, child in section.get("properties", {}).items():
        rows += _list_values(f"{path}.{name}", child, (default or {}).get(name))
    return rows


def _show_value(value: Any) -> str:
    if value in (None, "", [], {}):
        return "unset"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def read_values_schema() -> dict[str, Any]:
    """Read the schema of the chart's values as it is written by hand."""
    schema: dict[str, Any] = yaml.safe_load((CHART / "values.schema.yaml").read_text())
    return schema


def read_foreign_keys() -> dict[str, str]:
    """Return the keys of Zero to JupyterHub's chart, and where what they say goes."""
    keys: dict[str, str] = yaml.safe_load((CHART / "files" / "z2jh.yaml").read_text())
    return keys


def admit_foreign_keys(schema: dict[str, Any]) -> None:
    """Have the schema admit keys of Zero to JupyterHub: the chart itself refuses them, all in one
    sentence, where the schema would have three lines for each.
    """
    for path in read_foreign_keys():
        *sections, name = path.split(".")
        section = schema
        for each in sections:
            section = section["properties"][each]
        if name in section["properties"]:
            raise ValueError(f"files/z2jh.yaml refuses {path}, which is a value of this chart.")
        section["properties"][name] = {"$comment": "Of Zero to JupyterHub."}


def close_sections(schema: object) -> None:
    """Have every section refuse keys that it does not know.

    Whoever misspells a key is told which ones there are: "not allowed" alone does not say.
    """
    if isinstance(schema, dict):
        if "properties" in schema:
            schema |= {"type": "object", "additionalProperties": False}
            schema["propertyNames"] = {"enum": list(schema["properties"])}
        for part in schema.values():
            close_sections(part)
    elif isinstance(schema, list):
        for part in schema:
            close_sections(part)


def render_values_schema() -> str:
    """Return the schema of the chart's values as Helm reads it, with the policy's own in it, so
    that Helm refuses what the hub would refuse.
    """
    schema, policy = read_values_schema(), make_policy_schema()
    definitions = policy.pop("$defs")
    policy.pop("$schema")
    schema["$defs"] = {**definitions, "SitePolicy": policy}
    admit_foreign_keys(schema)
    close_sections(schema)
    schema = {"$comment": "Written by scripts/docs from values.schema.yaml.", **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def render_policy() -> str:
    """Return the page of the policy file."""
    parts = [
        POLICY,
        "## The file\n",
        *_render_model(SitePolicy),
        "### An entry of `images`\n",
        *_render_model(catalogue.CatalogueImage),
    ]
    parts += [
        (
            "### A rule\n\n`everyone` and `groups` know all of these, `admins` and `users` all but "
            "`group_total`.\n"
        ),
        *_render_model(rules.GroupRule),
    ]
    parts += ["### `reserve`\n", *_render_model(rules.Reserve)]
    for name, field in rules.Rule.model_fields.items():
        models = [
            each
            for each in getattr(field.annotation, "__args__", ())
            if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if not models:
            continue
        (model,) = models
        parts += [
            f"### `{name}`{' and `group_total`' if name == 'total' else ''}\n",
            *_render_model(model),
        ]
    parts += [
        "## What people ask for\n",
        "The `user_options` of the REST API, and the fields of the form:\n",
        *_render_model(WorkspaceOptions),
    ]
    parts += [
        "The names of the original are understood as well: `defined_image`, or `is_custom_image` "
        "with `custom_image`.\n"
    ]
    shipped = {
        "everyone": BUILT_IN.model_dump(exclude_none=True),
        "admins": BUILT_IN_ADMINS.model_dump(exclude_none=True),
    }
    shipped["everyone"]["shm_size"]["default"], shipped["everyone"]["gpus"]["default"] = (
        "256M",
        "none",
    )
    shipped["everyone"]["idle"] = {"timeout": "unlimited", "max_age": "unlimited"}
    parts += ["## Built-in defaults\n", "```json", json.dumps(shipped, indent=2), "```\n"]
    parts += [
        "## Variables that nobody may set\n",
        "In any case of letters, whatever the policy says:\n",
        "| Names | Why |",
        "|---|---|",
    ]
    for reason in dict.fromkeys(ALWAYS_REFUSED.values()):
        parts.append(
            f"| {', '.join(f'`{name}`' for name, why in ALWAYS_REFUSED.items() if why == reason)} "
            f"| {reason} |"
        )
    return "\n".join(parts) + "\n"


def _render_model(model: type[BaseModel]) -> list[str]:
    rows = [
        f"| `{name}` | {(field.description or '').replace('|', chr(92) + '|')} |"
        for name, field in model.model_fields.items()
    ]
    return ["| Key | Meaning |", "|---|---|", *rows, ""]


def render_environment() -> str:
    """Return the page of environment variables."""
    parts = [INTRODUCTION]
    # The order in which Settings takes the fields over.
    for topic in reversed(Settings.__bases__):
        parts += [f"## {(topic.__doc__ or '').rstrip('.')}\n", *TABLE_OF_VARIABLES]
        parts += [*_render_variables(topic), ""]
    return "\n".join(parts).rstrip() + "\n"


def _render_variables(topic: type[BaseModel]) -> Iterator[str]:
    for name, field in topic.model_fields.items():
        variable = name.upper()
        also = (
            f" Also as `{variable}_FILE`, a file that holds the value."
            if variable in SECRET_VARIABLES and "_FILE" not in (field.description or "")
            else ""
        )
        yield f"| `{variable}` | {field.description}{also} | {_show(field.default)} |"


def _show(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: Sequence[str]) -> int:
    """Write, or check."""
    pages = {
        ROOT / "docs/reference/environment.md": render_environment(),
        ROOT / "docs/reference/policy.md": render_policy(),
        ROOT / "docs/reference/policy.schema.json": (
            json.dumps(make_policy_schema(), indent=2) + "\n"
        ),
        ROOT / "docs/reference/chart.md": render_values(),
        ROOT / "docs/reference/commands.md": render_commands(),
        ROOT / "docs/reference/errors.md": render_errors(),
        ROOT / "docs/reference/openapi.json": render_openapi(),
        ROOT / "docs/reference/rest.md": render_rest(),
        ROOT / "docs/reference/traits.md": render_traits(),
        ROOT / "docs/reference/weaknesses.md": render_weaknesses(),
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
