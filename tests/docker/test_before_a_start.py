"""What is refused before anything is created on the engine, and that it keeps nobody from what is
there already.
"""

import io
import json
import tarfile

import pytest
from tornado import web

from mlhub.backends.docker.offered import find_variants
from mlhub.backends.docker.preflight import LABEL_HUB_VERSION
from mlhub.identity import Identity
from mlhub.options.our_images import list_variants
from tests.support.engine import LABEL
from tests.support.registry import build


def list_all(hub, client):
    """Name everything of this hub on the engine."""
    mine = {"label": f"mlhub.origin={hub.hub_name}"}
    found = [
        *client.containers.list(all=True, filters=mine),
        *client.volumes.list(filters=mine),
        *client.networks.list(filters=mine),
    ]
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
        members = {
            member: source.extractfile(member).read() if member.isfile() else None
            for member in source.getmembers()
        }
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


async def test_an_image_for_another_architecture_is_refused_unless_the_site_names_the_platform(
    hub, client, image, tag
):
    other = "arm64" if client.version()["Arch"] == "amd64" else "amd64"
    load_for(client, tag, image, other)
    assert client.images.get(tag).attrs["Architecture"] == other
    hub.spawner.image = tag
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 400
    assert f"is made for linux/{other}" in caught.value.jupyterhub_message
    assert list_all(hub, client) == []
    hub.spawner.extra_create_kwargs = {
        "platform": f"linux/{other}"
    }  # it only says so: what is in it does run here
    spawner = await hub.start("bob")
    assert await spawner.poll() is None


async def test_an_update_to_an_image_for_another_architecture_is_refused_before_anything_stops(
    hub, client, image, tag
):
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


async def test_a_single_user_server_of_another_major_version_is_a_warning_and_one_from_before_1_is_refused(  # noqa: E501
    hub, client, image, tag
):
    hub.spawner.image = tag
    build(client, tag, base=image, size=1000, label={**LABEL, LABEL_HUB_VERSION: "4.1.0"})
    spawner = await hub.start("alice")
    assert any(
        "jupyterhub-singleuser 4.1.0" in event["message"] for event in spawner.start_progress.events
    )
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


async def test_a_container_whose_image_has_lost_its_name_starts_all_the_same(
    hub, client, image, tag
):
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
    with pytest.raises(web.HTTPError, match="cannot be pulled"):  # a new container would need it
        await hub.start("alice", options={"shm_size": "16M"})
    assert client.containers.get(name).id == old


@pytest.fixture
def calls(hub):
    """What the engine is asked from now on, by name."""
    engine, asked = hub.backend.engine, []
    call, pull = engine.call, engine.pull

    async def note_call(method, *args, **kwargs):
        asked.append(method)
        return await call(method, *args, **kwargs)

    async def note_pull(*args, **kwargs):
        asked.append("pull")
        return await pull(*args, **kwargs)

    engine.call, engine.pull = note_call, note_pull
    return asked


HOSTILE = [
    {"image": "evil/miner:1"},
    {"image": "../../etc/passwd"},
    {"image": "127.0.0.1:5000/evil@sha256:" + "0" * 64},
    {"is_custom_image": True, "custom_image": "evil/miner:1"},
    {"image": {"a": 1}},
    {"image": "x" * 5000},
    {"env": "LD_PRELOAD=/tmp/x.so"},
    {"env": {"JUPYTERHUB_API_TOKEN": "x"}},
    {"env": {"NVIDIA_VISIBLE_DEVICES": "all"}},
    {"env": {"A": "\0"}},
    {"env": "no equals sign"},
    {"env": {f"N{number}": "x" for number in range(5000)}},
    {"volumes": {"/": "/host"}},
    {"privileged": True},
]


async def test_hostile_images_and_environments_are_refused_before_the_engine_is_asked_for_anything_but_its_facts(  # noqa: E501
    hub, client, calls
):
    before_refusal = []
    for number, options in enumerate(HOSTILE):
        spawner = hub.user(f"user{number}").get_or_create_spawner("", "")
        refuse = spawner.refuse

        def note_and_refuse(error, refuse=refuse):
            # Afterwards JupyterHub itself looks whether there is something to stop.
            before_refusal.append(list(calls))
            refuse(error)

        spawner.refuse = note_and_refuse
        calls.clear()
        with pytest.raises(web.HTTPError) as caught:
            await spawner.user.spawn("", options=options)
        assert caught.value.status_code == 400
        assert not {"create_container", "create_network", "create_volume", "pull", "start"} & set(
            calls
        )
    assert len(before_refusal) == len(HOSTILE)
    assert all(set(asked) <= {"info"} for asked in before_refusal), before_refusal
    assert list_all(hub, client) == []
    calls.clear()
    await hub.start("alice", options={"env": {"A": "1"}})
    assert {"inspect_image", "create_container", "start"} <= set(calls)


async def test_the_host_is_read_from_the_engine_once_for_many(hub, client, calls):
    info = client.info()
    spawner = hub.user("alice").get_or_create_spawner("", "")
    host = await spawner.read_host()
    assert (host.cpus, host.memory_bytes) == (info["NCPU"], info["MemTotal"])
    assert host.gpus in ((), None) or host.gpus[0].startswith("GPU-")
    assert "info" in calls
    calls.clear()
    for _ in range(10):
        await spawner.read_host()
    assert calls == []


async def test_larger_workspaces_are_found_by_the_name_of_the_default_one(
    hub, client, image, engine, drop_images
):
    default = f"127.0.0.1:9/mltooling/mlhub-workspace:{hub.hub_name}"
    there = drop_images(list_variants(default)[0])
    client.images.get(image).tag(*there.rsplit(":", 1))
    assert await find_variants(engine, default) == (there,)
    assert await find_variants(engine, image) == ()
