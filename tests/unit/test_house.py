"""The house rules about the size of modules and functions, and about imports."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "mlhub").rglob("*.py"))
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40


@functools.cache
def parse(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def list_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def has_reason(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "Long because" in (ast.get_docstring(function) or "")


def test_a_module_has_at_most_300_lines():
    large = {
        str(file)
        for file in FILES
        if len((ROOT / file).read_text().splitlines()) > MAX_MODULE_LINES
    }
    assert not large


def test_a_function_has_at_most_40_lines_or_its_docstring_says_why_it_is_long():
    long = {
        f"{file}:{function.name}"
        for file in FILES
        for function in list_functions(parse(file))
        if (function.end_lineno or 0) - function.lineno >= MAX_FUNCTION_LINES
        and not has_reason(function)
    }
    assert not long


def test_nothing_asks_a_spawner_what_it_has_or_which_backend_runs():
    """A backend is asked by its protocol, and chosen by its registry alone."""
    look_up = re.compile(r"(hasattr|getattr)\(\s*(self\.)?spawner")
    asked = {str(file) for file in FILES if look_up.search((ROOT / file).read_text())}
    compared = {
        f"{file}:{node.lineno}"
        for file in FILES
        # The Docker folder's own commands say that they need its modes.
        if file.parent != Path("mlhub/backends/docker")
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Compare) and "execution_mode" in ast.unparse(node)
    }
    assert (asked, compared) == (set(), set())


def find_module(name: str) -> Path | None:
    path = Path(*name.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if (ROOT / file).exists()), None)


def list_imports(body: list[ast.stmt]) -> set[Path]:
    """List the modules of ours that some statements import."""
    names = set[str]()
    for statement in body:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names |= {f"{statement.module}.{alias.name}" for alias in statement.names}
            names.add(statement.module)
    return {file for name in names if name.startswith("mlhub") and (file := find_module(name))}


def find_imports_for_types(file: Path) -> set[Path]:
    return {
        imported
        for node in parse(file).body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for imported in list_imports(node.body)
    }


def test_no_import_for_types_hides_a_circle():
    hidden = {
        f"{imported} imports {file}"
        for file in FILES
        for imported in find_imports_for_types(file)
        if file in list_imports(parse(imported).body)
    }
    assert not hidden
