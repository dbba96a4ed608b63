"""Change single statements of a Python file, and leave every other byte of it as it is. Pure: no
I/O.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable

WIDTH = 96


class Edits:
    """Gather changes of one text, whose places are those of its syntax tree."""

    def __init__(self, text: str, tree: ast.Module) -> None:
        self.lines = text.encode().splitlines(keepends=True)
        self.top = set(tree.body)
        self.changes: list[tuple[tuple[int, int], tuple[int, int], bytes]] = []

    def replace(self, node: ast.expr, text: str) -> None:
        """Write something else in place of an expression."""
        self.changes.append((*_span(node), text.encode()))

    def rename(self, node: ast.Attribute, name: str) -> None:
        """Give an attribute another name."""
        line, end = _span(node)[1]
        start = end - len(node.attr.encode())
        self.changes.append(((line, start), (line, end), name.encode()))

    def take_out(self, statement: ast.stmt, reasons: Iterable[str]) -> None:
        """Make a statement a comment, with the reasons above it."""
        (first, begin), (last, end) = _span(statement)
        before, after = self.lines[first][:begin], self.lines[last][end:].strip()
        if before.strip() or (after and not after.startswith(b"#")):
            self.changes.append(((first, begin), (last, end), b"pass"))
            return
        indent = before.decode()
        told = [
            line
            for reason in reasons
            for line in textwrap.wrap(
                reason, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
            )
        ]
        source = [line.decode().rstrip("\r\n") for line in self.lines[first : last + 1]]
        shown = [f"{indent}# {line.removeprefix(indent)}".rstrip() for line in source]
        rest = [] if statement in self.top else [f"{indent}pass"]
        text = "\n".join([*told, *shown, *rest])
        stop = len(self.lines[last].rstrip(b"\r\n"))
        self.changes.append(((first, 0), (last, stop), text.encode()))

    def apply(self) -> str:
        """Return the text with all changes."""
        lines = [*self.lines]
        for (first, begin), (last, end), text in sorted(self.changes, reverse=True):
            whole = lines[first][:begin] + text + lines[last][end:]
            lines[first : last + 1] = [whole]
        return b"".join(lines).decode()


def _span(node: ast.stmt | ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    return (node.lineno - 1, node.col_offset), (last - 1, end)
