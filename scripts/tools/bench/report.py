"""Medians, ratios and targets. Pure but for printing and writing."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tools.bench.floods import FLOODS
from tools.bench.objects import MLHUB, OTHER
from tools.console import read


@dataclass(frozen=True)
class Comparison:
    """One line of the table: ours over theirs, and the ratio that we want."""

    title: str
    ours: str
    theirs: str
    target: float
    more_is_better: bool = False


COMPARISONS = (
    Comparison(
        "start -> Lab, first", "first start, MLHub, our image", "first start, peer, peer image", 0.5
    ),
    Comparison(
        "start -> Lab, second",
        "second start, MLHub, our image",
        "second start, peer, peer image",
        0.5,
    ),
    Comparison(
        "  same image (peer's), first",
        "first start, MLHub, peer image",
        "first start, peer, peer image",
        0.8,
    ),
    Comparison(
        "  same image (peer's), second",
        "second start, MLHub, peer image",
        "second start, peer, peer image",
        0.8,
    ),
    Comparison(
        "  same image (ours), first",
        "first start, MLHub, our image",
        "first start, peer, our image",
        0.8,
    ),
    Comparison(
        "  same image (ours), second",
        "second start, MLHub, our image",
        "second start, peer, our image",
        0.8,
    ),
    Comparison(
        "  first over bare docker run",
        "first start, MLHub, our image",
        "docker run, our image",
        1.6,
    ),
    Comparison(
        "  second over bare docker run",
        "second start, MLHub, our image",
        "docker run, our image",
        1.6,
    ),
    Comparison("docker run -> Lab", "docker run, our image", "docker run, peer image", 0.6),
    Comparison(
        "ten at once, last ready",
        "ten at once, MLHub, our image",
        "ten at once, peer, peer image",
        0.65,
    ),
    Comparison(
        "  same image (peer's)",
        "ten at once, MLHub, peer image",
        "ten at once, peer, peer image",
        0.8,
    ),
    Comparison(
        "  same image (ours)", "ten at once, MLHub, our image", "ten at once, peer, our image", 0.8
    ),
    Comparison(
        "  over bare docker run",
        "ten at once, MLHub, our image",
        "ten at once, docker run, our image",
        1.3,
    ),
    Comparison(
        "requests/s, 1 KB", "requests/s, MLHub", "requests/s, peer", 0.95, more_is_better=True
    ),
    Comparison("latency p99, ms", "p99 ms, MLHub", "p99 ms, peer", 1.0),
    Comparison(
        "hub p99 beside a fork bomb",
        "hub p99 ms, fork bomb and full shm",
        "hub p99 ms, quiet workspace",
        2.0,
    ),
    *(
        Comparison(f"hub p99 beside {flood}", f"hub p99 ms, {flood}", "hub p99 ms, no flood", 2.0)
        for flood in FLOODS
    ),
    Comparison("memory after floods", "memory MB, after floods", "memory MB, no flood", 1.5),
    Comparison("idle memory, MB", "memory MB, MLHub", "memory MB, peer", 1.4),
    Comparison("hub image, MB", "image MB, MLHub", "image MB, peer hub", 1.0),
    Comparison("workspace image, MB", "image MB, our workspace", "image MB, peer workspace", 1.0),
    Comparison("front: requests/s, 1 KB", "requests/s, router", "requests/s, CHP", 6.0, True),
    Comparison("  processor time of one", "us per request, router", "us per request, CHP", 1 / 6),
    Comparison("front: latency p99, ms", "p99 ms, router", "p99 ms, CHP", 0.6),
    Comparison("front: WebSocket messages/s", "messages/s, router", "messages/s, CHP", 3.0, True),
    Comparison("  processor time of one", "us per message, router", "us per message, CHP", 1 / 3),
    Comparison("front: bulk, MB/s", "bulk MB/s, router", "bulk MB/s, CHP", 1.5, True),
    Comparison("front: route added -> live, ms", "route ms, router", "route ms, CHP", 1.0),
    Comparison("front: idle memory, MB", "idle MB, router", "idle MB, CHP", 1.0),
    Comparison(
        "front: idle WebSockets, MB", "5000 sockets MB, router", "5000 sockets MB, CHP", 1.0
    ),
    Comparison("kube: start -> Lab, first", "first start, MLHub", "first start, peer", 0.9),
    Comparison("kube: start -> Lab, second", "second start, MLHub", "second start, peer", 0.9),
    Comparison("  without SSH, first", "first start, MLHub without SSH", "first start, peer", 0.9),
    Comparison(
        "  without SSH, second", "second start, MLHub without SSH", "second start, peer", 0.9
    ),
    Comparison("kube: 80 at once, last ready", "80 at once, MLHub", "80 at once, peer", 1.0),
)
# Beside another image of MLHub, nothing may have become worse by more than this.
MAY_GROW = 1.05


def compare_with_other(samples: dict[str, list[float]]) -> list[Comparison]:
    """Return a line for each measure that was taken of both images of MLHub."""
    return [
        Comparison(
            key.replace(f", {MLHUB}", ""),
            key,
            theirs,
            1 / MAY_GROW if key.startswith("requests/s") else MAY_GROW,
            more_is_better=key.startswith("requests/s"),
        )
        for key in samples
        if (theirs := key.replace(MLHUB, OTHER)) != key
        and theirs in samples
        and not key.endswith("failed")
    ]


def summarize(samples: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return median, smallest, largest and number of the samples of each measure."""
    return {
        key: {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "n": len(values),
        }
        for key, values in samples.items()
    }


def compare(samples: dict[str, list[float]]) -> list[dict]:
    """Return the lines of the table for which there are samples."""
    lines = []
    for comparison in (*COMPARISONS, *compare_with_other(samples)):
        if comparison.ours not in samples or comparison.theirs not in samples:
            continue
        ours, theirs = (
            statistics.median(samples[comparison.ours]),
            statistics.median(samples[comparison.theirs]),
        )
        ratio = ours / theirs
        reached = (
            ratio >= comparison.target if comparison.more_is_better else ratio <= comparison.target
        )
        lines.append(
            {
                "title": comparison.title,
                "ours": ours,
                "theirs": theirs,
                "ratio": ratio,
                "target": comparison.target,
                "reached": reached,
                "ours_is": comparison.ours,
                "theirs_is": comparison.theirs,
                "more_is_better": comparison.more_is_better,
            }
        )
    return lines


def print_table(samples: dict[str, list[float]]) -> None:
    """Print every measure, then the ratios."""
    print(f"\n{'measure':<44}{'median':>10}{'min':>10}{'max':>10}{'n':>4}")
    for key, line in summarize(samples).items():
        print(
            f"{key:<44}{line['median']:>10.2f}{line['min']:>10.2f}{line['max']:>10.2f}"
            f"{line['n']:>4}"
        )
    print(f"\n{'ours / theirs':<36}{'ours':>10}{'theirs':>10}{'ratio':>8}{'target':>9}")
    for line in compare(samples):
        sign = ">=" if line["more_is_better"] else "<="
        print(
            f"{line['title']:<36}{line['ours']:>10.2f}{line['theirs']:>10.2f}"
            f"{line['ratio']:>8.2f}{sign:>4}{line['target']:>5.2f}"
            f"  {'' if line['reached'] else 'missed'}"
        )


def write_results(
    file: Path,
    began: float,
    rounds: int,
    machine: dict[str, object],
    samples: dict[str, list[float]],
) -> None:
    """Write every sample and what came of them as JSON."""
    facts = {
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "revision": read("git", "rev-parse", "HEAD"),
        **machine,
    }
    result = {"began": began, "seconds": time.time() - began, "rounds": rounds, "machine": facts}
    result |= {"samples": samples, "summary": summarize(samples), "comparisons": compare(samples)}
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nWritten: {file}")
