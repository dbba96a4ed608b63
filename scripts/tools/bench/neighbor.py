"""What a workspace that misbehaves does to everybody else: the hub's latency beside a fork bomb
with a full /dev/shm.
"""

from __future__ import annotations

import re
import subprocess
import time

from tools.bench.hubs import Hub
from tools.bench.objects import docker
from tools.console import ToolError, read

USER, IMAGE = "bomber", "mltooling/mlhub-workspace:latest"
# As the workspace's own user, with nothing but a shell.
FILL = "dd if=/dev/zero of=/dev/shm/full bs=1M; true"
BOMB = "bomb() { bomb | bomb & }; bomb; sleep 600"
MANY = 1000
GROW_SECONDS = 60


def measure_neighbor(hub: Hub, seconds: int = 5) -> dict[str, float]:
    """Return the 99th percentile of the hub's answers, in ms, beside an idle workspace, and beside
    one that misbehaves.
    """
    hub.add_user(USER)
    hub.start(USER, IMAGE)
    container = find_container(hub)
    try:
        quiet = measure_latency(hub, seconds)
        docker("exec", container, "sh", "-c", FILL)
        docker("exec", "--detach", container, "sh", "-c", BOMB)
        processes = wait_for_many(container)
        return {
            "hub p99 ms, quiet workspace": quiet,
            "hub p99 ms, fork bomb and full shm": measure_latency(hub, seconds),
            "processes of the bomb": float(processes),
        }
    finally:
        docker("kill", container)
        hub.stop(USER)


def find_container(hub: Hub) -> str:
    """Return the container of the workspace that is to misbehave."""
    wanted = (
        "--filter",
        f"label=mlhub.user={USER}",
        "--filter",
        f"label=mlhub.origin={read_hub_name(hub)}",
    )
    return docker("ps", "--quiet", *wanted)


def read_hub_name(hub: Hub) -> str:
    """Return the HUB_NAME that a hub was started with."""
    words = docker(
        "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", hub.container
    ).splitlines()
    return next(word.removeprefix("HUB_NAME=") for word in words if word.startswith("HUB_NAME="))


def wait_for_many(container: str) -> int:
    """Wait until the bomb has grown to where the limit of processes stops it, or for a while;
    return how many there are.
    """
    deadline = time.monotonic() + GROW_SECONDS
    before = 0
    while True:
        time.sleep(1)
        # `docker top` would list them one by one; the engine's counter does not.
        text = read("docker", "stats", "--no-stream", "--format", "{{.PIDs}}", container) or "0"
        now = int(text) if text.isdigit() else 0
        if now > MANY and (now <= before or time.monotonic() > deadline):
            return now
        if time.monotonic() > deadline:
            raise ToolError(
                f"The fork bomb came to {now} processes only: what was to be measured did not"
                " happen."
            )
        before = now


def measure_latency(hub: Hub, seconds: int) -> float:
    """Ask the hub one question after the other through the public port."""
    words = ["wrk", "-t1", "-c2", f"-d{seconds}s", "--latency", f"{hub.url}/hub/api/"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise ToolError(f"The hub did not answer everything:\n{text}")
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
