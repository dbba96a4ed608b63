"""What is refused before anything is created on the engine, and that it keeps nobody from what is there already."""

import io
import json
import tarfile

import pytest
from tornado import web

from mlhub.backends.docker.preflight import LABEL_HUB_VERSION
from mlhub.workspace.identity import Identity
from tests.docker.conftest import LABEL
from tests.docker.registry import build


def list_all(hub, client):
    """Name everything of this hub on the engine."""
    mine = {"label": f"mlhub.origin={hub.hub_name}"}
    found = [*client.containers.list(all=True, filters=mine), *client.volumes.list(filters=mine), *client.networks.list(filters=mine)]
    return [thing.name for thing in found]


@pytest.fixture
def tag(hub, drop_images):
    return drop_images(f"127.0.0.1:9/before:{hub.hub_name}")  # nobody answers there


def load_for(client, tag, image, architecture):
    """Load an image that says of itself to be made for another architecture."""
    build(client, tag, base=image, size=1000, label=LABEL)
    saved = io.BytesIO(b"".join(client.images.get(tag).save(named=True)))
    client.images.remove(tag, force=True)
    with tarfile.open(fileobj=saved) as source:
        members = {member: source.extractfile(member).read() if member.isfile() else None for member in source.getmembers()}
    manifest = next(data for member, data in members.items() if member.name == "manifest.json")
    description = json.loads(manifest)[0]["Config"]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for member, data in members.items():
            if member.name == description:
                data = json.dumps({**json.loads(data), "architecture": architecture}).encode()
            member.size = len(data or b"")
            archive.addfile(member, None if data is None else io.BytesIO(data))
    client.images.load(target.getvalue())


async def test_an_image_for_another_architecture_is_refused_unless_the_site_names_the_platform(hub, client, image, tag):
    other = "arm64" if client.version()["Arch"] == "amd64" else "amd64"
    load_for(client, tag, image, other)
    assert client.images.get(tag).attrs["Architecture"] == other
    hub.spawner.image = tag
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 400
    assert f"is made for linux/{other}" in caught.value.jupyterhub_message
    assert list_all(hub, client) == []
    hub.spawner.extra_create_kwargs = {"platform": f"linux/{other}"}  # it only says so: what is in it does run here
    spawner = await hub.start("bob")
    assert await spawner.poll() is None


async def test_an_update_to_an_image_for_another_architecture_is_refused_before_anything_stops(hub, client, image, tag):
    build(client, tag, base=image, size=1000, label=LABEL)
    hub.spawner.image = tag
    spawner = await hub.start("alice")
    client.images.remove(tag, force=True)
    load_for(client, tag, image, "s390x")
    with pytest.raises(Exception, match="linux/s390x"):
        await spawner.begin_update()
    assert await spawner.poll() is None
    old = client.containers.get(spawner.object_name).id
    await hub.stop("alice")
    await hub.start("alice")
    assert client.containers.get(spawner.object_name).id == old


async def test_an_image_without_anything_to_start_is_refused(hub, client, tag):
    build(client, tag, size=1000, label=LABEL)
    hub.spawner.image = tag
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert "says nothing about what to start" in caught.value.jupyterhub_message
    assert list_all(hub, client) == []


async def test_a_single_user_server_of_another_major_version_is_a_warning_and_one_from_before_1_is_refused(hub, client, image, tag):
    hub.spawner.image = tag
    build(client, tag, base=image, size=1000, label={**LABEL, LABEL_HUB_VERSION: "4.1.0"})
    spawner = await hub.start("alice")
    assert any("jupyterhub-singleuser 4.1.0" in event["message"] for event in spawner.start_progress.events)
    build(client, tag, base=image, size=1000, label={**LABEL, LABEL_HUB_VERSION: "0.9.6"})
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("bob")
    assert "too old for this hub" in caught.value.jupyterhub_message


async def test_on_a_full_disk_nothing_new_is_created_but_what_is_there_starts(hub, client, run_in):
    await hub.start("alice")
    await hub.stop("alice")
    before = list_all(hub, client)
    hub.spawner.min_free_disk = "1000T"
    spawner = await hub.start("alice")  # perhaps to tidy up
    assert await spawner.poll() is None
    for user in ("bob", "carol"):
        with pytest.raises(web.HTTPError) as caught:
            await hub.start(user)
        assert caught.value.status_code == 503
        assert "GiB of disk left" in caught.value.jupyterhub_message
    assert sorted(list_all(hub, client)) == sorted(before)
    hub.spawner.min_free_disk = 0
    await hub.start("dora")


async def test_a_container_whose_image_has_lost_its_name_starts_all_the_same(hub, client, image, tag):
    client.images.get(image).tag(tag)
    hub.spawner.image = tag
    await hub.start("alice")
    name = Identity(hub.hub_name, "alice").container
    old = client.containers.get(name).id
    await hub.stop("alice")
    client.images.remove(tag)
    await hub.start("alice")
    assert client.containers.get(name).id == old
    await hub.stop("alice")
    with pytest.raises(web.HTTPError, match="can not be pulled"):  # a new container would need it
        await hub.start("alice", options={"shm_size": "16M"})
    assert client.containers.get(name).id == old


async def test_the_host_is_read_from_the_engine_once_for_many(hub, client):
    info = client.info()
    spawner = hub.user("alice").get_or_create_spawner("", "")
    host = await spawner.read_host()
    assert (host.cpus, host.memory_bytes) == (info["NCPU"], info["MemTotal"])
    assert host.gpus in ((), None) or host.gpus[0].startswith("GPU-")
    calls = []
    real = spawner.backend.engine.call

    async def count(method, *args, **kwargs):
        calls.append(method)
        return await real(method, *args, **kwargs)

    spawner.backend.engine.call = count
    for _ in range(10):
        await spawner.read_host()
    assert calls == []
