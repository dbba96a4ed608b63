"""What the hub knows of a cluster's nodes."""

from __future__ import annotations

import pytest

from mlhub.backends.kubernetes.hosts import make_host
from mlhub.options.option import Host

GPU = "example.com/gpu"


def make_node(*, unschedulable: bool = False, **allocatable: str) -> dict:
    spec = {"unschedulable": True} if unschedulable else {}
    return {"metadata": {"name": "node"}, "spec": spec, "status": {"allocatable": allocatable}}


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ([], Host()),
        (
            [make_node(cpu="3920m", memory="16Gi")],
            Host(cpus=3.92, memory_bytes=16 * 2**30, gpus=()),
        ),
        (
            [make_node(cpu="2", memory="8Gi"), make_node(cpu="1", memory="32Gi")],
            Host(cpus=2.0, memory_bytes=32 * 2**30, gpus=()),
        ),
        (
            [make_node(cpu="8", memory="8Gi", **{GPU: "2"}), make_node(cpu="8")],
            Host(cpus=8.0, memory_bytes=8 * 2**30, gpus=("0", "1")),
        ),
        (
            [make_node(cpu="8", memory="8Gi", **{"example.com/other": "2"})],
            Host(cpus=8.0, memory_bytes=8 * 2**30, gpus=()),
        ),
        # What nobody can be given counts for nothing; what nobody said is unknown, and no zero.
        (
            [make_node(cpu="64", unschedulable=True), make_node(cpu="2")],
            Host(cpus=2.0, memory_bytes=None, gpus=()),
        ),
        ([make_node(cpu="64", unschedulable=True)], Host()),
        ([{"metadata": {}, "status": {}}], Host(cpus=None, memory_bytes=None, gpus=())),
    ],
)
def test_the_host_is_as_large_as_the_largest_node_in_each_respect(nodes, host):
    assert make_host(nodes, GPU) == host
