"""What is measured, each measure in one round. Every function returns {key: number}."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from tools.bench.hubs import Hub
from tools.bench.objects import (
    OTHER,
    docker,
    find_address,
    read_image_bytes,
    read_memory_bytes,
    remove_container,
    start_container,
)
from tools.console import ToolError

PEER_IMAGE, OUR_IMAGE, BACKEND_IMAGE = (
    "mlhub-bench-peer-workspace:latest",
    "mltooling/mlhub-workspace:latest",
    "mlhub-bench-backend:latest",
)
IMAGES = {"peer image": PEER_IMAGE, "our image": OUR_IMAGE}
BARE = (
    "jupyter",
    "lab",
    "--ip=0.0.0.0",
    "--port=8080",
    "--no-browser",
    "--IdentityProvider.token=",
)
CROWD = 10


def start_bare(run: str, image: str) -> tuple[float, str]:
    """Run an image without any hub.

    Return the seconds until JupyterLab answers, and the container.
    """
    began = time.monotonic()
    container = start_container(run, image, *BARE)
    address = find_address(container)
    while time.monotonic() < began + 120:
        connection = http.client.HTTPConnection(address, 8080, timeout=10)
        try:
            connection.request("GET", "/lab")
            if connection.getresponse().status == 200:
                return time.monotonic() - began, container
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise ToolError(
        f"{image} did not answer within 120 s:\n{docker('logs', '--tail', '30', container)}"
    )


def measure_starts(run: str, hubs: list[Hub], round_number: int) -> dict[str, float]:
    """First and second start of one new user, for each hub and image, and `docker run` of each
    image.
    """
    results = {}
    for label, image in IMAGES.items():
        for hub in hubs:
            user = f"{'p' if image == PEER_IMAGE else 'o'}{round_number}"
            hub.add_user(user)
            results[f"first start, {hub.name}, {label}"] = hub.start(user, image)
            hub.stop(user)
            results[f"second start, {hub.name}, {label}"] = hub.start(user, image)
            hub.stop(user)
        results[f"docker run, {label}"], container = start_bare(run, image)
        remove_container(container)
    return results


def measure_crowd(run: str, hubs: list[Hub], round_number: int) -> dict[str, float]:
    """Ten users at once: seconds until the last one's JupyterLab answers."""
    results = {}
    for hub, label in [
        (hubs[0], "peer image"),
        (hubs[1], "peer image"),
        (hubs[0], "our image"),
        (hubs[1], "our image"),
    ]:
        users = [f"c{label[0]}{round_number}n{number}" for number in range(CROWD)]
        for user in users:
            hub.add_user(user)
        results[f"ten at once, {hub.name}, {label}"], failed = hub.start_many(users, IMAGES[label])
        results[f"ten at once, {hub.name}, {label}, failed"] = failed
        for user in users:
            hub.stop(user)
    for label, image in IMAGES.items():
        results[f"ten at once, docker run, {label}"] = _start_many_bare(run, image)
    return results


def _start_many_bare(run: str, image: str) -> float:
    with ThreadPoolExecutor(CROWD) as pool:
        outcomes = list(pool.map(lambda _: start_bare(run, image), range(CROWD)))
    for _, container in outcomes:
        remove_container(container)
    return max(seconds for seconds, _ in outcomes)


def prepare_backends(run: str, hubs: list[Hub]) -> str:
    """Start the same static backend as a workspace of each hub, and once without a hub; return the
    latter's address.
    """
    for hub in hubs:
        hub.add_user("rps")
        hub.start("rps", BACKEND_IMAGE, path="")
    return "http://" + find_address(start_container(run, BACKEND_IMAGE)) + ":8080/"


def measure_requests(hubs: list[Hub], direct: str, seconds: int = 5) -> dict[str, float]:
    """Requests per second and the 99th percentile of their latency, 1 KB, 32 connections, through
    each public port.
    """
    results = {}
    for name, url in [(hub.name, f"{hub.url}/user/rps/") for hub in hubs] + [("no proxy", direct)]:
        rate, p99 = read_wrk(name, url, seconds)
        results |= {f"requests/s, {name}": rate, f"p99 ms, {name}": p99}
    return results


def read_wrk(name: str, url: str, seconds: int) -> tuple[float, float]:
    """Ask over 32 connections; return requests per second and the 99th percentile of their latency
    in milliseconds.
    """
    words = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", url]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise ToolError(f"{name} refused requests:\n{text}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def measure_memory(hubs: list[Hub], rest_seconds: float = 0) -> dict[str, float]:
    """Megabytes of each hub's whole container, each after the same time since it was ready."""
    results = {}
    for hub in hubs:
        time.sleep(max(0.0, hub.ready + rest_seconds - time.monotonic()))
        results[f"memory MB, {hub.name}"] = read_memory_bytes(hub.container) / 1e6
    return results


def measure_sizes(hub_image: str, beside: str = "") -> dict[str, float]:
    """Megabytes of each image as the engine stores it."""
    images = {
        "peer hub": "mlhub-bench-peer-hub:latest",
        "MLHub": hub_image,
        "peer workspace": PEER_IMAGE,
        "our workspace": OUR_IMAGE,
        **({OTHER: beside} if beside else {}),
    }
    return {f"image MB, {name}": read_image_bytes(image) / 1e6 for name, image in images.items()}
