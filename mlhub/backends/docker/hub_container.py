"""The hub's own container: which one it is, its documented name, and whether another running hub
has that already.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docker.errors import APIError

from mlhub.backends.docker import MODES
from mlhub.backends.docker.engine import Engine
from mlhub.backends.registry import read_settings
from mlhub.errors import ConfigurationError, SettingsError
from mlhub.identity import LABEL_SERVER

log = logging.getLogger(__name__)
LINGER_SECONDS = (
    10.0  # a hub that is being stopped while its successor starts has as long as that to end
)
ROLE_VARIABLES = ("HUB_NAME", "EXECUTION_MODE", "START_JHUB")
IMAGE_LABEL = ("org.opencontainers.image.title", "MLHub")
_HOSTNAME_MOUNT = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?hostname$")
_SHORT_ID = re.compile(r"[0-9a-f]{12}\Z")


def parse_container_id(mountinfo: str) -> str | None:
    """Read the container's id from /proc/self/mountinfo.

    Docker and Podman mount a file of their own folder of the container on /etc/hostname
    (proc(5): field 4 is the root within the file system, field 5 the mount point).
    """
    for line in mountinfo.splitlines():
        fields = line.split()
        if (
            len(fields) > 4
            and fields[4] == "/etc/hostname"
            and (match := _HOSTNAME_MOUNT.search(fields[3]))
        ):
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


async def take_name(
    engine: Engine, container: dict[str, Any], name: str, linger_seconds: float = LINGER_SECONDS
) -> bool:
    """Give the hub's container its documented name where the engine lets us; nothing relies on it.

    Raises ``ConfigurationError`` where a running hub of the same name has it, and keeps it.
    """
    deadline = time.monotonic() + linger_seconds
    was_said = False
    while not await _rename(engine, container, name):
        holder = await engine.find("inspect_container", name)
        is_rival = (
            holder is not None
            and holder["Name"] == f"/{name}"
            and is_same_hub(holder, container, name)
        )
        if is_rival and time.monotonic() > deadline:
            raise make_refusal(name, "is a running hub", name)
        if is_rival and not was_said:
            log.warning(
                "The container %s is a running hub with this HUB_NAME; waiting %.0f s for its end.",
                name,
                linger_seconds,
            )
            was_said = True
        if not is_rival:
            # It ended; where it is being removed, its name is free in a moment.
            deadline = min(deadline, time.monotonic() + 1)
            if not was_said or time.monotonic() > deadline:
                return holder is not None and holder["Id"] == container["Id"]
        await asyncio.sleep(0.2)
    return True


def is_same_hub(other: dict[str, Any], own: dict[str, Any], name: str) -> bool:
    """Return True if another container than the own one runs as the hub of this name."""
    label, title = IMAGE_LABEL
    if (
        other["Id"] == own["Id"]
        or not other["State"]["Running"]
        or (other["Config"].get("Labels") or {}).get(label) != title
    ):
        return False
    told = _read_variables(other)
    if told.get("DOCKER_HOST") != _read_variables(own).get("DOCKER_HOST"):
        return False  # its workspaces are on another engine
    try:
        settings = read_settings({variable: told.get(variable, "") for variable in ROLE_VARIABLES})
    except SettingsError:
        return False  # it is about to end
    is_here = settings.execution_mode in MODES
    return settings.hub_name == name and settings.start_jhub and is_here


def _read_variables(container: dict[str, Any]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in container["Config"].get("Env") or [])


def make_refusal(container: str, reason: str, name: str) -> ConfigurationError:
    """Make the error that ends the second of two hubs."""
    return ConfigurationError(
        f"The container {container!r} {reason}: two hubs with HUB_NAME={name}. Stop the other one,"
        " or give this one another HUB_NAME."
    )


async def refuse_second_hub(
    engine: Engine, hub_name: str, network: str, containers: Sequence[dict[str, Any]]
) -> None:
    """Raise ``ConfigurationError`` where one of the other ``containers`` of a network answers to
    this hub's name.
    """
    for container in containers:
        if LABEL_SERVER in (container.get("Labels") or {}):
            continue  # a workspace: it gets no alias of its own choice
        full = await engine.find("inspect_container", container["Id"]) or {}
        networks = full.get("NetworkSettings", {}).get("Networks") or {}
        aliases = (networks.get(network) or {}).get("Aliases") or []
        names = {*aliases, *(entry.lstrip("/") for entry in container.get("Names", []))}
        if hub_name in names:
            other = container["Names"][0].lstrip("/")
            reason = f"already answers as {hub_name!r} in the network {network!r}"
            raise make_refusal(other, reason, hub_name)


async def _rename(engine: Engine, container: dict[str, Any], name: str) -> bool:
    if container["Name"].lstrip("/") == name:
        return True
    try:
        await engine.call("rename", container["Id"], name)
    except APIError:
        return False
    return True
