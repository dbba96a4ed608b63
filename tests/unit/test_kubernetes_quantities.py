"""Numbers as Kubernetes writes them, and what nodes have in these numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mlhub.backends.kubernetes.hosts import make_host
from mlhub.backends.kubernetes.quantities import parse_quantity, read_quantity
from mlhub.workspace.policy import Host

GPU = "example.com/gpu"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("1930m", "1.93"),
        ("15u", "0.000015"),
        ("7n", "0.000000007"),
        ("1k", "1000"),
        ("5M", "5000000"),
        ("3G", "3000000000"),
        ("1T", "1000000000000"),
        ("1P", "1000000000000000"),
        ("2E", "2000000000000000000"),
        ("16384Ki", "16777216"),
        ("512Mi", "536870912"),
        ("1.5Gi", "1610612736"),
        ("1Ti", "1099511627776"),
        ("1Ei", "1152921504606846976"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("12e-1", "1.2"),
        ("+4", "4"),
        ("-1", "-1"),
        (268435456, "268435456"),
        (0.5, "0.5"),
    ],
)
def test_a_quantity_is_read_exactly(text, value):
    assert parse_quantity(text) == Decimal(value)
    assert read_quantity(text) == float(value)


@pytest.mark.parametrize(
    "text", ["", " ", "1 Gi", "Gi", "1K", "1GB", "1g", "0x10", "1e", "1Gi ", "1\n", "1,5", "--1", "\u0661", None, "9" * 100]
)
def test_what_is_no_quantity_counts_as_nothing(text):
    assert parse_quantity(text) is None
    assert read_quantity(text) == 0


def make_node(*, unschedulable: bool = False, **allocatable: str) -> dict:
    spec = {"unschedulable": True} if unschedulable else {}
    return {"metadata": {"name": "node"}, "spec": spec, "status": {"allocatable": allocatable}}


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ([], Host()),
        ([make_node(cpu="3920m", memory="16Gi")], Host(cpus=3.92, memory_bytes=16 * 2**30, gpus=())),
        ([make_node(cpu="2", memory="8Gi"), make_node(cpu="1", memory="32Gi")], Host(cpus=2.0, memory_bytes=32 * 2**30, gpus=())),
        ([make_node(cpu="8", memory="8Gi", **{GPU: "2"}), make_node(cpu="8")], Host(cpus=8.0, memory_bytes=8 * 2**30, gpus=("0", "1"))),
        ([make_node(cpu="8", memory="8Gi", **{"example.com/other": "2"})], Host(cpus=8.0, memory_bytes=8 * 2**30, gpus=())),
        # What nobody can be given counts for nothing; what nobody said is unknown, and no zero.
        ([make_node(cpu="64", unschedulable=True), make_node(cpu="2")], Host(cpus=2.0, memory_bytes=None, gpus=())),
        ([make_node(cpu="64", unschedulable=True)], Host()),
        ([{"metadata": {}, "status": {}}], Host(cpus=None, memory_bytes=None, gpus=())),
    ],
)
def test_the_host_is_as_large_as_the_largest_node_in_each_respect(nodes, host):
    assert make_host(nodes, GPU) == host
