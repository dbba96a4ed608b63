"""What a place may measure of one workspace, and nothing where it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from mlhub.policy.disk import DiskUse


@dataclass(frozen=True)
class Use:
    """What a workspace takes: seconds of CPU since it was started, and bytes that it cannot give
    back.
    """

    cpu_seconds: float
    memory: int


class Measures:
    """Measure nothing; a backend that can does."""

    def find_disk_use(self) -> DiskUse | None:
        """Tell what the owner's files take of the disk, as measured last; None is not known."""
        return None

    async def measure_use(self) -> Use | None:
        """Tell what the workspace takes now; None where it does not run, or nobody can tell."""
        return None
