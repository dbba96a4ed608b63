"""The same on Kubernetes: MLHub's chart beside plain JupyterHub + KubeSpawner on one cluster, in
alternating rounds.

Invariants: everything is in one namespace for each side, and both go at the end, also after Ctrl-C.
No other namespace is touched.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tools.bench.hubs import TOKEN, Hub
from tools.bench.report import print_table, write_results
from tools.cluster import Cluster, ensure_cluster, load_images
from tools.console import ROOT, ToolError, read, stage
from tools.engine import ensure_engine
from tools.images import HUB, TEST_WORKSPACE, WORKSPACE, ensure_image

PEER = ROOT / "docker" / "bench" / "peer-kube.yaml"
CHART = ROOT / "helmchart" / "mlhub"
LABEL = "mlhub.bench"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PARTS = ("starts", "burst")
BURST = 80
BURST_SECONDS = 900
QUIET_SECONDS = 120
CONFIG = f"""
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{{"name": "bench", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"], \
"scopes": ["admin:users", "admin:servers", "access:servers"]}}]
c.Spawner.workspace_images = ["{TEST_WORKSPACE.tag}"]
c.Spawner.image_settings = {{"{TEST_WORKSPACE.tag}": {{"uid": 1000, "gid": 1000}}}}
"""


@dataclass
class ClusterHub(Hub):
    """A hub in a cluster: ``container`` is its Deployment, ``host`` the address of its public
    Service.
    """

    # The first request waits for 10 s; whoever takes longer is not kept from it by questions.
    pause: float = 0.1
    cluster: Cluster | None = None
    namespace: str = ""
    host: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def logs(self) -> str:
        """Return the end of the hub's log, and what the cluster says about pods."""
        words = ("--namespace", self.namespace)
        log = kubectl(
            self.cluster,
            *words,
            "logs",
            f"deployment/{self.container}",
            "--container=hub",
            "--tail=30",
            check=False,
        )
        return (
            log
            + kubectl(
                self.cluster, *words, "get", "events", "--sort-by=.lastTimestamp", check=False
            )[-3000:]
        )

    def find_address(self, service: str) -> None:
        """Learn where the public Service is."""
        words = (
            "--namespace",
            self.namespace,
            "get",
            "service",
            service,
            "--output=jsonpath={.spec.clusterIP}",
        )
        self.host = kubectl(self.cluster, *words)

    def wait_until_quiet(self) -> None:
        """Wait until no workspace that was stopped is still being ended, so that it slows no other
        down.
        """
        words = (
            "get",
            "pods",
            "--all-namespaces",
            "--selector=component=singleuser-server",
            "--output=jsonpath={.items[*].metadata.namespace}",
        )
        deadline = time.monotonic() + QUIET_SECONDS
        while self.namespace in kubectl(self.cluster, *words).split():
            if time.monotonic() > deadline:
                raise ToolError(
                    f"Workspaces of {self.name} are still being ended after "
                    f"{QUIET_SECONDS} s.\n{self.logs()}"
                )
            time.sleep(0.5)

    def start_burst(self, users: list[str], image: str) -> tuple[float, list[str]]:
        """Start one workspace for each user at the same moment; return the seconds until the last
        is there, and who got none.
        """
        began = time.monotonic()
        body = {"image": image, "is_mount_volume": False}
        with ThreadPoolExecutor(len(users)) as pool:
            answers = list(
                pool.map(
                    lambda user: self.request("POST", f"/hub/api/users/{user}/server", body), users
                )
            )
        refused = [
            f"{user}: {status} {content[:300]!r}"
            for user, (status, content) in zip(users, answers, strict=True)
            if status not in (201, 202)
        ]
        while time.monotonic() < began + BURST_SECONDS:
            status, content = self.request("GET", "/hub/api/users?limit=200")
            ready, away = read_servers(content if status == 200 else b"[]", set(users))
            if len(ready) + len(away) == len(users):
                seconds = time.monotonic() - began
                silent = [
                    f"{user}: ready, but silent"
                    for user in sorted(ready)
                    if self.request("GET", f"/user/{user}/lab")[0] != 200
                ]
                return seconds, sorted({*refused, *silent, *(f"{user}: gave up" for user in away)})
            time.sleep(1)
        raise ToolError(
            f"The burst did not end in {BURST_SECONDS} s under {self.name}.\n{self.logs()}"
        )


def main(arguments: Sequence[str]) -> int:
    """Bring up both sides, measure, print, write, clean up."""
    options = read_arguments(arguments)
    cluster = prepare(options)
    run, samples = f"mlhub-bench-{secrets.token_hex(3)}", defaultdict(list)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.time()
    try:
        with tempfile.TemporaryDirectory(prefix="mlhub-bench-") as folder:
            measure(cluster, run, Path(folder), options, samples)
    finally:
        with stage("Removing what the benchmark made"):
            remove_all(cluster, run)
        if samples:
            print_table(samples)
    if options.output:
        machine = {"cluster": cluster.kind, "version": kubectl(cluster, "version", "--output=json")}
        write_results(options.output, began, options.rounds, machine, samples)
    return 0


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench kube",
        description="Measure MLHub beside plain KubeSpawner, on one cluster.",
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
        "--no-build", action="store_true", help="measure the images that the cluster has"
    )
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if set(options.only) - set(PARTS) or options.rounds < 1:
        parser.error(f"rounds must be 1 or more, and --only one or more of {', '.join(PARTS)}.")
    return options


def prepare(options: argparse.Namespace) -> Cluster:
    """Return a cluster that has the images."""
    if options.no_build:
        return ensure_cluster()
    ensure_engine()
    images = (HUB, WORKSPACE, TEST_WORKSPACE)
    for image in images:
        ensure_image(image)
    cluster = ensure_cluster()
    load_images([image.tag for image in images])
    return cluster


def measure(
    cluster: Cluster,
    run: str,
    folder: Path,
    options: argparse.Namespace,
    samples: dict[str, list[float]],
) -> None:
    """Run all rounds and fill ``samples`` as they come."""
    with stage("Starting the hubs"):
        peer = start_peer(cluster, f"{run}-peer", options.image)
        ours = start_mlhub(cluster, f"{run}-mlhub", "mlhub", folder, options.image)
        plain = start_mlhub(cluster, f"{run}-mlhub", "plain", folder, options.image)
    hubs = [peer, ours, plain]
    for number in range(options.rounds + 1 if "starts" in options.only else 0):
        with stage(
            f"Round {number} of {options.rounds}"
            + (", to warm up" if number == 0 else "")
            + f" (load {os.getloadavg()[0]:.1f})"
        ):
            for hub in hubs if number % 2 else hubs[::-1]:
                for key, seconds in measure_starts(hub, number).items():
                    # The warm-up round's numbers go nowhere; what an interrupted round has measured
                    # is kept.
                    if number:
                        samples[key].append(seconds)
    for hub in (ours, peer) if "burst" in options.only else ():
        with stage(f"{BURST} at once, {hub.name} (load {os.getloadavg()[0]:.1f})"):
            for key, value in measure_burst(hub).items():
                samples[key].append(value)


def measure_starts(hub: ClusterHub, number: int) -> dict[str, float]:
    """First start of a new user, for whom a volume is made, and the second one."""
    user, results = f"u{number}", {}
    hub.add_user(user)
    for which in ("first", "second"):
        results[f"{which} start, {hub.name}"] = hub.start(user, WORKSPACE.tag)
        hub.stop(user)
        hub.wait_until_quiet()
    return results


def measure_burst(hub: ClusterHub) -> dict[str, float]:
    """Many users at once, without volumes: seconds until the last one's workspace is there, and how
    many have none.
    """
    users = [f"b{number}" for number in range(BURST)]
    for user in users:
        hub.add_user(user)
    seconds, failed = hub.start_burst(users, TEST_WORKSPACE.tag)
    for line in failed[:10]:
        print(f"    {line}")
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda user: hub.request("DELETE", f"/hub/api/users/{user}/server"), users))
    hub.wait_until_quiet()
    return {
        f"{BURST} at once, {hub.name}": seconds,
        f"{BURST} at once, {hub.name}, failed": len(failed),
    }


def read_servers(content: bytes, users: set[str]) -> tuple[set[str], set[str]]:
    """Read from the hub's list of users who has a workspace that is ready, and who has none, not
    even on its way.
    """
    listed = {user["name"]: user for user in json.loads(content) if user["name"] in users}
    ready = {name for name, user in listed.items() if user["servers"].get("", {}).get("ready")}
    away = {
        name for name, user in listed.items() if not user["servers"] and not user.get("pending")
    }
    return ready, away


def start_peer(cluster: Cluster, namespace: str, image: str) -> ClusterHub:
    """Start plain JupyterHub with KubeSpawner."""
    ensure_namespace(cluster, namespace, {})
    facts = {"NAMESPACE": namespace, "TOKEN": TOKEN, "IMAGE": WORKSPACE.tag, "HUB_IMAGE": image}
    kubectl(
        cluster,
        "--namespace",
        namespace,
        "apply",
        "--filename=-",
        given=Template(PEER.read_text()).substitute(facts),
    )
    hub = ClusterHub("peer", "peer", 80, cluster=cluster, namespace=namespace)
    hub.find_address("peer")
    hub.wait()
    return hub


def start_mlhub(
    cluster: Cluster, namespace: str, release: str, folder: Path, image: str
) -> ClusterHub:
    """Install MLHub as documented; the release ``plain`` goes without SSH."""
    ensure_namespace(cluster, namespace, RESTRICTED)
    name, _, tag = image.rpartition(":")
    files = folder / f"{release}.json", folder / "jupyterhub_user_config.py"
    files[0].write_text(json.dumps(make_values(name, tag, with_ssh=release != "plain")))
    files[1].write_text(CONFIG)
    words = [
        "upgrade",
        "--install",
        release,
        CHART,
        "--values",
        files[0],
        "--set-file",
        f"userConfig={files[1]}",
    ]
    call(
        cluster.helm,
        "--kubeconfig",
        cluster.kubeconfig,
        "--namespace",
        namespace,
        *words,
        "--wait",
        "--timeout=4m",
        timeout=300,
    )
    title = "MLHub" if release != "plain" else "MLHub without SSH"
    hub = ClusterHub(title, f"{release}-hub", 80, cluster=cluster, namespace=namespace)
    hub.find_address(f"{release}-proxy-public")
    hub.wait()
    return hub


def make_values(name: str, tag: str, with_ssh: bool) -> dict[str, Any]:
    """Make the chart's values: images that are loaded by hand, an address that this machine
    reaches, and small requests.
    """
    image = {"name": name, "tag": tag, "pullPolicy": "IfNotPresent"}
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    workspace, _, workspace_tag = WORKSPACE.tag.rpartition(":")
    return {
        "hub": {"image": image, "resources": resources},
        "proxy": {
            "service": {"type": "ClusterIP"},
            "chp": {"image": image, "resources": resources},
        },
        "ssh": {"enabled": with_ssh, "resources": resources},
        "singleuser": {
            "image": {"name": workspace, "tag": workspace_tag, "pullPolicy": "IfNotPresent"},
            "storage": {"capacity": "16Mi"},
        },
    }


def ensure_namespace(cluster: Cluster, name: str, labels: dict[str, str]) -> None:
    """Make sure of a namespace of this run's."""
    metadata = {"name": name, "labels": {LABEL: "true", **labels}}
    kubectl(
        cluster,
        "apply",
        "--filename=-",
        given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
    )


def remove_all(cluster: Cluster, run: str) -> None:
    """Remove this run's releases and namespaces, and wait until they are gone."""
    for release in ("mlhub", "plain"):
        read(
            cluster.helm,
            "--kubeconfig",
            cluster.kubeconfig,
            "--namespace",
            f"{run}-mlhub",
            "uninstall",
            release,
            timeout=120,
        )
    namespaces = (f"{run}-mlhub", f"{run}-peer")
    kubectl(
        cluster,
        "delete",
        "namespace",
        *namespaces,
        "--ignore-not-found",
        "--timeout=170s",
        check=False,
    )


def kubectl(
    cluster: Cluster | None, *words: str, given: str | None = None, check: bool = True
) -> str:
    """Run kubectl and return what it printed."""
    assert cluster
    return call(
        cluster.kubectl, "--kubeconfig", cluster.kubeconfig, *words, given=given, check=check
    )


def call(
    *words: str | Path, given: str | None = None, check: bool = True, timeout: float = 180
) -> str:
    """Run a program and return what it printed. Raises ``ToolError`` with what it said where it
    fails.
    """
    result = subprocess.run(
        [str(word) for word in words], input=given, capture_output=True, text=True, timeout=timeout
    )
    if check and result.returncode:
        raise ToolError(f"`{' '.join(map(str, words))}` failed: {result.stderr.strip()}")
    return result.stdout.strip()
