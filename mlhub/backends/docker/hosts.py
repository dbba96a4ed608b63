"""What the Docker host has: cores, memory and GPUs, so far as it can be known.

Invariants: nothing is guessed. Where an engine may have GPUs that cannot be listed, they are
unknown (None), not none.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlhub.backends.background import Once
from mlhub.backends.docker.engine import Engine, is_transient
from mlhub.options.option import Host

FRESH_SECONDS = 60.0
_DRIVER = Path("/proc/driver/nvidia")  # the driver's own, visible in every container of its host
_UUID = re.compile(r"GPU UUID:\s*(GPU-[0-9a-f-]+)\s*$", re.MULTILINE)


class HostFacts:
    """Remember for a minute what the engine says about its host."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._info: dict[str, Any] = {}
        self._asking = Once(self._ask, FRESH_SECONDS)

    async def read(self) -> dict[str, Any]:
        """Return the engine's info; after a transient error, that of last time."""
        try:
            self._info = await self._asking.get()
        except OSError as error:  # docker-py's and requests' errors are such
            if not self._info or not is_transient(error):
                raise
        return self._info

    async def _ask(self) -> dict[str, Any]:
        return dict(await self.engine.call("info"))


async def read_host(facts: HostFacts, gpus: list[str] | None) -> Host:
    """Read the host's facts; ``gpus`` is what the site says of its GPUs, None where they shall be
    found.
    """
    info = await facts.read()
    if gpus is None:
        found = await asyncio.to_thread(find_gpus, info, is_local(info, facts.engine.address))
    else:
        found = tuple(gpus)
    return Host(
        cpus=info.get("NCPU") or None,
        memory_bytes=info.get("MemTotal") or None,
        gpus=found,
        is_shared=True,
    )


def is_local(info: Mapping[str, Any], address: str) -> bool:
    """Return True if the engine runs under this process's own kernel; a socket may also lead
    elsewhere.
    """
    return (
        address.startswith(("unix://", "http+unix://"))
        and info.get("KernelVersion") == os.uname().release
    )


def find_gpus(
    info: Mapping[str, Any], local: bool, driver: Path = _DRIVER
) -> tuple[str, ...] | None:
    """Find the UUIDs of the host's GPUs, in the order of their indices: that of their bus
    addresses, as nvidia-smi has it.
    """
    is_served = "nvidia" in (info.get("Runtimes") or {}) or any(
        str(device.get("ID", "")).startswith("nvidia.com/gpu")
        for device in info.get("DiscoveredDevices") or []
    )
    if not local:
        # Engines up to 28 can serve GPUs through a hook that they do not tell of.
        return None
    if not driver.exists():
        return None if is_served else ()
    files = sorted(driver.glob("gpus/*/information"))
    found = [
        match[1] if (match := _UUID.search(file.read_text(errors="replace"))) else ""
        for file in files
    ]
    # Question marks instead of a UUID: the driver has not initialized that GPU yet.
    return tuple(found) if found and all(found) else None
