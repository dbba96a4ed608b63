"""Make containers for one run of the benchmark, and remove whatever the run left on the engine.

Invariants: everything carries the label ``mlhub.bench`` with the run's id, and ``remove_all``
removes exactly that.
"""

from __future__ import annotations

import subprocess

from tools.console import ToolError, read

LABEL = "mlhub.bench"
# Usage, then the table of what it consists of: in version 1 of cgroups, else in version 2.
READ_CGROUP = """cd /sys/fs/cgroup
cat memory/memory.usage_in_bytes memory/memory.stat 2>/dev/null || cat memory.current memory.stat"""

# In version 1 of cgroups nanoseconds, else a table with microseconds.
READ_PROCESSOR = """cd /sys/fs/cgroup
cat cpuacct/cpuacct.usage 2>/dev/null || cat cpu.stat"""


# The hubs of MLHub that one run may have: the one that is measured, the one it is put beside, and
# one with accounts of its own, which is flooded.
MLHUB, OTHER, FLOODED = "MLHub", "other", "flooded"


def make_hub_name(run: str, name: str = MLHUB) -> str:
    """Make the name of one of MLHub's hubs in this run: at most five characters."""
    return name[0].lower() + run[1:5]


def docker(*words: str, timeout: float = 120) -> str:
    """Run one docker command and return its output."""
    result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout)
    if result.returncode:
        raise ToolError(f"`docker {' '.join(words)}` failed: {result.stderr.strip()}")
    return result.stdout.strip()


def start_container(run: str, *words: str) -> str:
    """Start a labeled container in the background and return its id."""
    return docker("run", "--detach", "--label", f"{LABEL}={run}", *words)


def find_port(container: str, port: int) -> int:
    """Return the host port behind which a container's port is published."""
    return int(docker("port", container, str(port)).splitlines()[0].rpartition(":")[2])


def find_address(container: str) -> str:
    """Return a container's address on the default network."""
    return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container)


def remove_container(container: str) -> None:
    """Remove a container and its anonymous volumes."""
    read("docker", "rm", "--force", "--volumes", container)


def remove_all(run: str, hub_image: str) -> None:
    """Remove every container, network and volume of this run, and MLHub's firewall rules."""
    hub_names = [make_hub_name(run, name) for name in (MLHUB, OTHER, FLOODED)]
    for wanted in (
        f"label={LABEL}={run}",
        *(f"label=mlhub.origin={hub_name}" for hub_name in hub_names),
    ):
        for container in (
            read("docker", "ps", "--all", "--quiet", "--filter", wanted) or ""
        ).split():
            remove_container(container)
        for network in (
            read("docker", "network", "ls", "--quiet", "--filter", wanted) or ""
        ).split():
            read("docker", "network", "rm", network)
        for volume in (read("docker", "volume", "ls", "--quiet", "--filter", wanted) or "").split():
            read("docker", "volume", "rm", volume)
    nft = (
        "docker",
        "run",
        "--rm",
        "--network",
        "host",
        "--cap-add",
        "NET_ADMIN",
        "--entrypoint",
        "nft",
        hub_image,
    )
    for hub_name in hub_names:
        read(*nft, "delete", "table", "inet", f"mlhub_{hub_name}")


def read_memory_bytes(container: str) -> int:
    """Return what a container's processes and the kernel on their behalf hold: its memory cgroup
    without page cache.

    `docker stats` counts a part of the page cache too, and charges a page to whoever read it first:
    an image that was just built, or that another container runs as well, seems smaller.
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    """
    total, *lines = docker("exec", container, "sh", "-c", READ_CGROUP).splitlines()
    fields = dict(line.split() for line in lines)
    return int(total) - sum(
        int(fields.get(f"total_{name}", fields[name])) for name in ("active_file", "inactive_file")
    )


def read_processor_seconds(container: str) -> float:
    """Return the processor time that a container's processes have taken."""
    words = docker("exec", container, "sh", "-c", READ_PROCESSOR).split()
    return int(words[0]) / 1e9 if words[0].isdigit() else int(words[1]) / 1e6


def read_image_bytes(image: str) -> int:
    """Return an image's size as the engine stores it."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))
