"""What a container that exists holds, as the engine describes it. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlhub.backends.docker.limits import CPU_PERIOD, NANO
from mlhub.backends.docker.spec import IN_CONTAINER, LABEL_CONFIG, LABEL_DATA
from mlhub.identity import LABEL_ORIGIN


def keeps_data(container: Mapping[str, Any]) -> bool:
    """Return True if a container, as the engine shows it, holds its workspace's files itself. The
    original did not write that down.
    """
    labels = container["Config"].get("Labels") or {}
    if LABEL_CONFIG not in labels and LABEL_ORIGIN in labels:
        return not container.get("Mounts")
    return bool(labels.get(LABEL_DATA) == IN_CONTAINER)


def read_held(container: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a container, as the engine describes it, holds, as options; what the site's host
    config ``site`` says is not its own.
    """
    host = container["HostConfig"]
    held: dict[str, Any] = {"is_mount_volume": not keeps_data(container)}
    if not {"cpu_quota", "cpu_period", "nano_cpus"} & set(site):
        if host.get("CpuQuota", 0) > 0:
            held["cpu_limit"] = host["CpuQuota"] / (host.get("CpuPeriod") or CPU_PERIOD)
        elif host.get("NanoCpus"):  # as the original asked for them
            held["cpu_limit"] = host["NanoCpus"] / NANO
    for option, name in (("mem_limit", "Memory"), ("shm_size", "ShmSize")):
        if host.get(name) and option not in site:
            held[option] = host[name]
    if "device_requests" not in site:
        requests = host.get("DeviceRequests") or []
        held["gpus"] = (
            "all"
            if any(each.get("Count") == -1 for each in requests)
            else [i for each in requests for i in each.get("DeviceIDs") or []]
        )
    return held
