"""Tests share what is in tests/support, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def list_imports(file: Path) -> list[str]:
    """Return the dotted names of all that is imported, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def list_made(file: Path) -> list[str]:
    """Return the names of classes and functions that are neither fixtures nor pytest's hooks."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, kinds)
        and not node.name.startswith("pytest_")
        and not any("fixture" in ast.unparse(each) for each in node.decorator_list)
    ]


def test_nobody_imports_a_test_module_or_a_conftest():
    wrong = {
        str(file.relative_to(TESTS)): names
        for file in TESTS.rglob("*.py")
        if (
            names := [
                name
                for name in list_imports(file)
                if name.startswith("tests.") and not name.startswith("tests.support.")
            ]
        )
    }
    assert wrong == {}


def test_a_conftest_holds_fixtures_only():
    made = {file.parent.name: list_made(file) for file in TESTS.rglob("conftest.py")}
    assert {folder: names for folder, names in made.items() if names} == {}
