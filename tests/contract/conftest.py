"""One hub at hand for each backend, so that one suite judges all of them alike."""

import docker
import pytest

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.backends.fake import FakeBackend, FakeSpawner
from tests.docker.conftest import HubAtHand, clean_engine, client, hub_name, image, remove_leftovers  # noqa: F401 (fixtures)


@pytest.fixture(autouse=True)
def clean_engine():  # noqa: F811 (only where the engine is used)
    return


@pytest.fixture(params=["fake", "docker"])
def hub(request, hub_name):  # noqa: F811
    if request.param == "fake":
        yield HubAtHand("fake/workspace:1", hub_name, FakeSpawner)
        FakeBackend.backends.pop(hub_name, None)
        return
    engine = docker.from_env()
    yield HubAtHand(request.getfixturevalue("image"), hub_name)
    for backend in MLHubDockerSpawner._backends.values():
        backend.engine.close()
    MLHubDockerSpawner._backends.clear()
    remove_leftovers(engine)
    engine.close()
