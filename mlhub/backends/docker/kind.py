"""What the Docker backend says about itself. Imports no client of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlhub import egress
from mlhub.backends.docker import MODES
from mlhub.backends.finding import Finding
from mlhub.backends.registry import BackendKind
from mlhub.backends.volume_archive import VolumeArchive
from mlhub.errors import SettingsError
from mlhub.settings import Settings
from mlhub.traits import Rulings


def list_facts(settings: Settings) -> dict[str, tuple[Any, str]]:
    """List what the deployment has decided about networks and the host."""
    return {
        "network_pool": (settings.mlhub_network_pool, "MLHUB_NETWORK_POOL"),
        "network_prefix": (settings.mlhub_network_prefix, "MLHUB_NETWORK_PREFIX"),
        "workspace_egress": (list(settings.mlhub_workspace_egress), "MLHUB_WORKSPACE_EGRESS"),
        "host_guard": (settings.mlhub_host_guard, "MLHUB_HOST_GUARD"),
    }


def list_preferences(settings: Settings) -> dict[str, Any]:
    """List the defaults that variables give."""
    return {
        "stop_seconds": settings.mlhub_stop_seconds,
        "image_pull_interval_seconds": settings.mlhub_image_pull_interval_seconds,
    }


def check(settings: Settings) -> None:
    """Refuse to bind workspaces to an egress without the rules on the host."""
    if egress.is_binding(settings.mlhub_workspace_egress) and not settings.mlhub_host_guard:
        raise SettingsError(
            f"MLHUB_WORKSPACE_EGRESS={','.join(settings.mlhub_workspace_egress)!r} cannot hold with"
            " MLHUB_HOST_GUARD=false, which leaves out the rules on the host. Set"
            " MLHUB_HOST_GUARD=true, or MLHUB_WORKSPACE_EGRESS=all where the host's own firewall"
            " decides."
        )


def find_socket(settings: Settings) -> Path | None:
    """Return the engine's socket file, or None where the engine is reached otherwise."""
    if settings.docker_host and not settings.docker_host.startswith("unix://"):
        return None
    return Path(settings.docker_host.removeprefix("unix://") or "/var/run/docker.sock")


def add_commands(commands: Any) -> None:
    """Add ``mlhub guard`` and ``mlhub images``."""
    from mlhub.backends.docker import cli

    cli.add_commands(commands)


async def examine(settings: Settings) -> list[Finding]:
    """Look at the engine."""
    from mlhub.backends.docker import checkup

    return await checkup.examine(settings)


def open_volumes(settings: Settings) -> VolumeArchive:
    """Return the engine's volumes for a backup."""
    from mlhub.backends.docker.archive import DockerVolumeArchive

    return DockerVolumeArchive(settings)


def list_rulings() -> Rulings:
    """List what becomes of the upstream spawner's traits."""
    from mlhub.backends.docker.rulings import DOCKERSPAWNER

    return DOCKERSPAWNER


KIND = BackendKind(
    name="Docker",
    modes=MODES,
    spawner="mlhubspawner.MLHubDockerSpawner",
    max_hub_name=5,
    has_ssh=True,
    facts=list_facts,
    preferences=list_preferences,
    check=check,
    find_socket=find_socket,
    add_commands=add_commands,
    examine=examine,
    open_volumes=open_volumes,
    upstream="dockerspawner.DockerSpawner",
    rulings=list_rulings,
)
