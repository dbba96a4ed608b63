"""Names for what the tests make."""

from __future__ import annotations

import secrets
import string


def make_hub_name() -> str:
    """Make a name that no other hub of the tests has; Docker's interfaces take five characters."""
    letters = string.ascii_lowercase + string.digits
    return "t" + "".join(secrets.choice(letters) for _ in range(4))
