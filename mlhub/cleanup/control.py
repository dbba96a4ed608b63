"""The hub's side of ``mlhub cleanup``, which asks through a socket of the hub's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mlhub.cleanup.plan import Task
from mlhub.cleanup.service import Cleanup
from mlhub.workspaces.hub_socket import open_socket

BY = {"service": "mlhub cleanup"}


def make_socket_path(run: Path) -> Path:
    """Return where the hub listens."""
    return run / "hub" / "cleanup.sock"


async def open_control(cleanup: Cleanup, path: Path) -> asyncio.Server:
    """Listen for the command."""

    async def answer(asked: dict[str, Any]) -> dict[str, Any]:
        task, confirmed = Task(asked["task"]), str(asked["confirm"])
        if asked["dry_run"]:
            return (await cleanup.look(task, confirmed)).describe()
        return (await cleanup.run(task, confirmed, BY)).describe()

    return await open_socket(path, answer)
