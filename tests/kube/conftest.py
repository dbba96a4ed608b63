"""A real cluster (the one of KUBECONFIG), namespaces that admit only restricted pods, and one hub at hand.

``./scripts/test`` brings the cluster up and loads the images; each test session works in namespaces of its own and removes them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess

import pytest

from mlhub.backends.kubernetes.spawner import MLHubKubernetesSpawner
from tests.at_hand import HubAtHand

WORKSPACE_IMAGE = "mlhub-test-workspace:latest"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "mlhub.test": "true"}


class Cluster:
    """The cluster through kubectl."""

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed."""
        result = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, input=stdin, timeout=180)
        if check and result.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result.stdout.strip()

    def read(self, *arguments: str) -> dict:
        """Return an object, or a list of them."""
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def apply(self, *objects: dict) -> None:
        """Make objects."""
        self.run("apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def make_namespace(self, labels: dict[str, str] = RESTRICTED) -> str:
        """Make a namespace with a name of its own."""
        name = f"mlhub-test-{secrets.token_hex(4)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return name

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace and all that is in it, in the background."""
        self.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def cluster():
    found = Cluster()
    found.run("get", "--raw", "/readyz")
    return found


@pytest.fixture
def namespace(cluster):
    name = cluster.make_namespace()
    yield name
    cluster.remove_namespace(name)


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

    async def settle(self):
        """Wait for what goes on in the background."""
        for backend in MLHubKubernetesSpawner._backends.values():
            await asyncio.gather(*backend._background)

    async def close(self):
        """End what runs in this process."""
        await MLHubKubernetesSpawner._stop_all_reflectors()
        MLHubKubernetesSpawner._backends.clear()
        MLHubKubernetesSpawner._replacing = None


@pytest.fixture
def hub_name():
    return "t" + secrets.token_hex(2)


@pytest.fixture
async def hub(cluster, namespace, hub_name):
    at_hand = KubernetesHub(cluster, namespace, hub_name)
    yield at_hand
    await at_hand.close()


@pytest.fixture(scope="module")
def make_release(cluster, tmp_path_factory, wait_for):
    """Return a function that makes releases in namespaces of their own, which are gone after the module's tests."""
    from tests.kube.release import Release

    made = []

    def make(**named):
        release = Release(cluster, cluster.make_namespace(), tmp_path_factory.mktemp("release"), wait_for, **named)
        made.append(release)
        return release

    yield make
    for release in made:
        release.helm("uninstall", release.name, check=False)  # it has objects outside its namespace, too
        cluster.remove_namespace(release.namespace)


@pytest.fixture(scope="module")
def release(make_release):
    """Return one installed release, shared by a module's tests."""
    made = make_release()
    made.notes = made.install()
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the cluster says when a test fails."""
    report = yield
    if report.when in ("call", "setup") and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if hasattr(value, "describe"):
                report.sections.append(("what the cluster says", value.describe()[-16000:]))
    return report
