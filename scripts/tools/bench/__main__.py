"""Run the benchmark: build, start both hubs, alternate rounds, print, clean up. With the first word
`kube`: on Kubernetes; with `front`: the router beside configurable-http-proxy.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tools.bench import floods, front, kube, measures, neighbor
from tools.bench.hubs import Hub, start_mlhub, start_peer
from tools.bench.objects import FLOODED, MLHUB, OTHER, remove_all
from tools.bench.report import print_table, write_results
from tools.console import main_with_sentences, stage
from tools.engine import ensure_engine, install_packages
from tools.images import HUB, WORKSPACE, Image, ensure_image

PEERS = (
    Image(
        "mlhub-bench-peer-hub:latest",
        "docker/bench/peer-hub/Dockerfile",
        ("docker/bench/peer-hub",),
    ),
    Image(
        measures.PEER_IMAGE,
        "docker/bench/peer-workspace/Dockerfile",
        ("docker/bench/peer-workspace", "docker/requirements/workspace.txt"),
    ),
    Image(measures.BACKEND_IMAGE, "docker/bench/backend/Dockerfile", ("docker/bench/backend",)),
)
REST_SECONDS = 30
PARTS = ("sizes", "memory", "starts", "ten", "requests", "neighbor", "floods")


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure MLHub beside plain JupyterHub, in one run."
    )
    parser.add_argument(
        "rounds",
        nargs="?",
        type=int,
        default=5,
        help="measured rounds (one more warms up); default 5",
    )
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")
    parser.add_argument(
        "--only", default=",".join(PARTS), help="parts to run, comma separated: " + ", ".join(PARTS)
    )
    parser.add_argument("--image", default=HUB.tag, help="hub image to measure")
    parser.add_argument(
        "--beside",
        metavar="IMAGE",
        default="",
        help="measure beside this image of MLHub, in place of plain JupyterHub",
    )
    parser.add_argument(
        "--no-build", action="store_true", help="measure MLHub's images as they are"
    )
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    unknown = set(options.only) - set(PARTS)
    if unknown or options.rounds < 1:
        parser.error(
            f"--only={','.join(sorted(unknown))!r} is not a part; there are {', '.join(PARTS)}."
            if unknown
            else "rounds must be 1 or more."
        )
    return options


def measure(
    run: str, folder: Path, options: argparse.Namespace, samples: dict[str, list[float]]
) -> None:
    """Run all rounds and fill ``samples`` as they come."""

    def add(results: dict[str, float]) -> None:
        for key, value in results.items():
            samples[key].append(value)

    if "sizes" in options.only:
        add(measures.measure_sizes(options.image, options.beside))
    images = [measures.OUR_IMAGE, measures.PEER_IMAGE, measures.BACKEND_IMAGE]
    with stage("Starting both hubs"):
        yardstick = (
            start_mlhub(run, images, options.beside, folder / OTHER, name=OTHER)
            if options.beside
            else start_peer(run, images)
        )
        hubs: list[Hub] = [yardstick, start_mlhub(run, images, options.image, folder / MLHUB)]
    flooded = None
    if "floods" in options.only:
        with stage("Starting a hub with accounts of its own"):
            folder = folder / FLOODED
            flooded = start_mlhub(
                run, images, options.image, folder, name=FLOODED, authenticator="native"
            )
    if "memory" in options.only:
        with stage(f"Idle memory, {REST_SECONDS} s after each hub was ready"):
            add(measures.measure_memory(hubs, REST_SECONDS))
    direct = measures.prepare_backends(run, hubs) if "requests" in options.only else ""
    for number in range(options.rounds + 1):
        order = hubs if number % 2 else hubs[::-1]
        with stage(
            f"Round {number} of {options.rounds}"
            + (", to warm up" if number == 0 else "")
            + f" (load {os.getloadavg()[0]:.1f})"
        ):
            # The warm-up round's numbers go nowhere; what an interrupted round has measured is
            # kept.
            keep = add if number else dict
            if "starts" in options.only:
                keep(measures.measure_starts(run, order, number))
            # Every other round: ten at once take as long as everything else together.
            if "ten" in options.only and number % 2:
                keep(measures.measure_crowd(run, order, number))
            if "requests" in options.only:
                keep(measures.measure_requests(order, direct, seconds=5 if number else 2))
            if "neighbor" in options.only and number % 2:
                keep(neighbor.measure_neighbor(hubs[1]))
            if flooded is not None:
                keep(floods.measure_floods(run, flooded, seconds=5 if number else 2))
    if "memory" in options.only:
        add(
            {f"{key}, after the run": value for key, value in measures.measure_memory(hubs).items()}
        )


def main(arguments: Sequence[str]) -> int:
    """Build what is missing, measure, print, write, clean up."""
    if arguments[:1] == ["kube"]:
        return kube.main(arguments[1:])
    if arguments[:1] == ["front"]:
        return front.main(arguments[1:])
    options = read_arguments(arguments)
    engine = ensure_engine()
    if {"requests", "neighbor", "floods"} & set(options.only) and not shutil.which("wrk"):
        install_packages("wrk", why="it counts requests per second")
    for image in PEERS if options.no_build else (HUB, WORKSPACE, *PEERS):
        ensure_image(image)
    # Random, so that another hub on this engine is never taken for ours.
    run, samples = "b" + secrets.token_hex(4), defaultdict(list)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.time()
    try:
        with tempfile.TemporaryDirectory(prefix="mlhub-bench-") as folder:
            measure(run, Path(folder), options, samples)
    finally:
        with stage("Removing what the benchmark made"):
            remove_all(run, options.image)
        if samples:
            print_table(samples)
    if options.output:
        write_results(options.output, began, options.rounds, {"engine": engine}, samples)
    return 0


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
