"""The documented names of our spawners, as user configs write them.

Both are loaded when asked for: the Docker backend needs no Kubernetes client and the other way
round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlhub.backends.docker.spawner import MLHubDockerSpawner

__all__ = ["MLHubDockerSpawner", "MLHubKubernetesSpawner"]


def __getattr__(name: str) -> Any:
    if name == "MLHubDockerSpawner":
        from mlhub.backends.docker.spawner import MLHubDockerSpawner

        return MLHubDockerSpawner
    if name == "MLHubKubernetesSpawner":
        from mlhub.backends.kubernetes.spawner import MLHubKubernetesSpawner

        return MLHubKubernetesSpawner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
