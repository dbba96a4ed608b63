"""The site's ``post_start_cmd``: a command inside each container that was started."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from docker.errors import DockerException

from mlhub.backends.docker.engine import Engine

# What it prints is in the hands of whoever is inside: the hub takes nothing of it but its exit
# code, and looks for that no longer than this.
WATCH_SECONDS = 600.0
LOOK_SECONDS = 0.1


async def run_inside(engine: Engine, container_id: str, command: str, log: Any) -> None:
    """Run a command in a running container, as the container's own user; one that fails, or that
    cannot be run, is a warning in the log.
    """
    try:
        made = await engine.call("exec_create", container_id, command, stdout=False, stderr=False)
        await engine.call("exec_start", made["Id"], detach=True)
        code, deadline = None, time.monotonic() + WATCH_SECONDS
        while code is None and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            code = (await engine.call("exec_inspect", made["Id"])).get("ExitCode")
    except (OSError, DockerException) as error:  # docker-py's and requests' errors
        log.warning("post_start_cmd %r cannot be run in %.12s: %s", command, container_id, error)
        return
    if code:
        log.warning(
            "post_start_cmd %r ended with code %s in %.12s. It runs as the container's user; what"
            " it printed is not read. Correct c.DockerSpawner.post_start_cmd.",
            command,
            code,
            container_id,
        )
