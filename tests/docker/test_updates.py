"""Newer images: noticed, taken in one go, and gone back on where they do not start; whatever
happens in between.
"""

import asyncio
import secrets
from types import SimpleNamespace

import pytest
from tornado import web

from mlhub.backends.docker.container import PREVIOUS
from mlhub.backends.docker.spec import LABEL_CONFIG
from mlhub.errors import ImageError, WorkspaceError
from mlhub.identity import Identity
from mlhub.workspaces.port import Kind
from tests.support.engine import LABEL, eventually
from tests.support.registry import build, push

# How an image may be broken.
DIES, MUTE, NOTHING = (
    ('ENV DIE="no license"',),
    ("ENV MUTE=1",),
    ('ENTRYPOINT ["/no/such/program"]',),
)


@pytest.fixture
def alice(hub, image, client, drop_images):
    """Alice's workspace runs from a tag that can be moved; something is installed in it and
    something lies in its volume.
    """
    tag = drop_images(
        f"127.0.0.1:9/moving:{hub.hub_name}"
    )  # nobody answers there: what is new is here already
    client.images.get(image).tag(tag)
    hub.spawner.image = tag
    identity = Identity(hub.hub_name, "alice")
    return SimpleNamespace(
        tag=tag,
        name=identity.container,
        identity=identity,
        publish=lambda *lines: build(client, tag, base=image, size=1000, lines=lines, label=LABEL),
        get=lambda: client.containers.get(identity.container),
    )


async def start(hub, alice, run_in, **options):
    spawner = await hub.start("alice", options=options or None)
    run_in(
        alice.name,
        "sh",
        "-c",
        "echo tool > /usr/local/bin/tool; echo precious > /workspace/data",
        user="0",
    )
    return spawner


async def update(hub, spawner):
    """Do what the REST handler does."""
    await spawner.begin_update()
    await hub.stop("alice")
    return await hub.start("alice")


async def is_alone(hub, client, alice):
    """Wait until there is no previous container any more."""
    await eventually(
        lambda: (
            len(client.api.containers(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"}))
            == 1
        )
    )
    assert alice.get()


async def test_a_moved_tag_leaves_a_container_as_it_is_and_is_told(hub, alice, run_in):
    spawner = await start(hub, alice, run_in)
    old = alice.get()
    assert (await spawner.describe_image())["update_available"] is False
    alice.publish()
    await hub.stop("alice")
    spawner = await hub.start("alice")
    assert (alice.get().id, alice.get().image.id) == (old.id, old.image.id)
    assert run_in(alice.name, "cat", "/usr/local/bin/tool") == (0, "tool\n")
    assert await spawner.find_update() == "local"
    described = await spawner.describe_image()
    assert described.pop("created").startswith("20")
    assert described == {"reference": alice.tag, "id": old.image.id, "update_available": True}


async def test_an_update_takes_the_newer_image_and_keeps_data_and_options(
    hub, alice, run_in, client
):
    spawner = await start(hub, alice, run_in, shm_size="32M", env={"COURSE": "ml"})
    newer = alice.publish("ENV GENERATION=2")
    spawner = await update(hub, spawner)
    container = alice.get()
    assert container.image.id == newer.id
    assert {"GENERATION=2", "COURSE=ml"} <= set(container.attrs["Config"]["Env"])
    assert container.attrs["HostConfig"]["ShmSize"] == 32 * 2**20
    assert run_in(alice.name, "cat", "/workspace/data") == (0, "precious\n")
    assert await spawner.find_update() is None
    await is_alone(hub, client, alice)
    await hub.stop("alice")  # and the next start is an ordinary one
    await hub.start("alice")
    assert alice.get().id == container.id


async def test_a_stopped_workspace_can_be_updated_too(hub, alice, run_in):
    await start(hub, alice, run_in)
    newer = alice.publish()
    await hub.stop("alice")
    await (
        hub.user("alice").spawners[""].begin_update()
    )  # as the REST handler does; the one that stopped is gone
    await hub.start("alice")
    assert alice.get().image.id == newer.id


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (DIES, "cannot start: no license"),
        (MUTE, "did not answer on port 8080 within 2 seconds"),
        (NOTHING, "no/such/program"),
    ],
)
async def test_an_image_that_does_not_come_up_is_gone_back_on(
    hub, alice, run_in, client, lines, reason
):
    spawner = await start(hub, alice, run_in)
    old = alice.get()
    alice.publish(*lines)
    hub.spawner.http_timeout = 2
    with pytest.raises(web.HTTPError) as caught:
        await update(hub, spawner)
    assert "the previous one was put back" in caught.value.jupyterhub_message
    assert reason in caught.value.jupyterhub_message
    await is_alone(hub, client, alice)
    await hub.start("alice")
    assert (alice.get().id, alice.get().image.id) == (old.id, old.image.id)
    assert run_in(alice.name, "cat", "/usr/local/bin/tool", "/workspace/data") == (
        0,
        "tool\nprecious\n",
    )


async def test_an_image_that_outlasts_start_timeout_is_gone_back_on(hub, alice, run_in, client):
    spawner = await start(hub, alice, run_in)
    old = alice.get()
    alice.publish(*MUTE)
    hub.spawner.start_timeout = 3
    with pytest.raises(asyncio.TimeoutError):
        await update(hub, spawner)
    await is_alone(hub, client, alice)
    await hub.start("alice")
    assert alice.get().id == old.id


async def test_options_that_do_not_come_up_are_gone_back_on_as_well(hub, alice, run_in, client):
    await start(hub, alice, run_in, env={"A": "1"})
    old = alice.get()
    await hub.stop("alice")
    with pytest.raises(web.HTTPError, match="put back"):
        await hub.start("alice", options={"env": {"DIE": "wrong option"}})
    await is_alone(hub, client, alice)
    await hub.start("alice", options={"env": {"A": "1"}})
    assert alice.get().id == old.id
    assert run_in(alice.name, "cat", "/usr/local/bin/tool") == (0, "tool\n")


async def test_where_there_is_nothing_newer_that_is_a_sentence_and_the_workspace_goes_on(
    hub, alice, run_in
):
    hub.spawner.pull_policy = "never"
    with pytest.raises(WorkspaceError, match="no container yet"):
        await hub.user("alice").get_or_create_spawner("", "").begin_update()
    spawner = await start(hub, alice, run_in)
    with pytest.raises(WorkspaceError, match="has the newest image already"):
        await spawner.begin_update()
    assert await spawner.poll() is None
    await hub.stop("alice")
    old = alice.get().id
    await hub.start("alice")
    assert alice.get().id == old


async def test_a_workspace_without_a_volume_is_not_updated(hub, alice, run_in):
    spawner = await start(hub, alice, run_in, is_mount_volume=False)
    alice.publish()
    with pytest.raises(WorkspaceError, match="keeps its files inside its container"):
        await spawner.begin_update()
    assert await spawner.poll() is None


# what a hub that was cut off leaves behind


async def set_aside(hub, alice, client):
    await hub.stop("alice")
    client.api.rename(alice.get().id, alice.name + PREVIOUS)


async def test_a_container_that_stands_aside_alone_gets_its_name_back(hub, alice, run_in, client):
    await start(hub, alice, run_in)
    old = alice.get().id
    await set_aside(hub, alice, client)
    (workspace,) = await hub.backend.list_workspaces()
    assert (workspace.identity, workspace.is_running) == (alice.identity, False)
    await hub.start("alice")
    assert alice.get().id == old
    assert run_in(alice.name, "cat", "/usr/local/bin/tool") == (0, "tool\n")


@pytest.mark.parametrize("lines", [(), DIES])
async def test_of_two_the_newer_one_is_tried_and_stays_only_where_it_answers(
    hub, alice, run_in, client, lines
):
    spawner = await start(hub, alice, run_in)
    old, settings = alice.get().id, alice.get().attrs
    newer = alice.publish(*lines)
    await set_aside(hub, alice, client)
    # As far as a hub gets that dies right after it created the new container.
    created = client.api.create_container(
        alice.tag,
        name=alice.name,
        labels=settings["Config"]["Labels"],
        environment=settings["Config"]["Env"],
        host_config=client.api.create_host_config(
            network_mode=settings["HostConfig"]["NetworkMode"],
            binds=settings["HostConfig"]["Binds"],
            init=True,
        ),
    )
    assert len(await hub.backend.list_workspaces()) == 1
    assert [resource.kind for resource in await hub.backend.list_resources()].count(
        Kind.WORKSPACE
    ) == 1
    if lines:
        with pytest.raises(web.HTTPError, match="put back"):
            await hub.start("alice")
    spawner = await hub.start("alice")
    assert alice.get().id == (old if lines else created["Id"])
    assert (alice.get().image.id == newer.id) is (not lines)
    assert await spawner.poll() is None
    await is_alone(hub, client, alice)


async def test_deleting_a_workspace_removes_what_stands_aside_too(hub, alice, run_in, client):
    spawner = await start(hub, alice, run_in)
    await set_aside(hub, alice, client)
    await hub.start("bob")  # whose own things stay
    await spawner.delete_forever()
    left = client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})
    assert [container.labels["mlhub.user"] for container in left] == ["bob"]


async def test_removing_a_workspace_that_stands_aside_beside_another_leaves_none(
    hub, alice, run_in, client, image
):
    await start(hub, alice, run_in)
    await set_aside(hub, alice, client)
    client.api.create_container(image, name=alice.name, labels={**alice.identity.labels, **LABEL})
    (workspace,) = [
        resource
        for resource in await hub.backend.list_resources()
        if resource.kind is Kind.WORKSPACE
    ]
    await hub.backend.remove(workspace)
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


# a registry


@pytest.fixture
def published(hub, registry, client, drop_images):
    """Alice's container, made from an image of a registry; it never needs to run."""
    tag = drop_images(f"{registry.address}/up/{secrets.token_hex(4)}:1")
    identity = Identity(hub.hub_name, "alice")

    def publish():
        """Push another version, as somebody else would: this engine does not have it afterwards."""
        known = client.images.get(tag).id if client.images.list(tag) else None
        image = build(client, tag, size=1000, lines=['CMD ["/layer0"]'], label=LABEL)
        push(client, tag)
        if known:
            client.images.remove(tag, force=True)
            client.images.get(known).tag(tag)
        return image

    def create():
        client.images.pull(tag)
        # What we write on each of ours: without it, this would be one of the original's.
        labels = {**identity.labels, LABEL_CONFIG: "0", **LABEL}
        client.api.create_container(tag, name=identity.container, labels=labels)
        return hub.user("alice").get_or_create_spawner("", "")

    hub.spawner.image = tag
    return SimpleNamespace(tag=tag, publish=publish, create=create)


async def test_a_newer_version_in_the_registry_is_told_and_pulled_while_the_workspace_still_runs(
    hub, published, client
):
    published.publish()
    spawner = published.create()
    assert await spawner.find_update() is None
    spawner.backend.updates._digests.clear()  # ten minutes later
    published.publish()
    assert await spawner.find_update() == "registry"
    assert (await spawner.describe_image())["update_available"] is True
    before = client.images.get(published.tag).id
    await spawner.begin_update()
    assert client.images.get(published.tag).id != before
    assert await spawner.find_update() == "local"


async def test_the_registry_is_asked_once_in_ten_minutes(hub, published, registry):
    published.publish()
    spawner = published.create()
    logs = registry.folder / "log"
    for _ in range(5):
        assert await spawner.find_update() is None
    asked = [line for line in logs.read_text().splitlines() if "manifests" in line]
    assert await spawner.find_update() is None
    assert [line for line in logs.read_text().splitlines() if "manifests" in line] == asked
    spawner.backend.updates._digests.clear()
    assert await spawner.find_update() is None
    assert len([line for line in logs.read_text().splitlines() if "manifests" in line]) > len(asked)


async def test_a_registry_that_does_not_answer_is_no_error_but_an_update_from_it_is(
    hub, client, image, drop_images
):
    tag = drop_images("127.0.0.1:9/gone/away:1")
    client.images.get(image).tag(tag)
    hub.spawner.image = tag
    spawner = await hub.start("alice")
    assert await spawner.find_update() is None
    with pytest.raises(ImageError, match="cannot be pulled"):
        await spawner.begin_update()
    assert await spawner.poll() is None
