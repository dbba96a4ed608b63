"""A second engine, in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_container import docker


class OwnEngine:
    """A second dockerd in a network namespace of its own: it may be stopped, and touches no rule of
    the host's.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.name = f"mhtest{secrets.token_hex(3)}"
        third, fourth = secrets.randbelow(250) + 1, secrets.randbelow(60) * 4
        self.host = f"198.18.{third}.{fourth + 2}"  # RFC 2544: never on the internet
        self.gateway = f"198.18.{third}.{fourth + 1}"
        self.folder, self.data = folder, data
        self.options: list[str] = []
        self.wrapper: list[str] = []  # words before the command, which run it in their place
        self.socket = folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def make_network(self) -> None:
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        for command in (
            ["ip", "netns", "add", self.name],
            [
                "ip",
                "link",
                "add",
                f"{self.name}o",
                "type",
                "veth",
                "peer",
                "name",
                f"{self.name}i",
                "netns",
                self.name,
            ],
            ["ip", "addr", "add", f"{self.gateway}/30", "dev", f"{self.name}o"],
            ["ip", "link", "set", f"{self.name}o", "up"],
            [*inside, "ip", "addr", "add", f"{self.host}/30", "dev", f"{self.name}i"],
            [*inside, "ip", "link", "set", f"{self.name}i", "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)

    def start(self) -> None:
        words = [
            "nsenter",
            f"--net=/run/netns/{self.name}",
            *self.wrapper,
            "dockerd",
            "--host",
            f"unix://{self.socket}",
        ]
        words += [
            "--data-root",
            str(self.data),
            "--exec-root",
            str(self.folder / "exec"),
            "--pidfile",
            str(self.folder / "pid"),
        ]
        words += [
            "--containerd-namespace",
            self.name,
            "--containerd-plugins-namespace",
            f"{self.name}-plugins",
        ]
        words += ["--cgroup-parent", f"/{self.name}", "--log-level", "warn", *self.options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def is_up(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
        return (
            subprocess.run(
                ["docker", "--host", f"unix://{self.socket}", "version"], capture_output=True
            ).returncode
            == 0
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)
        # A killed dockerd takes its containerd along, and the next one would wait for that one's
        # return.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def remove_network(self) -> None:
        subprocess.run(
            ["umount", str(self.folder / "exec" / "netns" / "default")],
            check=False,
            capture_output=True,
        )
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        subprocess.run(["ip", "link", "delete", f"{self.name}o"], check=False, capture_output=True)


def load_image(engine: OwnEngine, image: str) -> None:
    """Copy an image from the machine's engine unless the other one, whose images are kept between
    runs, has it.
    """
    own = ["docker", "--host", f"unix://{engine.socket}"]
    wanted = docker("inspect", "--format", "{{.Id}}", image)
    found = subprocess.run(
        [*own, "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True
    ).stdout.strip()
    if found == wanted:
        return
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        subprocess.run(
            [*own, "load", "--quiet"],
            stdin=save.stdout,
            check=True,
            capture_output=True,
            timeout=300,
        )
    subprocess.run([*own, "image", "prune", "--force"], check=True, capture_output=True)


def clear_engine(engine: OwnEngine) -> None:
    """Remove whatever an engine of a test's own has, but its images."""
    own = ["docker", "--host", f"unix://{engine.socket}"]
    for kind in (["container", "ls", "--all", "--quiet"], ["volume", "ls", "--quiet"]):
        found = subprocess.run([*own, *kind], capture_output=True, text=True).stdout.split()
        if found:
            subprocess.run([*own, kind[0], "rm", "--force", *found], capture_output=True)
    subprocess.run([*own, "network", "prune", "--force"], capture_output=True)


@contextlib.contextmanager
def run_engine(data: Path, wait_for: Callable[..., Any]) -> Iterator[OwnEngine]:
    """Run an engine whose images are in ``data``; what it ran is gone when it ends."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("nsenter"):
        pytest.fail("a second engine needs root, dockerd and nsenter on this machine")
    # Short: a socket's path has 108 characters.
    folder = Path("/tmp") / f"mlhub-engine-{secrets.token_hex(3)}"
    folder.mkdir()
    engine = OwnEngine(folder, data)
    engine.make_network()
    try:
        engine.start()
        wait_for(engine.is_up, "the second engine answers", 60)
        yield engine
    finally:
        clear_engine(engine)
        engine.stop()
        engine.remove_network()
        shutil.rmtree(folder, ignore_errors=True)
