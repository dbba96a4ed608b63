"""One hub at hand for each backend, so that one suite judges all of them alike."""

import docker
import pytest

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.backends.fake import FakeBackend, FakeSpawner
from tests.at_hand import HubAtHand
from tests.docker.conftest import DockerHub, clean_engine, client, hub_name, image, remove_leftovers  # noqa: F401 (fixtures)
from tests.kube.conftest import KubernetesHub, cluster, namespace  # noqa: F401 (fixtures)


@pytest.fixture(autouse=True)
def clean_engine():  # noqa: F811 (only where the engine is used)
    return


@pytest.fixture(params=["fake", "docker", "kubernetes"])
async def hub(request, hub_name):  # noqa: F811
    if request.param == "fake":
        yield HubAtHand("fake/workspace:1", hub_name, FakeSpawner)
        FakeBackend.backends.pop(hub_name, None)
    elif request.param == "docker":
        engine = docker.from_env()
        yield DockerHub(request.getfixturevalue("image"), hub_name)
        for backend in MLHubDockerSpawner._backends.values():
            backend.engine.close()
        MLHubDockerSpawner._backends.clear()
        remove_leftovers(engine)
        engine.close()
    else:
        at_hand = KubernetesHub(request.getfixturevalue("cluster"), request.getfixturevalue("namespace"), hub_name)
        yield at_hand
        await at_hand.close()
