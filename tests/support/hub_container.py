"""Hub containers of the built image, each with its own name, port and data."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tests.support.names import make_hub_name
from tests.support.rest import RestClient
from tests.support.started_tool import TOOL

# Another build of the hub may be asked, such as the one before a change: an attack is seen to
# succeed there.
IMAGE = os.environ.get("MLHUB_TEST_HUB_IMAGE", "mltooling/ml-hub:latest")
TEST_IMAGE = os.environ.get("MLHUB_TEST_WORKSPACE_IMAGE", "mlhub-test-workspace:latest")
TOKEN = secrets.token_hex(16)
RUN = secrets.token_hex(6)
ROOT = Path(__file__).resolve().parents[2]
WAITING = threading.Event()  # never set
# The engine's own check looks into each container every ten seconds, which takes a tenth of two
# processors where ten hubs run; only the tests of that check ask for it.
NO_HEALTH_CHECK = "--no-healthcheck"
PACKAGES = "/opt/mlhub/lib/python3.13/site-packages"
# An administrator's token for the tests, and the authenticator that needs no accounts.
CONFIG = f"""
c.JupyterHub.services = [{{"name": "tests", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "tests", "services": ["tests"], \
"scopes": ["admin:users", "admin:servers", "access:servers", "list:users", "proxy", \
"read:metrics", "shares", "tokens"]}}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Spawner.image = "{TEST_IMAGE}"
c.Spawner.image_settings = {{"{TEST_IMAGE}": {{"tools": [{TOOL!r}]}}}}
"""


def list_source_mounts() -> list[str]:
    """Return the mounts that lay this work tree over the image's code: for development, without a
    rebuild.
    """
    if not os.environ.get("MLHUB_TEST_MOUNT_SOURCES"):
        return []
    places = {
        "mlhub": f"{PACKAGES}/mlhub",
        "mlhubspawner": f"{PACKAGES}/mlhubspawner",
        "resources": "/resources",
    }
    return [
        word
        for folder, place in places.items()
        for word in ("--volume", f"{ROOT / folder}:{place}")
    ]


def docker(*words: str, check: bool = True, timeout: float = 120) -> str:
    """Run the docker client; return what it printed."""
    result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout)
    if check and result.returncode:
        raise AssertionError(f"docker {' '.join(words)}: {result.stderr}")
    return result.stdout.strip() if check else (result.stdout + result.stderr).strip()


def find_bridge_gateway() -> str:
    """Return this machine's address in the engine's default bridge, which an engine that made it
    itself does not name.
    """
    (config,) = json.loads(
        docker("network", "inspect", "--format", "{{json .IPAM.Config}}", "bridge")
    )[:1]
    return config.get("Gateway") or str(next(IPv4Network(config["Subnet"]).hosts()))


@dataclass(frozen=True)
class Ended:
    """How a container ended: exit code, everything it printed, and after how many seconds."""

    code: int
    log: str
    seconds: float


@dataclass
class Hub(RestClient):
    """One hub container. ``name`` is its HUB_NAME too."""

    name: str
    arguments: list[str]
    wait_for: Callable[..., Any]
    scheme: str = "http"
    port: int = 0
    host: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"token {TOKEN}"})
    image: str = IMAGE

    def start(self) -> None:
        """Start the container and learn its port."""
        docker("run", "--detach", "--name", self.name, *self.arguments, self.image)
        self.read_port()

    def run_until_it_ends(self, seconds: float = 60) -> Ended:
        """Start a container that is expected to end by itself; return how it did."""
        began = time.monotonic()
        docker("run", "--detach", "--name", self.name, *self.arguments, self.image)
        try:
            code = int(docker("wait", self.name, timeout=seconds))
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the container did not end within {seconds} s:\n{self.logs()}"
            ) from None
        return Ended(code, self.logs(), time.monotonic() - began)

    def recreate(self, **environment: str) -> None:
        """Delete the container; start one with the same data and, where given, other variables."""
        docker("rm", "--force", self.name)
        for variable, value in environment.items():
            self.arguments += ["--env", f"{variable}={value}"]
        if "SSL_ENABLED" in environment:
            self.scheme = "https" if environment["SSL_ENABLED"] == "true" else "http"
        self.start()
        self.wait_until_ready()

    def read_port(self) -> None:
        self.port = int(docker("port", self.name, "8080/tcp").splitlines()[0].rsplit(":", 1)[1])

    def wait_until_ready(self, seconds: float = 180) -> None:
        """Wait until every program in the container answers: seconds, minutes on a busy machine."""

        def is_ready() -> bool:
            command = ["docker", "exec", self.name, "python", "-I", "-m", "mlhub.boot.health"]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return True
            state = docker("inspect", "--format", "{{.State.Status}}", self.name)
            assert state == "running", f"the hub is {state}:\n{self.logs()}"
            return False

        # Whoever looks inside takes as much of the processor as the programs that start: a request
        # is asked first, often.
        deadline = time.monotonic() + seconds
        while self.has_public_hub and time.monotonic() < deadline and not self.is_answered():
            if "true" not in docker("inspect", "--format", "{{.State.Running}}", self.name):
                break
            WAITING.wait(0.3)
        try:
            self.wait_for(is_ready, "the hub is healthy", seconds, every=0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()[-6000:]}") from None

    @property
    def has_public_hub(self) -> bool:
        """Whether the hub itself is behind the public port of this container."""
        return not {"START_JHUB=false", "START_NGINX=false", "EXECUTION_MODE=k8s"} & set(
            self.arguments
        )

    def is_answered(self) -> bool:
        """Return True if the hub answers through the public port."""
        bases = [
            word.partition("=")[2].strip("/")
            for word in self.arguments
            if word.startswith("MLHUB_BASE_URL=")
        ]
        base = f"/{bases[-1]}" if bases and bases[-1] else ""
        try:
            return self.request("GET", f"{base}/hub/health", headers={}, timeout=5)[0] == 200
        except OSError:
            return False

    def logs(self) -> str:
        return docker("logs", self.name, check=False)

    def exec(self, *words: str, user: str = "root") -> str:
        return docker("exec", "--user", user, self.name, *words)

    def containers(self) -> list[str]:
        """Return the names of this hub's workspaces' containers."""
        return docker(
            "ps",
            "--all",
            "--filter",
            f"label=mlhub.origin={self.name}",
            "--filter",
            "label=mlhub.server_name",
            "--format",
            "{{.Names}}",
        ).split()

    def remove(self) -> None:
        """Remove the container and everything that this hub made."""
        if "MLHUB_HOST_GUARD=true" in self.arguments:
            docker("exec", self.name, "mlhub", "guard", "remove", check=False)
        docker("rm", "--force", "--volumes", self.name, check=False)
        for kind, words in (
            ("container", ["rm", "--force"]),
            ("network", ["rm"]),
            ("volume", ["rm"]),
        ):
            listing = ["ls", "--quiet", "--filter", f"label=mlhub.origin={self.name}"] + (
                ["--all"] if kind == "container" else []
            )
            found = docker(kind, *listing, check=False).split()
            if found:
                docker(kind, *words, *found, check=False)


class HubMaker:
    """Start hub containers, and remove them with all that they made."""

    def __init__(self, new_folder: Callable[[str], Path], wait_for: Callable[..., Any]) -> None:
        self.new_folder, self.wait_for = new_folder, wait_for
        self.hubs: list[Hub] = []
        self.volumes: list[str] = []

    def __call__(
        self,
        config: str = CONFIG,
        *,
        ready: bool = True,
        mounts: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        socket: bool = True,
        start: bool = True,
        data: tuple[str, ...] = (),
        health_check: bool = False,
        **environment: str,
    ) -> Hub:
        """Start a hub with this user config and environment; ``data`` replaces the words that mount
        its volume.
        """
        name = environment.pop("HUB_NAME", make_hub_name())
        file = self.new_folder("config") / "jupyterhub_user_config.py"
        file.write_text(config)
        words = [
            "--publish",
            "127.0.0.1::8080",
            "--env",
            f"HUB_NAME={name}",
            "--label",
            f"mlhub.test={RUN}",
        ]
        words += data or ["--volume", f"{self.make_volume(name)}:/data"]
        words += ["--volume", f"{file}:/resources/jupyterhub_user_config.py:ro"]
        words += list_source_mounts()
        words += [] if health_check else [NO_HEALTH_CHECK]
        words += ["--volume", "/var/run/docker.sock:/var/run/docker.sock"] if socket else []
        for mount in mounts:
            words += ["--volume", mount]
        # The host's rules are removed by hand only (`mlhub guard remove`): hubs that are not about
        # them make none.
        environment.setdefault("MLHUB_HOST_GUARD", "false")
        for variable, value in environment.items():
            words += ["--env", f"{variable}={value}"]
        hub = Hub(
            name,
            [*words, *arguments],
            self.wait_for,
            "https" if environment.get("SSL_ENABLED") == "true" else "http",
        )
        self.hubs.append(hub)
        if start:
            hub.start()
        if start and ready:
            hub.wait_until_ready()
        return hub

    def make_volume(self, name: str) -> str:
        """Make a volume for a hub's data."""
        volume = f"mlhub-test-{name}"
        docker("volume", "create", "--label", f"mlhub.test={RUN}", volume)
        self.volumes.append(volume)
        return volume

    def remove_all(self) -> None:
        """Remove every hub that was started, and its data."""
        for hub in self.hubs:
            hub.remove()
        if self.volumes:
            docker("volume", "rm", "--force", *self.volumes, check=False)


def read_start(container: str) -> str:
    """Return what a container has until it starts again."""
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", container)
