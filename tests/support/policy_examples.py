"""The worked examples of policies in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "howto"


def read_example(name):
    """Return the text of the one policy on a page."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL)
    return text
