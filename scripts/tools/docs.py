"""Write the reference pages from the code; with --check only tell whether they are up to date.

Runs in the test environment, because it imports the product.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlhub.settings import SECRET_VARIABLES, Settings

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """# Environment variables

<!-- Written by scripts/docs from mlhub/settings.py. -->

Every variable of the image. A wrong value stops the start with a sentence; a misspelt name is a warning with the nearest one.
Starting a stopped container with other values takes effect: everything is rendered anew at each start.

| Variable | Meaning | Default |
|---|---|---|
"""


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
    pages = {ROOT / "docs/reference/environment.md": render_environment()}
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
