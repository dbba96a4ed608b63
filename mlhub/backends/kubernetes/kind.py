"""What the Kubernetes backend says about itself. Imports no client of a cluster."""

from __future__ import annotations

from typing import Any

from mlhub import egress
from mlhub.backends.finding import Finding
from mlhub.backends.registry import BackendKind
from mlhub.backends.volume_archive import VolumeArchive
from mlhub.errors import SettingsError
from mlhub.settings import Settings
from mlhub.traits import Rulings


def list_preferences(settings: Settings) -> dict[str, Any]:
    """List the defaults that variables give."""
    return {"stop_seconds": settings.mlhub_stop_seconds}


def check(settings: Settings) -> None:
    """Refuse variables that are for Docker, with what takes their place in the chart."""
    if settings.mlhub_workspace_egress != egress.DEFAULT:
        raise SettingsError(
            f"MLHUB_WORKSPACE_EGRESS={','.join(settings.mlhub_workspace_egress)!r} is for Docker:"
            " on Kubernetes the chart's NetworkPolicy decides. Unset it, and set"
            " mlhub.workspaceEgress."
        )
    if settings.mlhub_image_pull_interval_seconds:
        raise SettingsError(
            f"MLHUB_IMAGE_PULL_INTERVAL_SECONDS={settings.mlhub_image_pull_interval_seconds} is for"
            " Docker: on Kubernetes nodes pull images. Unset it;"
            " singleuser.image.pullPolicy=Always has them look for a newer image at each start."
        )


async def examine(settings: Settings) -> list[Finding]:
    """Look at the cluster."""
    from mlhub.backends.kubernetes import checkup

    return await checkup.examine(settings)


def open_volumes(settings: Settings) -> VolumeArchive:
    """Return the hub's claims for a backup."""
    from mlhub.backends.kubernetes.archive import KubernetesVolumeArchive

    return KubernetesVolumeArchive(settings)


def list_rulings() -> Rulings:
    """List what becomes of the upstream spawner's traits."""
    from mlhub.backends.kubernetes.rulings import KUBESPAWNER

    return KUBESPAWNER


KIND = BackendKind(
    name="Kubernetes",
    modes=("k8s",),
    spawner="mlhubspawner.MLHubKubernetesSpawner",
    runs_proxy=False,
    has_ssh=True,
    preferences=list_preferences,
    check=check,
    examine=examine,
    open_volumes=open_volumes,
    upstream="kubespawner.KubeSpawner",
    rulings=list_rulings,
)
