"""What tests of the Docker backend make on the engine, and how it goes again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from tests.support.at_hand import HubAtHand

logging.getLogger("traitlets").setLevel(logging.INFO)
RUN = secrets.token_hex(6)
LABEL = {"mlhub.test": RUN}
IMAGE = "mlhub-test-engine:1"
POOL = "10.201.0.0/16"


def build_workspace_image(client):
    """Build the tiny workspace image where it is missing or changed; return its name."""
    folder = Path(__file__).parents[2] / "tests/docker/image"
    client.images.build(path=str(folder), tag=IMAGE, network_mode="host", rm=True, forcerm=True)
    return IMAGE


def remove_leftovers(client, label=f"mlhub.test={RUN}"):
    """Remove all that has a label."""
    _remove(client, *_list(client, label))


class Removals:
    """What tests leave goes in the background of later ones, and is gone when a session ends."""

    def __init__(self):
        self.client, self.pool = docker.from_env(timeout=120), ThreadPoolExecutor(1)
        # Else each call reads the environment, while a test in the other thread changes it.
        self.client.api.trust_env = False
        self.begun = []

    def begin(self):
        """Remove what is there at this moment."""
        self.begun.append(self.pool.submit(_remove, self.client, *_list(self.client)))

    def wait(self):
        """Wait until all of it is gone; a removal that failed is an error."""
        for removal in self.begun:
            removal.result(timeout=60)

    def finish(self):
        """End with nothing left."""
        self.wait()
        self.pool.shutdown()
        remove_leftovers(self.client)
        self.client.close()


def _list(client, label=f"mlhub.test={RUN}"):
    filters = {"label": label}
    return (
        [each["Id"] for each in client.api.containers(all=True, filters=filters)],
        [each["Id"] for each in client.api.networks(filters=filters)],
        [each["Name"] for each in client.api.volumes(filters=filters)["Volumes"] or []],
    )


def _remove(client, containers, networks, volumes):
    for container in containers:
        with contextlib.suppress(docker.errors.APIError):  # a hub may just be removing it
            client.api.remove_container(container, force=True, v=True)
    for network in networks:
        with contextlib.suppress(docker.errors.NotFound):
            for endpoint in client.api.inspect_network(network)["Containers"] or {}:
                client.api.disconnect_container_from_network(endpoint, network, force=True)
            client.api.remove_network(network)
    for volume in volumes:
        with contextlib.suppress(docker.errors.NotFound):
            client.api.remove_volume(volume, force=True)


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

    async def forget_what_runs(self, spawner):
        """Have a spawner ask the engine again."""
        spawner._container, spawner._inspected_at = None, 0.0


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
