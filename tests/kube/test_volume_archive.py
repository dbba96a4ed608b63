"""A backup reads and writes claims by pods of its own, with no right that a hub has not anyway."""

from __future__ import annotations

import asyncio

import pytest

from mlhub.backends.kubernetes.archive import KubernetesVolumeArchive, Place
from mlhub.errors import NameTakenError
from mlhub.settings import Settings
from tests.support.cluster import write
from tests.support.helm_release import NAME, TAG

FILL = (
    "cd /workspace && mkdir -p notes/deep && head -c 3000000 /dev/urandom >notes/big && "
    "echo forty-two >'notes/deep/plan b' && ln -s ../big notes/deep/soft && ln notes/big hard && "
    "touch empty && chmod 640 empty && chmod 500 notes/deep"
)
READ = (
    "cd /workspace && { find . -mindepth 1 -printf '%P %y %m %U %n %l\\n' | sort; "
    "find . -type f -exec sha256sum {} + | sort; }"
)


@pytest.fixture
async def archive(hub):
    place = Place(hub.namespace, f"{NAME}:{TAG}")
    return KubernetesVolumeArchive(Settings(hub_name=hub.hub_name), place)


async def test_a_claim_comes_back_byte_for_byte_and_whose_it_was(hub, archive):
    spawner = await hub.start("alice", "work")
    write(hub, spawner.pod_name, FILL)
    before = write(hub, spawner.pod_name, READ)

    def back_up():
        (volume,) = archive.list_volumes()
        with archive.read(volume.name) as content:
            return volume, list(content)

    def restore():
        archive.create(volume)
        archive.write(volume.name, content)

    volume, content = await asyncio.to_thread(back_up)  # while it runs
    assert await spawner.poll() is None
    with pytest.raises(NameTakenError, match=volume.name):
        await asyncio.to_thread(restore)
    await hub.stop("alice", "work")
    hub.cluster.run("delete", "--namespace", hub.namespace, "pvc", volume.name)
    await asyncio.to_thread(restore)
    spawner = await hub.start("alice", "work")
    assert write(hub, spawner.pod_name, READ) == before
    assert [each["metadata"]["name"] for each in hub.list("pods")] == [spawner.pod_name]
