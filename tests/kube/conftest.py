"""A real cluster (the one of KUBECONFIG), namespaces that admit only restricted pods, and one hub
at hand.

``./scripts/test`` brings the cluster up and loads the images; each test session works in namespaces
of its own and removes them.
"""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster, KubernetesHub
from tests.support.helm_release import ReleaseMaker
from tests.support.names import make_hub_name


@pytest.fixture(scope="session")
def cluster():
    found = Cluster()
    found.run("get", "--raw", "/readyz")
    yield found
    found.finish_removals()


@pytest.fixture
def namespace(cluster):
    name = cluster.make_namespace()
    yield name
    cluster.remove_namespace(name)


@pytest.fixture(scope="session")
def shared_namespace(cluster):
    """A namespace for all hubs at hand, each of which has a name of its own."""
    name = cluster.make_namespace()
    yield name
    cluster.remove_namespace(name)


@pytest.fixture
def hub_name():
    return make_hub_name()


@pytest.fixture
async def hub(cluster, shared_namespace, hub_name):
    at_hand = KubernetesHub(cluster, shared_namespace, hub_name)
    yield at_hand
    await at_hand.close()
    at_hand.remove_all()


@pytest.fixture(scope="module")
def make_release(cluster, tmp_path_factory, wait_for):
    """Return a function that makes releases, which are gone after the module's tests."""
    maker = ReleaseMaker(cluster, tmp_path_factory.mktemp, wait_for)
    yield maker
    maker.remove_all()


@pytest.fixture(scope="session")
def release(cluster, tmp_path_factory, wait_for):
    """Return one installed release, shared by all modules; tests that change its values put them
    back.
    """
    maker = ReleaseMaker(cluster, tmp_path_factory.mktemp, wait_for)
    made = maker()
    made.notes = made.install()
    yield made
    maker.remove_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the cluster says when a test fails."""
    report = yield
    if report.when in ("call", "setup") and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if hasattr(value, "describe"):
                report.sections.append(("what the cluster says", value.describe()[-16000:]))
    return report
