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

if TYPE_CHECKING:
    from mlhub.backends.docker.spawner import MLHubDockerSpawner

LABEL_CONFIG = "mlhub.config"
_TOKENS = frozenset({"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN"})


async def make_create_arguments(spawner: MLHubDockerSpawner, image: Mapping[str, Any], volume: str | None, network: str) -> dict[str, Any]:
    """Make the arguments of docker-py's ``create_container``; the host config is still in docker-py's terms."""
    config = image.get("Config") or {}
    command = [*(spawner.cmd or config.get("Cmd") or []), *spawner.get_args()]
    site = await _resolve(spawner, spawner.extra_create_kwargs)
    site_host = await _resolve(spawner, spawner.extra_host_config)
    ours = make_host_config()
    if spawner.use_init and not brings_init(config.get("Entrypoint")) and await spawner.backend.engine.has_init():
        ours["init"] = True
    host = {
        "network_mode": network,
        "binds": make_binds(spawner, volume),
        "mounts": spawner.mount_binds,
        "links": spawner.links,
        **_make_limits(spawner, site_host),
        **merge_host_config(ours, site_host),
    }
    arguments = {
        "image": spawner.image,
        "command": command or None,
        **site,
        "name": spawner.object_name,
        "environment": {**spawner.get_env(), **(site.get("environment") or {})},
        "labels": {**(site.get("labels") or {}), **spawner.make_labels()},
        "host_config": host,
    }
    arguments["labels"][LABEL_CONFIG] = hash_arguments(arguments, str(image.get("Id")))
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


def hash_arguments(arguments: Mapping[str, Any], image_id: str) -> str:
    """Hash all that makes a container what it is, but for the tokens, which a kept container brings along."""
    relevant = {key: value for key, value in arguments.items() if key != "labels"}
    relevant["labels"] = {key: value for key, value in arguments["labels"].items() if key != LABEL_CONFIG}
    relevant["environment"] = {key: _sort(value) for key, value in arguments["environment"].items() if key not in _TOKENS}
    text = json.dumps([image_id, relevant], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sort(value: Any) -> Any:
    # JupyterHub writes sets of scopes as JSON lists, in no particular order.
    if isinstance(value, str) and value.startswith("["):
        try:
            return sorted(json.loads(value))
        except (ValueError, TypeError):
            return value
    return value


def _make_limits(spawner: MLHubDockerSpawner, site_host: Mapping[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if spawner.mem_limit:
        limits["mem_limit"] = spawner.mem_limit
    if spawner.cpu_limit:
        limits["cpu_period"] = site_host.get("cpu_period", 100_000)
        limits["cpu_quota"] = int(spawner.cpu_limit * limits["cpu_period"])
    return limits


async def _resolve(spawner: MLHubDockerSpawner, value: Any) -> dict[str, Any]:
    value = value(spawner) if callable(value) else value
    if inspect.isawaitable(value):
        value = await value
    return dict(spawner._render_templates(value or {}))
