"""The chart, installed by Helm in a namespace of its own, reached through its public Service."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster import WORKSPACE_IMAGE, Cluster
from tests.support.rest import RestClient
from tests.support.started_tool import TOOL

CHART = Path(__file__).resolve().parents[2] / "helmchart" / "mlhub"
TOKEN = secrets.token_hex(16)
# An administrator's token for the tests, and the authenticator that needs no accounts.
CONFIG = f"""
c.JupyterHub.services = [{{"name": "tests", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "tests", "services": ["tests"], \
"scopes": ["admin:users", "admin:servers", "access:servers", "list:users", "proxy", "shares", \
"tokens"]}}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Spawner.image_settings = {{"mlhub-test-*": {{"uid": 1000, "gid": 1000, "tools": [{TOOL!r}]}}}}
"""
# Images are loaded by hand, and nothing gives addresses to load balancers here.
NAME, _, TAG = os.environ.get("MLHUB_TEST_HUB_IMAGE", "mltooling/ml-hub:latest").rpartition(":")
IMAGE = {"name": NAME, "tag": TAG, "pullPolicy": "IfNotPresent"}
VALUES: dict[str, Any] = {
    "hub": {"image": IMAGE, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
    "proxy": {
        "service": {"type": "ClusterIP"},
        "chp": {"image": IMAGE, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
    },
    "singleuser": {
        "image": {
            "name": WORKSPACE_IMAGE.partition(":")[0],
            "tag": "latest",
            "pullPolicy": "IfNotPresent",
        },
        "storage": {"capacity": "16Mi"},
    },
}


class Release(RestClient):
    """One release. ``name`` is its HUB_NAME too."""

    scheme = "http"
    # False where something in front of the Service does, so that its https port is plain, too.
    ends_tls = True

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        folder: Path,
        wait_for: Callable[..., Any],
        name: str = "mlhub",
    ) -> None:
        self.cluster, self.namespace, self.folder, self.wait_for, self.name = (
            cluster,
            namespace,
            folder,
            wait_for,
            name,
        )
        self.headers = {"Authorization": f"token {TOKEN}"}
        self.host, self.port, self.base = "", 80, ""

    @property
    def url(self) -> str:
        """The address under which all paths of the tests are."""
        return super().url + self.base

    def install(
        self,
        values: dict[str, Any] | None = None,
        config: str = CONFIG,
        chart: Path = CHART,
        timeout: str = "4m",
        *,
        wait: bool = True,
    ) -> str:
        """Install or upgrade as documented, and wait until everything is ready, unless that is the
        test's to see; return the notes.
        """
        self.base = (values or {}).get("mlhub", {}).get("baseUrl", "").rstrip("/")
        files = (
            self.folder / f"{self.name}-values.json",
            self.folder / f"{self.name}-user-config.py",
        )
        files[0].write_text(json.dumps(merge(VALUES, values or {})))
        files[1].write_text(config)
        words = [
            "upgrade",
            "--install",
            self.name,
            str(chart),
            "--values",
            str(files[0]),
            "--set-file",
            f"userConfig={files[1]}",
        ]
        said = self.helm(*words, *(["--wait", "--timeout", timeout] if wait else []))
        self.find_address()
        # What is ready is reached once the node's rules for Services know it.
        if wait:
            self.wait_for(self.is_answered, "the hub answers through the proxy", 20)
        return said

    def is_answered(self) -> bool:
        """Return True if the hub answers through the proxy of these values; one of other values may
        redirect for a moment.
        """
        try:
            return self.request("GET", "/hub/api/", timeout=5)[0] == 200
        except OSError:
            return False

    def helm(self, *words: str, check: bool = True) -> str:
        """Run helm in the release's namespace; return what it printed."""
        result = subprocess.run(
            ["helm", *words, "--namespace", self.namespace],
            capture_output=True,
            text=True,
            timeout=400,
        )
        if check and result.returncode:
            raise AssertionError(f"helm {' '.join(words)}: {result.stderr}\n{self.describe()}")
        return result.stdout if check else result.stdout + result.stderr

    def find_address(self) -> None:
        """Learn where the public Service is."""
        spec = self.read("service", f"{self.name}-proxy-public")["spec"]
        ports = {port["name"]: port["port"] for port in spec["ports"]}
        self.host = spec["clusterIP"]
        self.scheme, self.port = (
            ("https", ports["https"])
            if self.ends_tls and "https" in ports
            else ("http", ports["http"])
        )

    def kubectl(self, *words: str, check: bool = True) -> str:
        """Run kubectl in the release's namespace."""
        return self.cluster.run("--namespace", self.namespace, *words, check=check)

    def read(self, *words: str) -> dict[str, Any]:
        """Return an object, or a list of them."""
        return self.cluster.read("--namespace", self.namespace, *words)

    def find_pod(self, component: str) -> str:
        """Return the name of the running pod of a component: hub, proxy or bastion."""
        running = [
            pod["metadata"]["name"]
            for pod in self.list_pods(component)
            if "deletionTimestamp" not in pod["metadata"]
        ]
        assert running, f"no pod of {component}"
        return running[-1]

    def list_pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of a component, those that are ending too."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        return list(self.read("pods", "--selector", selector)["items"])

    def containers(self) -> list[str]:
        """Return the names of the workspaces' pods."""
        items = self.read(
            "pods", "--selector", f"mlhub.origin={self.name},component=singleuser-server"
        )["items"]
        return [pod["metadata"]["name"] for pod in items]

    def execute(
        self, pod: str, *command: str, container: str = "notebook", check: bool = True
    ) -> str:
        """Run a command in a pod."""
        return self.kubectl("exec", pod, "--container", container, "--", *command, check=check)

    def logs(self) -> str:
        """Return the hub's log."""
        return self.kubectl(
            "logs", f"deployment/{self.name}-hub", "--container", "hub", "--tail=200", check=False
        )

    def describe(self) -> str:
        """Return what helps to see why something is not ready."""
        pods = self.kubectl("get", "pods", "--output", "wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)
        logs = [
            self.kubectl(
                "logs",
                f"deployment/{self.name}-{part}",
                "--all-containers",
                "--tail=60",
                check=False,
            )
            for part in ("hub", "proxy", "bastion")
        ]
        return "\n".join([pods, events[-3000:], *logs])


class ReleaseMaker:
    """Make releases in namespaces of their own."""

    def __init__(self, cluster, new_folder, wait_for):
        self.cluster, self.new_folder, self.wait_for = cluster, new_folder, wait_for
        self.made = []

    def __call__(self, **named):
        namespace = self.cluster.make_namespace()
        release = Release(
            self.cluster, namespace, self.new_folder("release"), self.wait_for, **named
        )
        self.made.append(release)
        return release

    def remove_all(self):
        for release in self.made:
            release.helm(
                "uninstall", release.name, check=False
            )  # it has objects outside its namespace, too
            self.cluster.remove_namespace(release.namespace)


def read_example(name: str) -> dict[str, Any]:
    """Return one of the chart's own examples of values."""
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay values over others, as Helm does."""
    both = dict(under)
    for key, value in over.items():
        both[key] = (
            merge(both[key], value)
            if isinstance(value, dict) and isinstance(both.get(key), dict)
            else value
        )
    return both


# Runs inside a container: prints which of the given host:port accept a connection. All are asked at
# once: what a policy refuses is dropped without a word.
PROBE = """
import socket, sys, threading
def probe(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return
    print(target + "\\n", end="")
threads = [threading.Thread(target=probe, args=(target,)) for target in sys.argv[1:]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
# Runs inside a container: prints the ports on which anything in it listens.
LISTENING = """
for name in ("tcp", "tcp6"):
    for line in open("/proc/net/" + name).readlines()[1:]:
        _, local, _, state = line.split()[:4]
        if state == "0A":
            print(int(local.rpartition(":")[2], 16))
"""


def pod(release, user: str, server: str = "") -> str:
    return f"ws-{release.name}--{user}" + (f"--{server}" if server else "")


def address(release, name: str) -> str:
    return release.read("pod", name)["status"]["podIP"]


def find_reached(
    release, source: str, targets: Iterable[str], container: str = "notebook"
) -> set[str]:
    """Return which of many host:port a container reaches."""
    said = release.execute(source, "python3", "-c", PROBE, *targets, container=container)
    return set(said.split())


def reaches(release, source: str, host: str, port: int, container: str = "notebook") -> bool:
    return bool(find_reached(release, source, [f"{host}:{port}"], container))


def list_listening(release, name: str, container: str = "notebook") -> set[int]:
    """List the ports on which anything in a pod listens."""
    said = release.execute(name, "python3", "-c", LISTENING, container=container)
    return {int(port) for port in said.split()}


def wait_for_hub(release, seconds=90):
    release.wait_for(release.is_answered, "the hub answers through the proxy", seconds)
