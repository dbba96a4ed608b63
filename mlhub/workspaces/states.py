"""What a workspace is doing, in the words of all pages."""

from __future__ import annotations

from typing import Any


def find_state(spawner: Any) -> str:
    """Return starting, running, stopping or stopped, for a spawner or its row in the database."""
    if spawner.pending == "stop":
        return "stopping"
    if spawner.pending:
        return "starting"
    return "running" if spawner.active else "stopped"
