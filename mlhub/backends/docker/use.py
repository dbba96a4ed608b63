"""What a container takes of its host, as the engine counts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlhub.backends.docker.images import DockerImageMixin
from mlhub.workspaces.measures import Use


class DockerUseMixin(DockerImageMixin):
    """Ask the engine about the spawner's own container."""

    async def measure_use(self) -> Use | None:
        """Return what the container takes now; None where it does not run."""
        if not self.object_id:
            return None
        engine = self.backend.engine
        with engine.friendly_errors():
            # One look: by itself the engine waits a second for the next one.
            stats = await engine.call("stats", self.object_id, stream=False, one_shot=True)
        return read_use(stats)


def read_use(stats: Mapping[str, Any]) -> Use | None:
    """Read the engine's answer; a container that has ended has no memory.

    Cache that the kernel gives back is not counted, as ``docker stats`` does it:
    https://docs.docker.com/reference/cli/docker/container/stats/
    """
    memory = stats.get("memory_stats") or {}
    taken = memory.get("usage")
    if taken is None:
        return None
    counts = memory.get("stats") or {}
    cache = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    nanoseconds = ((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage", 0)
    return Use(nanoseconds / 1e9, int(taken - cache if cache < taken else taken))
