"""The hub's own container: which one it is, and its documented name."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

from docker.errors import APIError

from mlhub.backends.docker.engine import Engine

_HOSTNAME_MOUNT = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?hostname$")
_SHORT_ID = re.compile(r"[0-9a-f]{12}\Z")


def parse_container_id(mountinfo: str) -> str | None:
    """Read the container's id from /proc/self/mountinfo.

    Docker and Podman mount a file of their own folder of the container on /etc/hostname
    (proc(5): field 4 is the root within the file system, field 5 the mount point).
    """
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] == "/etc/hostname" and (match := _HOSTNAME_MOUNT.search(fields[3])):
            return match[1]
    return None


def read_container_id() -> str | None:
    """Read the id (or its first 12 digits) of the container that this process runs in."""
    mountinfo = Path("/proc/self/mountinfo")
    container_id = parse_container_id(mountinfo.read_text()) if mountinfo.exists() else None
    hostname = socket.gethostname()
    return container_id or (hostname if _SHORT_ID.match(hostname) else None)


async def find_own_container(engine: Engine) -> dict[str, Any] | None:
    """Find the container that this process runs in, or None outside of this engine's containers."""
    container_id = await asyncio.to_thread(read_container_id)
    if container_id is None:
        return None
    container = await engine.find("inspect_container", container_id)
    return container if container and container["Id"].startswith(container_id) else None


async def rename_own_container(engine: Engine, container: dict[str, Any], name: str) -> bool:
    """Give the hub's container its documented name where the engine lets us; nothing relies on it."""
    if container["Name"].lstrip("/") == name:
        return True
    try:
        await engine.call("rename", container["Id"], name)
    except APIError:
        return False
    return True
