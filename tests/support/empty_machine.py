"""A machine that has nothing: an engine without images, at its usual address, and one registry."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.hub_container import docker
from tests.support.own_engine import OwnEngine, clear_engine
from tests.support.registry import Registry

IMAGES = ("mltooling/ml-hub", "mltooling/mlhub-workspace")
USUAL_SOCKET = "/run/docker.sock"
# Of its own are /run, where clients and containers look for the engine, and the network.
ENTER = 'mount -t tmpfs tmpfs /run && exec "$@"'
# The examples' host is this machine.
FUNCTIONS = """
curl() {
    command curl --silent --show-error --fail-with-body --insecure \\
        --connect-to hub.example.org:443:127.0.0.1:8080 "$@"
}
mlhub() {
    docker run --rm --volume "$PWD":/site --workdir /site --entrypoint mlhub mltooling/ml-hub "$@"
}
"""


class EmptyMachine(OwnEngine):
    """An engine of its own whose only source of images is a registry on its loopback address."""

    def __init__(self, folder: Path, data: Path) -> None:
        super().__init__(folder, data)
        self.wrapper = ["unshare", "--mount", "sh", "-c", ENTER, "sh"]
        self.work = folder / "work"

    def make_command(self, block: str, **variables: str) -> list[str]:
        """Return the command that runs a block of shell on this machine, in its folder."""
        assert self._process
        words = ["nsenter", f"--net=/run/netns/{self.name}"]
        words += [f"--mount=/proc/{self._process.pid}/ns/mnt", "env", "--unset=DOCKER_HOST"]
        words += [f"{name}={value}" for name, value in variables.items()]
        return [*words, "sh", "-ec", f"cd {self.work}\n{FUNCTIONS}\n{block}"]

    def run(self, block: str, code: int = 0, **variables: str) -> str:
        """Run a block; return what it printed."""
        result = subprocess.run(
            self.make_command(block, **variables), capture_output=True, text=True, timeout=600
        )
        said = result.stdout + result.stderr
        assert result.returncode == code, f"{block}\nended with {result.returncode}: {said}"
        return said


def fill_registry(folder: Path, wait_for: Callable[..., Any]) -> None:
    """Put this machine's images into a registry's folder."""
    registry = Registry(folder)
    try:
        wait_for(registry.answers, "the registry answers", 15)
        for image in IMAGES:
            tag = f"{registry.address}/{image}:latest"
            docker("tag", f"{image}:latest", tag)
            try:
                docker("push", "--quiet", tag, timeout=600)
            finally:
                docker("image", "rm", tag, check=False)
    finally:
        registry.end()


@contextlib.contextmanager
def make_empty_machine(folder: Path, wait_for: Callable[..., Any]) -> Iterator[EmptyMachine]:
    """Run the machine; nothing of it is left when the block ends."""
    fill_registry(folder, wait_for)
    # Short: a socket's path has 108 characters.
    short = Path("/tmp") / f"mlhub-empty-{folder.name[-6:]}"
    short.mkdir()
    machine = EmptyMachine(short, folder / "engine")
    machine.work.mkdir()
    machine.make_network()
    registry = Registry(folder, within=("nsenter", f"--net=/run/netns/{machine.name}"))
    machine.options = ["--host", f"unix://{USUAL_SOCKET}"]
    machine.options += ["--registry-mirror", f"http://{registry.address}"]
    try:
        machine.start()
        wait_for(machine.is_up, "the machine's engine answers", 60)
        yield machine
    finally:
        clear_engine(machine)
        registry.end()
        machine.stop()
        machine.remove_network()
        shutil.rmtree(short, ignore_errors=True)
        shutil.rmtree(folder / "engine", ignore_errors=True)
