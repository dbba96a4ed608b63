"""The reference page of error messages, read from the code that raises them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from mlhub import errors

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """# Error messages

<!-- Written by scripts/docs from mlhub/errors.py and what raises these errors. -->

A message of the hub's ends with the id of its kind, `(MLHUB-E052)`; in the REST API it is the \
key `error`. The id stays the same in every version. Here are the messages of each kind, with `…` \
where they name a value; each says the cure itself. What a form or `user_options` refuse is told \
beside each field, and stands in [the policy](policy.md).

Where no message helps: [`mlhub doctor`](../howto/doctor.md) looks at everything that people need.
"""


def render_errors() -> str:
    """Return the page."""
    kinds = list_kinds()
    sentences = read_sentences({kind.__name__ for kind in kinds})
    parts = [INTRODUCTION]
    for kind in kinds:
        meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        parts.append(f"## {kind.id}\n")
        parts.append(f"`{kind.__name__}`, status {kind.status_code} in REST. {meaning}\n")
        found = sorted(sentences[kind.__name__])
        if found:
            parts += ["| Message | From |", "|---|---|"]
            parts += [f"| {escape(text)} | `{file}` |" for text, file in found]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def escape(text: str) -> str:
    """Write a message into a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def list_kinds() -> list[type[errors.MLHubError]]:
    """List the kinds that have an id, by it."""
    everything = vars(errors).values()
    kinds = [each for each in everything if isinstance(each, type)]
    ours = {kind for kind in kinds if issubclass(kind, errors.MLHubError)}
    return sorted(ours, key=lambda kind: kind.id)


def read_sentences(names: set[str]) -> dict[str, set[tuple[str, str]]]:
    """Read, of each kind, the messages that some module makes, and which."""
    sentences: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for file in sorted((ROOT / "mlhub").rglob("*.py")):
        module = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", "")
                text = read_text(node.args[0]) if name in names else ""
                # A message that is made elsewhere has no words here.
                if text.replace("…", "").strip(" .:()"):
                    sentences[name].add((text, module))
    return sentences


def read_text(node: ast.expr) -> str:
    """Return a message as it is written, with an ellipsis for each value."""
    if isinstance(node, ast.Constant):
        return " ".join(str(node.value).split("\n"))
    if isinstance(node, ast.JoinedStr):
        return "".join(read_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return read_text(node.left) + read_text(node.right)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Text", "join"):
        if node.func.id == "join":  # type: ignore[attr-defined]
            return " ".join(map(read_text, node.args))
        return re.sub(r"%\(\w+\)s", "…", read_text(node.args[0])).replace("%%", "%")
    return "…"
