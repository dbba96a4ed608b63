"""One hub at hand for each backend, so that one suite judges all of them alike."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext

import docker
import pytest
from traitlets.utils.importstring import import_item

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.backends.fake import FakeSpawner
from mlhub.backends.memory import MemoryBackend
from mlhub.backends.registry import find_kind
from tests.support import own_backend
from tests.support.at_hand import HubAtHand
from tests.support.cluster import Cluster, KubernetesHub
from tests.support.elsewhere import REFUSAL, answer_all, lead_elsewhere
from tests.support.engine import DockerHub, build_workspace_image, remove_leftovers
from tests.support.local_cluster import held_cluster
from tests.support.names import make_hub_name
from tests.support.strangers import DockerStrangers, KubernetesStrangers, Strangers
from tests.support.workspace_files import DockerFiles, Files, KubernetesFiles


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep whoever ends parts of the cluster, in the lane beside, waiting until a test is over."""
    with held_cluster() if "kubernetes" in item.name else nullcontext():
        return (yield)


@pytest.fixture(scope="session")
def image():
    """The tiny workspace image."""
    engine = docker.from_env(timeout=120)
    tag = build_workspace_image(engine)
    engine.close()
    return tag


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


@pytest.fixture
def hub_name():
    return make_hub_name()


@pytest.fixture(scope="session")
def own_spawner_class(tmp_path_factory):
    """The spawner of a backend that is no part of this product, installed by pip."""
    folder = str(own_backend.install(tmp_path_factory.mktemp("own-backend")))
    sys.path.append(folder)
    yield import_item(find_kind(own_backend.MODE).spawner)
    sys.path.remove(folder)


@pytest.fixture(params=["fake", "own", "docker", "kubernetes"])
async def hub(request, hub_name):
    if request.param == "fake":
        yield HubAtHand("fake/workspace:1", hub_name, FakeSpawner)
        MemoryBackend.backends.clear()
    elif request.param == "own":
        at_hand = HubAtHand("any", hub_name, request.getfixturevalue("own_spawner_class"))
        yield at_hand
        for workspace in await at_hand.backend.list_workspaces():
            await at_hand.backend.stop(workspace.identity)
        MemoryBackend.backends.clear()
    elif request.param == "docker":
        engine = docker.from_env()
        yield DockerHub(request.getfixturevalue("image"), hub_name)
        for backend in MLHubDockerSpawner._backends.values():
            backend.engine.close()
        MLHubDockerSpawner._backends.clear()
        remove_leftovers(engine)
        engine.close()
    else:
        at_hand = KubernetesHub(
            request.getfixturevalue("cluster"), request.getfixturevalue("namespace"), hub_name
        )
        yield at_hand
        await at_hand.close()


@pytest.fixture
def missing_image(hub):
    """Return an image that no place can pull."""
    is_real = isinstance(hub, DockerHub | KubernetesHub)
    return "registry.invalid/mlhub/never:1" if is_real else "fake/missing"


@pytest.fixture
def strangers(hub):
    """Things beside those that the hub makes."""
    if isinstance(hub, KubernetesHub):
        return KubernetesStrangers(hub)
    return DockerStrangers(hub) if isinstance(hub, DockerHub) else Strangers(hub)


@pytest.fixture
def files(hub):
    """Files on the volumes of workspaces that run."""
    if isinstance(hub, KubernetesHub):
        return KubernetesFiles(hub)
    return DockerFiles(hub) if isinstance(hub, DockerHub) else Files(hub)


@pytest.fixture
def away(hub):
    """Return a context in which the place does not answer."""
    return lambda: lead_elsewhere(hub, 9)


@pytest.fixture
def refusing(hub):
    """Return a context in which the place answers, and refuses whatever it is asked."""
    return lambda: answer_all(hub, *REFUSAL)
