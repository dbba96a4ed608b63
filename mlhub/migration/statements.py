"""Find what a ``jupyterhub_config.py`` writes into its configuration. Pure: nothing is executed.

Invariants: whatever names the configuration is found; what is none of the forms that are known here
is told by its line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlhub.migration.verdicts import UNKNOWN

# Methods of a section as a whole, and of the configuration.
OF_A_SECTION = ("update", "merge", "setdefault", "pop")


@dataclass(frozen=True)
class Write:
    """One place that writes a trait.

    ``target`` is the expression ``c.Section.trait``; ``value`` the one behind the equals sign, None
    where what is there is changed in place.
    """

    statement: ast.stmt
    target: ast.Attribute
    section: str
    trait: str
    value: ast.expr | None = None


@dataclass(frozen=True)
class Finding:
    """All that a file writes, and the lines that cannot be told."""

    writes: tuple[Write, ...]
    unread: tuple[ast.stmt, ...]


class Reader:
    """Read one parsed file."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.parents = {
            child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)
        }
        self.names = {"c"}
        self.sections: dict[str, str] = {}
        self.constants: dict[str, Any] = {}
        self.imported: dict[str, str] = {}
        # Classes of the file's own.
        self.classes = {each.name for each in ast.walk(tree) if isinstance(each, ast.ClassDef)}
        self._read_names()

    def find(self) -> Finding:
        """Find all writes."""
        writes: list[Write] = []
        unread: dict[ast.stmt, None] = {}
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Name) or not self._is_ours(node):
                continue
            found = self._look_at(node)
            if isinstance(found, Write):
                writes.append(found)
            elif found is not None:
                unread[found] = None
        writes.sort(key=lambda write: (write.statement.lineno, write.statement.col_offset))
        return Finding(tuple(writes), tuple(unread))

    def evaluate(self, node: ast.expr | None) -> Any:
        """Return a value that stands in the file, ``UNKNOWN`` for one that is computed."""
        if node is None:
            return UNKNOWN
        if isinstance(node, ast.Name):
            return self.constants.get(node.id, self.imported.get(node.id, UNKNOWN))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = self.imported.get(node.value.id)
            return f"{module}.{node.attr}" if module else UNKNOWN
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return UNKNOWN

    def _read_names(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = alias.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._read_name(node.targets[0].id, node.value)

    def _read_name(self, name: str, value: ast.expr) -> None:
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("get_config"):
            self.names.add(name)
        elif (
            isinstance(value, ast.Attribute)
            and isinstance(value.value, ast.Name)
            and value.value.id in self.names
        ):
            self.sections[name] = value.attr
        elif name in self.constants:
            self.constants[name] = UNKNOWN  # which of the two holds, only running it would tell
        else:
            self.constants[name] = self.evaluate(value)

    def _is_ours(self, node: ast.Name) -> bool:
        if isinstance(node.ctx, ast.Store):
            return False
        return node.id in self.names or node.id in self.sections

    def _look_at(self, node: ast.Name) -> Write | ast.stmt | None:
        """Return the write, the statement that cannot be told, or None for what only reads."""
        statement = self._find_statement(node)
        if node.id in self.sections:
            section, target = self.sections[node.id], self.parents[node]
        else:
            above = self.parents[node]
            if not isinstance(above, ast.Attribute):
                return statement
            section, target = above.attr, self.parents[above]
            if isinstance(target, ast.Assign) and target.value is above:
                return None  # a short name for a section
        if not isinstance(target, ast.Attribute) or target.attr in OF_A_SECTION:
            return statement
        return self._look_at_target(statement, target, section)

    def _look_at_target(
        self, statement: ast.stmt, target: ast.Attribute, section: str
    ) -> Write | ast.stmt | None:
        above = self.parents[target]
        if isinstance(target.ctx, ast.Store):
            if isinstance(above, ast.Assign | ast.AnnAssign):
                return Write(statement, target, section, target.attr, above.value)
            if isinstance(above, ast.AugAssign):
                return Write(statement, target, section, target.attr)
            return statement
        if isinstance(target.ctx, ast.Del):
            return statement
        top: ast.AST = target
        for each in self._climb(target):
            top = each
        is_call = isinstance(top, ast.Call) and isinstance(self.parents[top], ast.Expr)
        is_item = isinstance(top, ast.Subscript) and isinstance(top.ctx, ast.Store)
        return Write(statement, target, section, target.attr) if is_call or is_item else None

    def _climb(self, node: ast.AST) -> Iterator[ast.AST]:
        above = self.parents[node]
        while (isinstance(above, ast.Attribute | ast.Subscript) and above.value is node) or (
            isinstance(above, ast.Call) and above.func is node
        ):
            yield above
            node, above = above, self.parents[above]

    def _find_statement(self, node: ast.AST) -> ast.stmt:
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node
