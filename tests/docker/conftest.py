"""A real engine, a tiny real workspace image, and real JupyterHub objects around our spawner.

Everything created on the engine carries ``mlhub.test=<id of this run>`` and is removed by that label alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
import tarfile
import time
from pathlib import Path

import docker
import pytest

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from tests.at_hand import HubAtHand
from tests.docker.registry import Registry

logging.getLogger("traitlets").setLevel(logging.INFO)
RUN = secrets.token_hex(6)
LABEL = {"mlhub.test": RUN}
IMAGE = "mlhub-test-engine:1"
POOL = "10.201.0.0/16"


@pytest.fixture(scope="session")
def client():
    with_timeout = docker.from_env(timeout=120)
    yield with_timeout
    with_timeout.close()


@pytest.fixture(scope="session")
def image(client):
    """The tiny workspace image; kept between runs, built where it is missing or changed."""
    folder = Path(__file__).parent / "image"
    client.images.build(path=str(folder), tag=IMAGE, network_mode="host", rm=True, forcerm=True)
    return IMAGE


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
    for image in client.images.list(filters={"label": f"mlhub.test={RUN}"}):  # what lost its name meanwhile
        with contextlib.suppress(docker.errors.APIError):
            client.images.remove(image.id, force=True)


@pytest.fixture(autouse=True)
def clean_engine(client):
    yield
    remove_leftovers(client)


def remove_leftovers(client, label=f"mlhub.test={RUN}"):
    for container in client.api.containers(all=True, filters={"label": label}):
        with contextlib.suppress(docker.errors.APIError):  # a hub may just be removing it
            client.api.remove_container(container["Id"], force=True, v=True)
    for network in client.networks.list(filters={"label": label}):
        for endpoint in client.api.inspect_network(network.id)["Containers"] or {}:
            network.disconnect(endpoint, force=True)
        network.remove()
    for volume in client.volumes.list(filters={"label": label}):
        volume.remove(force=True)


@pytest.fixture
def hub_name():
    return "t" + secrets.token_hex(2)


class DockerHub(HubAtHand):
    """One hub on the engine."""

    def __init__(self, image, hub_name):
        super().__init__(image, hub_name, MLHubDockerSpawner)
        self.spawner.extra_labels = dict(LABEL)
        self.spawner.stop_seconds, self.spawner.network_pool = 5, POOL

    def reset_database(self):
        """Begin as a hub whose container and database are new."""
        MLHubDockerSpawner._backends.clear()
        super().reset_database()


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


async def eventually(check, seconds=10.0, what="the condition"):
    """Poll until check() is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := check():
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def make_tar(name, data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
