"""The two hubs under measurement, started the same way and driven through the same REST API."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.bench.objects import LABEL, MLHUB, docker, find_port, make_hub_name, start_container
from tools.console import ToolError

# Good on this machine alone, for as long as the run lasts.
TOKEN = "bench-" + "0123456789abcdef" * 2
CONFIG = """
c.JupyterHub.authenticator_class = {authenticator!r}
c.Authenticator.allow_all = True
c.Spawner.image = {images[0]!r}
c.Spawner.workspace_images = {images!r}
c.Spawner.extra_labels = {{{label!r}: {run!r}}}
c.JupyterHub.services.append({{"name": "bench", "api_token": {token!r}}})
c.JupyterHub.load_roles.append({{"name": "bench", "services": ["bench"], \
"scopes": ["admin:users", "admin:servers", "access:servers"]}})
"""
READY_SECONDS = 120


class StartFailed(ToolError):
    """A workspace that the hub gave up, or that never answered."""


@dataclass
class Hub:
    """A running hub: its container, the address of its public port, and since when it answers."""

    name: str
    container: str
    port: int
    ready: float = 0.0
    pause: float = 0.02

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: dict | None = None) -> tuple[int, bytes]:
        """Send one request with the service's token, follow redirects, and return status and
        content.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=READY_SECONDS) as response:
                # The hub answers /user/… itself while a workspace is away: only the workspace's own
                # page counts.
                return (
                    0 if "/hub/" in response.url and "/hub/api/" not in path else response.status
                ), response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def add_user(self, user: str) -> None:
        """Create a user."""
        self.request("POST", f"/hub/api/users/{user}")

    def start(self, user: str, image: str, path: str = "lab") -> float:
        """Start a user's workspace; return the seconds from the request until ``path`` answers 200
        through the public port.
        """
        began = time.monotonic()
        status, content = self.request("POST", f"/hub/api/users/{user}/server", {"image": image})
        if status not in (201, 202):
            raise StartFailed(
                f"{self.name} refused to start {image} for {user}: {status} "
                f"{content[:300]!r}\n{self.logs()}"
            )
        while time.monotonic() < began + READY_SECONDS:
            if self.request("GET", f"/user/{user}/{path}")[0] == 200:
                return time.monotonic() - began
            if not self.has_server(user):
                break
            time.sleep(self.pause)
        raise StartFailed(
            f"{image} of {user} did not come up under {self.name} in "
            f"{time.monotonic() - began:.0f} s.\n{self.logs()}"
        )

    def has_server(self, user: str) -> bool:
        """Return True if a user's workspace runs or is on its way."""
        status, content = self.request("GET", f"/hub/api/users/{user}")
        return status != 200 or bool(json.loads(content).get("servers"))

    def stop(self, user: str) -> None:
        """Stop a user's workspace and wait until it is gone."""
        self.request("DELETE", f"/hub/api/users/{user}/server")
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not self.has_server(user):
                return
            time.sleep(0.1)
        raise ToolError(f"The workspace of {user} did not stop under {self.name}.")

    def start_many(self, users: list[str], image: str) -> tuple[float, int]:
        """Start one workspace for each user at the same moment; return the seconds until the last
        one answers, and how many failed.
        """
        with ThreadPoolExecutor(len(users)) as pool:
            outcomes = list(pool.map(lambda user: self._try_start(user, image), users))
        seconds = [outcome for outcome in outcomes if outcome is not None]
        if not seconds:
            raise StartFailed(
                f"None of {len(users)} workspaces came up under {self.name}.\n{self.logs()}"
            )
        return max(seconds), len(outcomes) - len(seconds)

    def _try_start(self, user: str, image: str) -> float | None:
        try:
            return self.start(user, image)
        except StartFailed:
            return None

    def logs(self) -> str:
        """Return the end of the hub's log."""
        result = subprocess.run(
            ["docker", "logs", "--tail", "30", self.container], capture_output=True, text=True
        )
        return result.stdout + result.stderr

    def wait(self) -> None:
        """Wait until the hub answers behind its public port, and remember when that was."""
        deadline = time.monotonic() + READY_SECONDS
        while self.request("GET", "/hub/api/")[0] != 200:
            if time.monotonic() > deadline:
                raise ToolError(f"{self.name} did not come up.\n{self.logs()}")
            time.sleep(0.2)
        self.ready = time.monotonic()


def start_peer(run: str, images: list[str]) -> Hub:
    """Start plain JupyterHub with DockerSpawner."""
    network = f"bench-{run}"
    docker("network", "create", "--label", f"{LABEL}={run}", network)
    variables = {
        "BENCH_RUN": run,
        "BENCH_TOKEN": TOKEN,
        "BENCH_NETWORK": network,
        "BENCH_IMAGES": ",".join(images),
    }
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    container = start_container(
        run, "--network", network, "--network-alias", "peer", "--publish", "127.0.0.1::8000",
        "--volume", "/var/run/docker.sock:/var/run/docker.sock", *options,
        "mlhub-bench-peer-hub:latest",
    )  # fmt: skip
    hub = Hub("peer", container, find_port(container, 8000))
    hub.wait()
    return hub


def start_mlhub(
    run: str,
    images: list[str],
    image: str,
    folder: Path,
    *,
    name: str = MLHUB,
    authenticator: str = "dummy",
) -> Hub:
    """Start MLHub as documented.

    With the socket, a volume for /data, and a user config in ``folder``, under a name of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "jupyterhub_user_config.py"
    words = {"images": images, "label": LABEL, "run": run, "token": TOKEN}
    config.write_text(CONFIG.format(authenticator=authenticator, **words))
    folder.chmod(0o755)
    volume = docker("volume", "create", "--label", f"{LABEL}={run}")
    container = start_container(
        run, "--publish", "127.0.0.1::8080", "--env", f"HUB_NAME={make_hub_name(run, name)}",
        "--volume", "/var/run/docker.sock:/var/run/docker.sock", "--volume", f"{volume}:/data",
        "--volume", f"{config}:/resources/jupyterhub_user_config.py:ro", image,
    )  # fmt: skip
    hub = Hub(name, container, find_port(container, 8080))
    hub.wait()
    return hub
