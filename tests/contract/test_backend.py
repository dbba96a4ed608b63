"""What every backend keeps, seen through the port that pages, bastion and cleanup use."""

import asyncio
import time

import pytest
from tornado import web

from mlhub.backends.base import Kind
from mlhub.errors import NameTakenError
from mlhub.workspace.identity import Identity


async def names(hub, user=None):
    return {(resource.kind, resource.user, resource.server) for resource in await hub.backend.list_resources(user)}


async def test_an_empty_place_lists_nothing(hub):
    assert await hub.backend.list_workspaces() == []
    assert await hub.backend.list_resources() == []
    assert await hub.backend.address(Identity(hub.hub_name, "alice")) is None


async def test_a_running_workspace_is_listed_with_an_address_that_answers(hub):
    before = time.time()
    await hub.start("alice", "work")
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.identity == Identity(hub.hub_name, "alice", "work")
    assert workspace.identity.owns(workspace.labels)
    assert workspace.is_running
    assert before - 2 <= workspace.created_at <= time.time() + 2
    assert workspace.expires_at is None
    assert workspace.address == await hub.backend.address(workspace.identity)
    reader, writer = await asyncio.open_connection(workspace.address.host, workspace.address.port)
    writer.write(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_stopped_workspace_stays_listed_without_an_address(hub):
    await hub.start("alice")
    await hub.stop("alice")
    (workspace,) = await hub.backend.list_workspaces()
    assert not workspace.is_running
    assert workspace.address is None
    assert await hub.backend.address(workspace.identity) is None


async def test_lists_can_be_narrowed_to_one_user(hub):
    await asyncio.gather(hub.start("alice"), hub.start("bob"))
    assert {workspace.identity.user for workspace in await hub.backend.list_workspaces()} == {"alice", "bob"}
    assert [workspace.identity.user for workspace in await hub.backend.list_workspaces("bob")] == ["bob"]
    assert {resource.user for resource in await hub.backend.list_resources("alice")} == {"alice"}
    assert await hub.backend.list_workspaces("nobody") == []


async def test_a_workspace_has_a_volume_of_its_own_and_its_users_network(hub):
    await hub.start("alice")
    await hub.start("alice", "two")
    assert await names(hub) == {
        (Kind.WORKSPACE, "alice", ""),
        (Kind.WORKSPACE, "alice", "two"),
        (Kind.VOLUME, "alice", ""),
        (Kind.VOLUME, "alice", "two"),
        (Kind.NETWORK, "alice", None),
    }


@pytest.mark.parametrize("user", ["jo@example.com", "Ärger Ö", "a-b", "日本", "x" * 120])
async def test_raw_names_come_back_as_they_are(hub, user):
    await hub.start(user, "work")
    (workspace,) = await hub.backend.list_workspaces(user)
    assert workspace.identity == Identity(hub.hub_name, user, "work")


async def test_deleting_a_workspace_leaves_its_data_in_the_trash_and_nothing_else(hub):
    spawner = await hub.start("alice")
    await hub.stop("alice")
    await spawner.delete_forever()
    (resource,) = await hub.backend.list_resources()
    assert resource.kind is Kind.VOLUME
    assert abs(resource.trashed_at - time.time()) < 5


async def test_deleting_one_of_two_workspaces_leaves_the_other_alone(hub):
    spawner = await hub.start("alice")
    await hub.start("alice", "two")
    await hub.stop("alice")
    await spawner.delete_forever()
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.identity.server == "two"
    assert workspace.is_running
    assert (Kind.NETWORK, "alice", None) in await names(hub)


async def test_a_name_used_again_gets_another_volume(hub):
    for _ in range(2):
        spawner = await hub.start("alice")
        await hub.stop("alice")
        await spawner.delete_forever()
    await hub.start("alice")
    volumes = [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.VOLUME]
    assert len({volume.name for volume in volumes}) == 3
    assert [volume.trashed_at is None for volume in volumes].count(True) == 1


async def test_removing_a_volume_puts_it_into_the_trash_and_removing_it_there_is_final(hub):
    await hub.start("alice")
    await hub.stop("alice")
    for resource in await hub.backend.list_resources():  # where stopping removes what ran, there is none
        if resource.kind is Kind.WORKSPACE:
            await hub.backend.remove(resource)
    (volume,) = [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.VOLUME]
    assert volume.trashed_at is None
    await hub.backend.remove(volume)
    (volume,) = [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.VOLUME]
    assert volume.trashed_at
    await hub.backend.remove(volume)
    assert not [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.VOLUME]


async def test_what_is_gone_already_can_be_removed_again(hub):
    await hub.start("alice")
    await hub.stop("alice")
    resources = await hub.backend.list_resources()
    for resource in [*resources, *resources]:
        await hub.backend.remove(resource)
    assert {resource.kind for resource in await hub.backend.list_resources()} == {Kind.VOLUME}


async def test_a_network_in_use_is_not_removed(hub):
    await hub.start("alice")
    (network,) = [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.NETWORK]
    await hub.backend.remove(network)
    assert (Kind.NETWORK, "alice", None) in await names(hub)


async def test_data_comes_back_from_the_trash_unless_the_name_has_other_data_by_now(hub):
    spawner = await hub.start("alice")
    await hub.stop("alice")
    await spawner.delete_forever()
    (trashed,) = await hub.backend.list_resources()
    await hub.backend.restore(trashed)
    await hub.start("alice")
    (volume,) = [resource for resource in await hub.backend.list_resources() if resource.kind is Kind.VOLUME]
    assert (volume.name, volume.trashed_at) == (trashed.name, None)
    spawner = hub.user("alice").spawners[""]
    await hub.stop("alice")
    await spawner.delete_forever()
    await hub.start("alice")
    with pytest.raises(NameTakenError):
        await hub.backend.restore(trashed)


async def test_unknown_options_are_refused_with_a_sentence_and_the_last_accepted_ones_come_back(hub):
    await hub.start("alice", options={})
    await hub.stop("alice")
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice", options={"privileged": True})
    assert caught.value.status_code == 400
    assert "'privileged'" in caught.value.jupyterhub_message
    assert hub.user("alice").orm_user.orm_spawners[""].user_options == {}
    await hub.start("alice")


async def test_a_server_is_not_renamed_and_the_sentence_says_why(hub):
    spawner = await hub.start("alice", "work")
    with pytest.raises(web.HTTPError, match="can not be renamed"):
        await spawner.rename("work", "play")


async def test_poll_tells_running_from_stopped(hub):
    spawner = await hub.start("alice")
    assert await spawner.poll() is None
    await hub.stop("alice")
    assert await spawner.poll() is not None
