"""The cluster through kubectl, and a hub at hand in it."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess

import pytest
from tornado import web

from mlhub.backends.kubernetes.spawner import MLHubKubernetesSpawner
from tests.support.at_hand import HubAtHand

WORKSPACE_IMAGE = "mlhub-test-workspace:latest"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "mlhub.test": "true"}


# How long what a session of tests has made may take to be gone after its end.
REMOVAL_SECONDS = 120


class Cluster:
    """The cluster through kubectl."""

    def __init__(self) -> None:
        self._removed: list[str] = []

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed."""
        result = subprocess.run(
            ["kubectl", *arguments], capture_output=True, text=True, input=stdin, timeout=180
        )
        if check and result.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result.stdout.strip()

    def read(self, *arguments: str) -> dict:
        """Return an object, or a list of them."""
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def apply(self, *objects: dict) -> None:
        """Make objects."""
        self.run(
            "apply",
            "--filename",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
        )

    def make_namespace(self, labels: dict[str, str] = RESTRICTED) -> str:
        """Make a namespace with a name of its own."""
        name = f"mlhub-test-{secrets.token_hex(4)}"
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
        return name

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace and all that is in it, in the background."""
        # A proxy pod may take ten minutes for its end, and the cluster looks again after half of
        # what it expects.
        workloads = ("deployments,pods", "--all", "--namespace", name)
        self.run("delete", *workloads, "--now", "--wait=false", "--ignore-not-found")
        self.run("delete", "namespace", name, "--wait=false")
        self._removed.append(f"namespace/{name}")

    def finish_removals(self) -> None:
        """Wait until all namespaces that were removed are gone."""
        if self._removed:
            self.run("wait", "--for=delete", f"--timeout={REMOVAL_SECONDS}s", *self._removed)

    def remove(self, namespace: str, selector: str) -> None:
        """Remove what has these labels, in the background."""
        kinds = "pods,services,persistentvolumeclaims,networkpolicies"
        words = ("--selector", selector, "--now", "--wait=false")
        self.run("delete", kinds, "--namespace", namespace, *words)


class KubernetesHub(HubAtHand):
    """One hub in one namespace."""

    def __init__(self, cluster, namespace, hub_name, image=WORKSPACE_IMAGE):
        self.cluster, self.namespace = cluster, namespace
        super().__init__(image, hub_name, MLHubKubernetesSpawner)
        self.spawner.namespace, self.spawner.image_pull_policy = namespace, "IfNotPresent"
        self.spawner.stop_seconds, self.spawner.storage_capacity = 2, "16Mi"
        self.spawner.image_settings = {"mlhub-test-*": {"uid": 1000, "gid": 1000}}

    def reset_database(self):
        """Begin as a hub whose pod and database are new."""
        MLHubKubernetesSpawner._backends.clear()
        super().reset_database()

    async def forget_what_runs(self, spawner):
        """Have a spawner list the pods again."""
        await spawner._stop_all_reflectors()
        spawner.reflectors.clear()

    async def settle(self):
        """Wait for what goes on in the background."""
        for backend in MLHubKubernetesSpawner._backends.values():
            await asyncio.gather(*backend._background)

    def read(self, *words):
        """Return an object of the hub's namespace."""
        return self.cluster.read("--namespace", self.namespace, *words)

    def list(self, kinds):
        """List the hub's own objects of some kinds; its namespace may be others', too."""
        return self.read(kinds, "--selector", f"mlhub.origin={self.hub_name}")["items"]

    def remove_all(self):
        """Remove all that is this hub's, in the background."""
        self.cluster.remove(self.namespace, f"mlhub.origin={self.hub_name}")

    async def close(self):
        """End what runs in this process."""
        await MLHubKubernetesSpawner._stop_all_reflectors()
        MLHubKubernetesSpawner._backends.clear()
        MLHubKubernetesSpawner._replacing = None


def write(hub, pod: str, command: str) -> str:
    return hub.cluster.run(
        "exec",
        "--namespace",
        hub.namespace,
        pod,
        "--container",
        "notebook",
        "--",
        "sh",
        "-c",
        command,
    )


def read_pod(hub, name: str) -> dict:
    return hub.cluster.read("--namespace", hub.namespace, "pod", name)


async def fail_to_start(hub, *args, **kwargs) -> str:
    with pytest.raises(web.HTTPError) as caught:
        await hub.start(*args, **kwargs)
    return caught.value.jupyterhub_message
