"""Build the engine's arguments for a workspace's container, and tell whether an existing one still fits.

Promise: pure, but for asking the spawner for its traits.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlhub.backends.docker.hardening import brings_init, make_host_config, merge_host_config
from mlhub.backends.docker.limits import CHANGEABLE, CPU_PERIOD, make_limits
from mlhub.backends.docker.ssh import admit_ssh, runs_as_root
from mlhub.workspace.expiry import LABEL_EXPIRES

if TYPE_CHECKING:
    from mlhub.backends.docker.spawner import MLHubDockerSpawner

LABEL_CONFIG = "mlhub.config"
LABEL_DECIDED = "mlhub.decided"
LABEL_DATA = "mlhub.data"
IN_CONTAINER = "container"  # value of LABEL_DATA: without a volume, files live and die with the container
# A kept container brings its own tokens; the amounts are told for display only, and may be older than those that hold.
_PASSING_VARIABLES = frozenset({"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "CPU_LIMIT", "MEM_LIMIT"})
_PASSING_LABELS = frozenset({LABEL_CONFIG, LABEL_DECIDED, LABEL_EXPIRES})


async def make_create_arguments(spawner: MLHubDockerSpawner, image: Mapping[str, Any], volume: str | None, network: str) -> dict[str, Any]:
    """Make the arguments of docker-py's ``create_container``; the host config is still in docker-py's terms."""
    config = image.get("Config") or {}
    site = await resolve(spawner, spawner.extra_create_kwargs)
    site_host = await resolve(spawner, spawner.extra_host_config)
    ours = make_host_config() | make_limits(spawner.decision, spawner.cpu_limit, spawner.mem_limit, site_host)
    if spawner.use_init and not brings_init(config.get("Entrypoint")) and await spawner.backend.engine.has_init():
        ours["init"] = True
    host = {
        "network_mode": network,
        "binds": make_binds(spawner, volume),
        "mounts": spawner.mount_binds,
        "links": spawner.links,
        **merge_host_config(ours, site_host),
    }
    arguments = {
        "image": spawner.image,
        "command": [*(spawner.cmd or config.get("Cmd") or []), *spawner.get_args()] or None,
        **site,
        "name": spawner.object_name,
        "environment": {**spawner.get_env(), **(site.get("environment") or {})},
        "labels": {**(site.get("labels") or {}), **spawner.make_labels()},
        "host_config": host,
    }
    labels: dict[str, str] = arguments["labels"]
    if volume is None and not takes_mount_point(spawner):
        labels[LABEL_DATA] = IN_CONTAINER
    # What the image itself says stays out: a container keeps its image until its owner updates it.
    asked = {"command": site.get("command") or [*(spawner.cmd or []), *spawner.get_args()], "init": spawner.use_init, "host": site_host}
    asked["ssh"] = spawner.wants_bundle  # the wish: where the bundle can not be had just now, that is no reason to make a container anew
    labels[LABEL_DECIDED] = hash_decision(spawner)
    labels[LABEL_CONFIG] = hash_arguments(arguments, asked)
    if spawner.ssh_bundle or spawner.brings_sshd:  # after the hash: another bundle is no reason to make a container anew
        admit_ssh(host, spawner.ssh_bundle, as_root=runs_as_root(arguments.get("user") or config.get("User")))
    return arguments


def make_binds(spawner: MLHubDockerSpawner, volume: str | None) -> dict[str, dict[str, str]]:
    """Lay the site's volumes over ours: where it mounts something at our mount point, ours is left out."""
    binds = dict(spawner.volume_binds)
    if volume:
        binds[volume] = {"bind": spawner.mount_point, "mode": "rw"}
    return binds


def takes_mount_point(spawner: MLHubDockerSpawner) -> bool:
    """Tell whether the site mounts something of its own where our volume would be."""
    targets = {bind["bind"].rstrip("/") for bind in spawner.volume_binds.values()}
    targets |= {str(mount["Target"]).rstrip("/") for mount in spawner.mount_binds}
    return spawner.mount_point.rstrip("/") in targets


def keeps_data(container: Mapping[str, Any]) -> bool:
    """Tell whether a container, as the engine describes it, holds its workspace's files itself."""
    return (container["Config"].get("Labels") or {}).get(LABEL_DATA) == IN_CONTAINER


def read_held(container: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a container, as the engine describes it, holds, as options; what the site's host config ``site`` says is not its own."""
    host = container["HostConfig"]
    held: dict[str, Any] = {"is_mount_volume": not keeps_data(container)}
    if host.get("CpuQuota", 0) > 0 and not {"cpu_quota", "cpu_period", "nano_cpus"} & set(site):
        held["cpu_limit"] = host["CpuQuota"] / (host.get("CpuPeriod") or CPU_PERIOD)
    for option, name in (("mem_limit", "Memory"), ("shm_size", "ShmSize")):
        if host.get(name) and option not in site:
            held[option] = host[name]
    if "device_requests" not in site:
        requests = host.get("DeviceRequests") or []
        held["gpus"] = (
            "all" if any(each.get("Count") == -1 for each in requests) else [i for each in requests for i in each.get("DeviceIDs") or []]
        )
    return held


def hash_arguments(arguments: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Hash all that makes a container what it is, but for what may change without making it anew.

    That is: tokens (a kept container brings its own), the expiry, the image behind the reference, and amounts of CPU and
    memory. ``asked`` holds what the site said of the rest.
    """
    host = {key: value for key, value in arguments["host_config"].items() if key not in (*CHANGEABLE, "init")}
    relevant = {key: value for key, value in arguments.items() if key not in ("labels", "command", "host_config")}
    relevant["labels"] = {key: value for key, value in arguments["labels"].items() if key not in _PASSING_LABELS}
    relevant["environment"] = {key: _sort(value) for key, value in arguments["environment"].items() if key not in _PASSING_VARIABLES}
    # The engine can change a limit, but not take it away.
    limited = [key for key in CHANGEABLE if arguments["host_config"].get(key)]
    return _hash([relevant, host, limited, asked])


def hash_decision(spawner: MLHubDockerSpawner) -> str:
    """Hash what the person was granted, as far as it can not change on a container that exists."""
    decision = spawner.decision
    granted = (decision.shm_size, decision.gpus, dict(decision.env), decision.is_mount_volume) if decision else ()
    return _hash([spawner.image, granted])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _sort(value: Any) -> Any:
    # JupyterHub writes sets of scopes as JSON lists, in no particular order.
    if isinstance(value, str) and value.startswith("["):
        try:
            return sorted(json.loads(value))
        except (ValueError, TypeError):
            return value
    return value


async def resolve(spawner: MLHubDockerSpawner, value: Any) -> dict[str, Any]:
    """Return one of the site's dicts, which may be a function of the spawner, with its templates filled in."""
    value = value(spawner) if callable(value) else value
    if inspect.isawaitable(value):
        value = await value
    return dict(spawner._render_templates(value or {}))
