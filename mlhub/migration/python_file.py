"""Import a ``jupyterhub_config.py``: our user config is the same file, with what means nothing here
made a comment. Pure: the file is read, never executed.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from mlhub.errors import ConfigurationError
from mlhub.migration.edits import Edits
from mlhub.migration.outcome import Outcome
from mlhub.migration.statements import Reader, Write
from mlhub.migration.verdicts import Verdict, find_authenticator, judge
from mlhub.traits import USER_CONFIG

ALLOW_RULES = ("allow_all", "allow_existing_users", "any_allow_config")
PLACE = f"{USER_CONFIG}: c.{{}}.{{}}"
NOBODY = (
    "since JupyterHub 5 nobody but administrators may sign in unless something allows it. Write"
    " c.Authenticator.allow_all = True, or name people or groups."
)


def import_python(text: str, name: str = "jupyterhub_config.py") -> Outcome:
    """Import a whole file of a hub with DockerSpawner, KubeSpawner or another spawner.

    Raises ``ConfigurationError`` for what is no Python.
    """
    tree = parse(text, name)
    outcome = Outcome("k8s" if is_kubernetes(Reader(tree)) else "local")
    said = carry_python(text, name, outcome)
    tell_who_may_sign_in(said, outcome)
    return outcome


def carry_python(text: str, name: str, outcome: Outcome) -> dict[tuple[str, str], Any]:
    """Add a file to the user config of ``outcome``; return what it says that is kept, by section
    and trait.
    """
    tree = parse(text, name)
    reader = Reader(tree)
    finding, edits = reader.find(), Edits(text, tree)
    said: dict[tuple[str, str], Any] = {}
    statements: dict[ast.stmt, list[tuple[Write, Verdict]]] = {}
    for write in finding.writes:
        value = reader.evaluate(write.value)
        verdict = Verdict(write.section, write.trait)
        if write.section not in reader.classes:
            verdict = judge(outcome.mode, write.section, write.trait, value)
        statements.setdefault(write.statement, []).append((write, verdict))
        if verdict.is_kept:
            said[verdict.section, verdict.trait] = value
    for statement, parts in statements.items():
        for write, verdict in parts:
            tell(f"{name}, line {statement.lineno}: ", write, verdict, outcome)
        change(edits, reader, statement, parts)
    for statement in finding.unread:
        outcome.note(
            f"{name}, line {statement.lineno}",
            "only running it would tell what it sets. It is kept, and the hub judges it when it"
            " starts.",
        )
    _tell_of_other_files(tree, name, outcome)
    _tell_of_packages(tree, name, outcome)
    outcome.lines += edits.apply().splitlines()
    return said


def parse(text: str, name: str) -> ast.Module:
    """Parse a file. Raises ``ConfigurationError``."""
    try:
        return ast.parse(text, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigurationError(
            f"{name}, line {line}: {error}. It is no Python of this version; correct it."
        ) from None


def is_kubernetes(reader: Reader) -> bool:
    """Return True if a file is about pods."""
    writes = reader.find().writes
    classes = [w.value for w in writes if w.trait == "spawner_class"]
    names = [str(reader.evaluate(value)).lower() for value in classes]
    if any("kube" in name for name in names):
        return True
    return not names and any(write.section == "KubeSpawner" for write in writes)


def tell(place: str, write: Write, verdict: Verdict, outcome: Outcome) -> None:
    """Take down what becomes of one trait."""
    key = f"{place}c.{write.section}.{write.trait}"
    tell_verdict(key, verdict, outcome)


def tell_verdict(key: str, verdict: Verdict, outcome: Outcome) -> None:
    """Take down what becomes of what a key says."""
    if verdict.reason:
        outcome.leave(key, verdict.reason)
        return
    for variable, value in verdict.moved.items():
        outcome.carry(key, outcome.write_variable(variable, value))
    if not verdict.moved:
        outcome.carry(key, PLACE.format(verdict.section, verdict.trait))
    if verdict.note:
        outcome.note(key, verdict.note)


def change(
    edits: Edits, reader: Reader, statement: ast.stmt, parts: Sequence[tuple[Write, Verdict]]
) -> None:
    """Take a statement out of which nothing is kept; write the names that hold here."""
    kept = [part for part in parts if part[1].is_kept]
    if not kept:
        edits.take_out(statement, [explain(verdict) for _, verdict in parts])
        return
    for write, verdict in parts:
        if not verdict.is_kept:
            # c.A.x = c.B.y = value: the rest of the line stays as it is.
            edits.replace(write.target, "_")
            continue
        if verdict.trait != write.trait:
            edits.rename(write.target, verdict.trait)
        if verdict.section != write.section and isinstance(write.target.value, ast.Attribute):
            edits.rename(write.target.value, verdict.section)
        _use_class_of_the_image(edits, reader, write)


def explain(verdict: Verdict) -> str:
    """Tell in a comment why a line is one now."""
    if verdict.reason:
        return f"Not carried: {verdict.reason}"
    return "Carried: " + ", ".join(f"{name} says it." for name in verdict.moved)


def tell_who_may_sign_in(said: Mapping[tuple[str, str], Any], outcome: Outcome) -> None:
    """Tell of what an authenticator meant without a line for it."""
    name = said.get(("JupyterHub", "authenticator_class"))
    key = "c.JupyterHub.authenticator_class"
    if name is None:
        outcome.note(
            key,
            "none is carried, so people have accounts of the hub's own: they sign up, and an"
            " administrator authorizes them (docs/howto/people.md).",
        )
        return
    is_native = isinstance(name, str) and "native" in name.lower()
    is_allowed = any(
        trait in ALLOW_RULES or trait.startswith("allowed_") or trait == "hosted_domain"
        for section, trait in said
        if section.endswith("Authenticator")
    )
    if not is_native and not is_allowed:
        outcome.note(key, NOBODY)


def is_installed(package: str) -> bool:
    """Return True if Python finds a package, which is not imported for that."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _use_class_of_the_image(edits: Edits, reader: Reader, write: Write) -> None:
    """Name the class that makes no accounts on the hub's machine."""
    value = reader.evaluate(write.value)
    if write.trait != "authenticator_class" or not isinstance(value, str) or write.value is None:
        return
    name = value.rpartition(".")[2]
    found = find_authenticator(value)
    if name.lower().startswith("local") and found is not None and found.__name__ != name:
        edits.replace(write.value, repr(f"{found.__module__}.{found.__name__}"))


def _tell_of_other_files(tree: ast.Module, name: str, outcome: Outcome) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "load_subconfig":
            outcome.note(
                f"{name}, line {node.lineno}",
                "import the file that it loads as well, and mount the result beside this one.",
            )


def _tell_of_packages(tree: ast.Module, name: str, outcome: Outcome) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for package in {each.partition(".")[0] for each in names} - {""}:
            if not is_installed(package):
                outcome.note(
                    f"{name}, line {node.lineno}",  # type: ignore[attr-defined]
                    f"{package} is not in the image: add it in an image of your own by mlhub-pip"
                    " (docs/howto/packages.md), mount it, or remove the line.",
                )
