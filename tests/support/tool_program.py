"""A program of somebody's, started inside a workspace."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from tests.support.hub_container import docker
from tests.support.tool_source import SOURCE


def start_tool(
    container: str,
    port: int,
    name: str,
    wait_for: Callable[..., Any],
    address: str = "0.0.0.0",
) -> None:
    """Start it, and wait until it listens; it tells its name at the top of each answer."""
    words = ("python3", "-c", SOURCE, address, str(port), name)
    docker("exec", "--detach", container, *words)
    look = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    wait_for(
        lambda: (
            subprocess.run(
                ["docker", "exec", container, "python3", "-c", look], capture_output=True
            ).returncode
            == 0
        ),
        f"{name} listens",
        20,
    )
