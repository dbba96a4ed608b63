"""What a workspace was granted, in the terms of docker-py's host config. Pure: no I/O.

Invariants: the site's ``extra_host_config`` has the last word; without one, memory cannot be
stretched by swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker.types import DeviceRequest
from docker.utils import parse_bytes

from mlhub.policy.decide import Decision
from mlhub.quantities import ALL_GPUS

CPU_PERIOD, NANO = 100_000, 1_000_000_000
# What the engine can change on a container that exists, so that a changed amount costs nobody what
# is installed inside.
CHANGEABLE = ("cpu_period", "cpu_quota", "mem_limit", "mem_reservation", "memswap_limit")


def make_limits(
    decision: Decision | None,
    cpu_limit: float | None,
    mem_limit: int | None,
    site: Mapping[str, Any],
    mem_guarantee: int | None = None,
) -> dict[str, Any]:
    """Make our limits, to be laid under the site's own host config ``site``."""
    limits: dict[str, Any] = {}
    if cpu_limit and "nano_cpus" not in site:
        limits["cpu_period"] = site.get("cpu_period", CPU_PERIOD)
        limits["cpu_quota"] = int(cpu_limit * limits["cpu_period"])
    if memory := site.get("mem_limit", mem_limit):
        # Docker's own default is as much swap again as there is memory.
        limits |= {"mem_limit": memory, "memswap_limit": memory}
    if mem_guarantee:
        # The engine refuses one above the limit, which may be less for one person than for others.
        limits["mem_reservation"] = min(mem_guarantee, _read(memory or mem_guarantee))
    if decision is not None and decision.shm_size:
        limits["shm_size"] = decision.shm_size
    if decision is not None and decision.gpus:
        limits["device_requests"] = [make_device_request(decision.gpus)]
    return limits


def make_device_request(gpus: tuple[str, ...]) -> DeviceRequest:
    """Ask for GPUs as ``docker run --gpus`` does.

    Which driver serves them is left to the engine.
    """
    if gpus == ALL_GPUS:
        return DeviceRequest(count=-1, capabilities=[["gpu"]])
    return DeviceRequest(device_ids=list(gpus), capabilities=[["gpu"]])


def list_changes(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to change on a container whose host config was ``found`` (in the engine's
    terms); nothing where all fits.
    """
    limits = {key: wanted[key] for key in CHANGEABLE if wanted.get(key)}
    share = _read(limits.get("cpu_quota", 0)) / _read(limits.get("cpu_period", CPU_PERIOD))
    if found.get("NanoCpus") == round(share * NANO):
        # The same, as the original asked for it; the engine takes no other way for it then.
        limits = {key: value for key, value in limits.items() if not key.startswith("cpu_")}
    keys = {
        "cpu_period": "CpuPeriod",
        "cpu_quota": "CpuQuota",
        "mem_limit": "Memory",
        "mem_reservation": "MemoryReservation",
    }
    # Where the kernel does not count swap the engine writes another MemorySwap than it was told.
    differs = any(
        _read(limits[key]) != found.get(name) for key, name in keys.items() if key in limits
    )
    return limits if differs else {}


def _read(value: Any) -> int:
    return int(parse_bytes(value)) if isinstance(value, str) else int(value)
