"""What a person's workspaces take of what they may have in all."""

from __future__ import annotations

import math

from mlhub.options.option import Setting
from mlhub.policy.disk import TOTAL, DiskUse
from mlhub.policy.quota import Reservation
from mlhub.policy.usage import describe_use, list_bars

GIB = 2**30


def limit(value):
    return Setting(value, ("everyone", "total"))


def write(limits, held=(), use=None):
    bars = list_bars({name: limit(value) for name, value in limits.items()}, held, use)
    return [(bar.label, bar.taken / bar.limit, bar.text) for bar in bars]


def test_what_runs_is_told_beside_what_may_run():
    held = [Reservation("ann", cpu_limit=0.5, mem_limit=2 * GIB, gpus=1)] * 2
    limits = {"servers": 4, "cpu_limit": 4, "mem_limit": 16 * GIB, "gpus": 2}
    assert write(limits, held) == [
        ("Workspaces", 0.5, "2 of 4"),
        ("CPU", 0.25, "1 of 4"),
        ("Memory", 0.25, "4 GB of 16 GB"),
        ("GPUs", 1, "2 of 2"),
    ]
    assert write({"mem_limit": GIB}) == [("Memory", 0, "0 of 1 GB")]


def test_what_has_no_limit_and_what_nobody_measured_has_no_bar():
    assert write({"servers": math.inf, "gpus": 0, TOTAL: GIB}) == []
    assert write({TOTAL: GIB}, use=DiskUse(GIB // 2)) == [("Disk", 0.5, "512 MB of 1 GB")]


def test_a_workspace_without_a_limit_takes_all_and_more_than_all_fills_the_bar():
    assert write({"mem_limit": GIB}, [Reservation("ann")]) == [("Memory", 1, "all of 1 GB")]
    assert write({"servers": 1}, [Reservation("ann")] * 2) == [("Workspaces", 1, "2 of 1")]


def test_an_administrator_reads_what_somebody_has_and_of_how_much():
    held = [Reservation("ann", cpu_limit=0.5, mem_limit=2 * GIB)] * 2
    limits = {
        name: limit(value)
        for name, value in {"servers": 20, "mem_limit": 24 * GIB, TOTAL: 90 * GIB}.items()
    }
    use = DiskUse(3 * GIB)
    assert describe_use(limits, held, use) == [
        "2 of 20 running", "4 GB of 24 GB of memory", "3 GB of 90 GB of disk"
    ]  # fmt: skip
    assert describe_use({}, held, use) == ["2 running", "4 GB of memory", "3 GB of disk"]
    assert describe_use({"gpus": limit(4)}, [Reservation("ann", gpus=1)], None) == [
        "1 running", "memory without limit", "1 of 4 GPUs"
    ]  # fmt: skip
    assert describe_use(limits, [], DiskUse(0)) == []
