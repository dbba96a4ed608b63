"""What the engine counts of a container, read as what its workspace takes."""

from __future__ import annotations

import pytest

from mlhub.backends.docker.use import read_use
from mlhub.workspaces.measures import Use

CPU = {"cpu_usage": {"total_usage": 1_500_000_000}}


@pytest.mark.parametrize(
    ("memory", "taken"),
    [
        ({"usage": 300, "stats": {"inactive_file": 100}}, 200),  # cgroup v2
        ({"usage": 300, "stats": {"total_inactive_file": 50, "inactive_file": 1}}, 250),  # v1
        ({"usage": 300, "stats": {"inactive_file": 400}}, 300),
        ({"usage": 300}, 300),
    ],
)
def test_cache_that_the_kernel_gives_back_is_not_memory_that_is_taken(memory, taken):
    assert read_use({"cpu_stats": CPU, "memory_stats": memory}) == Use(1.5, taken)


def test_a_container_that_has_ended_takes_nothing_that_is_known():
    assert read_use({"cpu_stats": CPU, "memory_stats": {}}) is None
    assert read_use({}) is None
