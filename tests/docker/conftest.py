"""A real engine, a tiny real workspace image, and real JupyterHub objects around our spawner.

Everything created on the engine carries ``mlhub.test=<id of this run>`` and is removed by that
label alone.
"""

from __future__ import annotations

import contextlib

import docker
import pytest

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from tests.support.engine import RUN, DockerHub, Removals, build_workspace_image, remove_leftovers
from tests.support.names import make_hub_name
from tests.support.registry import Registry


@pytest.fixture(scope="session")
def client():
    with_timeout = docker.from_env(timeout=120)
    yield with_timeout
    with_timeout.close()


@pytest.fixture(scope="session")
def image(client):
    """The tiny workspace image; kept between runs, built where it is missing or changed."""
    return build_workspace_image(client)


@pytest.fixture(scope="session")
def registry(tmp_path_factory, wait_for):
    registry = Registry(tmp_path_factory.mktemp("registry"))
    wait_for(registry.answers, "the registry answers", 15)
    yield registry
    registry.end()


@pytest.fixture
def engine():
    """An engine as a hub of its own uses it."""
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def drop_images(client):
    """Remember images of one test, which go with it; their containers go first."""
    references = []

    def remember(reference):
        references.append(reference)
        return reference

    yield remember
    remove_leftovers(client)
    for reference in references:
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(reference, force=True)
    for image in client.images.list(
        filters={"label": f"mlhub.test={RUN}"}
    ):  # what lost its name meanwhile
        with contextlib.suppress(docker.errors.APIError):
            client.images.remove(image.id, force=True)


@pytest.fixture(scope="session")
def removals():
    made = Removals()
    yield made
    made.finish()


@pytest.fixture(autouse=True)
def clean_engine(removals):
    yield
    removals.begin()


@pytest.fixture
def hub_name():
    return make_hub_name()


@pytest.fixture
def hub(image, hub_name, clean_engine):
    at_hand = DockerHub(image, hub_name)
    yield at_hand
    for backend in MLHubDockerSpawner._backends.values():
        backend.engine.close()
    MLHubDockerSpawner._backends.clear()


@pytest.fixture
def run_in(client):
    """Run a command inside a container and return (exit code, output)."""

    def run(name, *command, **kwargs):
        code, output = client.containers.get(name).exec_run(list(command), **kwargs)
        return code, output.decode()

    return run
