"""Find a container engine that answers, or install one.

Never touches an engine that is there. Installs only as root on a Debian-like system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tools.console import CACHE, ToolError, read, run, stage

MINIMUM_API = (1, 41)
# Where an engine that was started here puts its containers, and what all of them weigh together: a
# process has 1024. Without it each of them gets a fraction of what the tests that wait for it get.
CONTAINERS = Path("/sys/fs/cgroup/cpu/docker")
SHARES_OF_CONTAINERS = 8192
LOCK_SECONDS = 600


def ensure_engine() -> str:
    """Return the version of an engine that answers; install and start one if there is none."""
    version = find_engine()
    if version:
        return version
    if os.environ.get("DOCKER_HOST"):
        raise ToolError(
            f"DOCKER_HOST={os.environ['DOCKER_HOST']!r} does not answer. Start that engine or "
            "unset DOCKER_HOST."
        )
    if not shutil.which("dockerd"):
        install_packages("docker.io", "iptables", why="no container engine answers here")
    with stage("Starting the container engine"):
        start_engine()
    version = find_engine()
    if not version:
        raise ToolError("The container engine was started but does not answer `docker version`.")
    return version


def find_engine() -> str | None:
    """Return the engine's version, or None when none answers."""
    answer = read(
        "docker", "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}", timeout=20
    )
    if not answer:
        return None
    version, api = answer.split()
    if tuple(int(part) for part in api.split(".")) < MINIMUM_API:
        raise ToolError(
            f"The container engine {version} (API {api}) is too old. MLHub needs Docker 20.10 "
            "(API 1.41) or newer."
        )
    return version


def start_engine() -> None:
    """Start dockerd in the background, in a session of its own."""
    if os.geteuid() != 0:
        raise ToolError(
            "No container engine answers and only root can start one. Start Docker, then run this "
            "again."
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    log = CACHE / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if read("docker", "info", "--format", "{{.ID}}", timeout=10):
            weigh_containers()
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise ToolError(f"dockerd did not start:\n{tail}")


def weigh_containers() -> None:
    """Let the processors serve all containers together as several processes, not as one."""
    if not CONTAINERS.parent.is_dir():
        return  # cgroup v2, where they have slices of their own
    with contextlib.suppress(OSError):  # where this is not ours to set
        CONTAINERS.mkdir(exist_ok=True)
        (CONTAINERS / "cpu.shares").write_text(f"{SHARES_OF_CONTAINERS}\n")


def install_packages(*names: str, why: str) -> None:
    """Install Debian packages, or say which ones are missing."""
    missing = [name for name in names if not is_installed(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        raise ToolError(f"Missing: {' '.join(missing)} ({why}). Install them, then run this again.")
    with stage(f"Installing {' '.join(missing)} ({why})"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # The machine's own upgrades hold these locks for a while.
        patient = ("apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}")
        run(*patient, "update", quiet=True, env=environment)
        run(
            *patient,
            "install",
            "-y",
            "--no-install-recommends",
            *missing,
            quiet=True,
            env=environment,
        )


def is_installed(package: str) -> bool:
    """Return True if a Debian package is installed."""
    return (
        read("dpkg-query", "--show", "--showformat=${db:Status-Status}", package) or ""
    ) == "installed"
