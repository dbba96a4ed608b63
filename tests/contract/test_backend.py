"""What every backend keeps, seen through the port that pages, bastion and cleanup use."""

import asyncio
import time
from dataclasses import replace

import pytest
from tornado import web

from mlhub.errors import EngineUnreachableError, MLHubError, VolumeGoneError
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, Identity
from mlhub.workspaces.port import Kind, Resource
from mlhub.workspaces.spawner import find_workspace
from tests.support.workspace_files import CommandFiles


async def names(hub, user=None):
    return {
        (resource.kind, resource.user, resource.server)
        for resource in await hub.backend.list_resources(user)
    }


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
    assert {workspace.identity.user for workspace in await hub.backend.list_workspaces()} == {
        "alice",
        "bob",
    }
    assert [workspace.identity.user for workspace in await hub.backend.list_workspaces("bob")] == [
        "bob"
    ]
    assert {resource.user for resource in await hub.backend.list_resources("alice")} == {"alice"}
    assert await hub.backend.list_workspaces("nobody") == []


async def test_a_workspace_has_a_volume_of_its_own_and_its_users_network(hub):
    await hub.start("alice", "two")
    await hub.start("alice")
    assert await names(hub) == {
        (Kind.WORKSPACE, "alice", ""),
        (Kind.WORKSPACE, "alice", "two"),
        (Kind.VOLUME, "alice", ""),
        (Kind.VOLUME, "alice", "two"),
        (Kind.NETWORK, "alice", None),
    }


async def test_what_is_taken_of_the_disk_is_told_with_whose_it_is_or_that_nobody_knows(hub, files):
    spawner = await hub.start("alice", "two")
    await hub.start("bob")
    await files.write("alice", "two", "x" * 9000)
    taken = await hub.backend.measure_disk()
    if taken is None:  # a place that cannot tell
        return
    own = [each for each in taken if each.user == "alice"]
    assert {(each.server, each.is_trashed) for each in own} == {("two", False)}
    assert {each.person for each in own} == {spawner.holder.label}
    assert sum(each.size for each in own) >= (9000 if isinstance(files, CommandFiles) else 0)
    assert {each.user for each in taken} == {"alice", "bob"}
    await hub.stop("alice", "two")
    await spawner.delete_forever()
    own = [each for each in await hub.backend.measure_disk() if each.user == "alice"]
    assert {(each.server, each.is_trashed) for each in own} == {("two", True)}


async def test_what_a_workspace_takes_is_told_while_it_runs_or_nobody_can_tell(hub):
    spawner = await hub.start("alice")
    first = await spawner.measure_use()
    if first is not None:
        assert 0 < first.memory < 2**40
        assert (await spawner.measure_use()).cpu_seconds >= first.cpu_seconds >= 0
    await hub.stop("alice")
    assert await spawner.measure_use() is None


async def test_a_spawner_knows_where_its_workspace_answers_as_long_as_that_runs(hub):
    spawner = await hub.start("alice")
    address = await hub.backend.address(spawner.identity)
    url = f"http://{address.host}:{address.port}/user/alice/"
    assert await spawner.find_url() == spawner.server.url == url
    # A hub that has just begun knows no more than its database.
    spawner.server.ip = "192.0.2.1"
    hub.db.commit()
    spawner._check_pending = True
    assert await spawner.poll() is None
    assert await spawner.get_url() == spawner.server.url == url
    spawner._check_pending = False
    await hub.stop("alice")
    assert await spawner.poll() is not None
    assert await spawner.find_url() is None


async def test_raw_names_come_back_as_they_are_and_lists_are_in_their_order(hub):
    users = ["jo@example.com", "Ärger Ö", "a-b", "日本", "x" * 120, "a=b,c", "a'b\\", "*"]
    for some in (users[:4], users[4:]):
        await asyncio.gather(*(hub.start(user, "work") for user in some))
    wanted = [Identity(hub.hub_name, user, "work") for user in sorted(users)]
    found = await hub.backend.list_workspaces()
    assert [workspace.identity for workspace in found] == wanted
    for identity in wanted:
        (workspace,) = await hub.backend.list_workspaces(identity.user)
        assert workspace.identity == identity
        assert await hub.backend.address(identity) == workspace.address
    resources = await hub.backend.list_resources()
    assert [each.user for each in resources] == [user for user in sorted(users) for _ in range(3)]


async def test_a_workspace_that_is_removed_while_it_runs_is_there_as_long_as_its_data(hub):
    spawner = await hub.start("alice", "work")
    (workspace,) = await hub.backend.list_workspaces()
    for resource in await hub.backend.list_resources():
        if resource.kind is Kind.WORKSPACE:
            await hub.backend.remove(resource)
    (left,) = await hub.backend.list_workspaces()
    assert (left.identity, left.name) == (workspace.identity, workspace.name)
    assert (left.is_running, left.address) == (False, None)
    await hub.stop("alice", "work")
    before = await hub.backend.list_resources("alice")
    await hub.start("alice", "work")
    volumes = [each for each in await hub.backend.list_resources() if each.kind is Kind.VOLUME]
    assert volumes == [each for each in before if each.kind is Kind.VOLUME]
    await hub.stop("alice", "work")
    await spawner.delete_forever()
    assert await hub.backend.list_workspaces() == []


async def test_what_names_no_owner_is_nobodys(hub, strangers):
    identity = Identity(hub.hub_name, "alice")
    labels = {
        "no-server": identity.user_labels,
        "no-user": {LABEL_ORIGIN: hub.hub_name, LABEL_SERVER: ""},
        "other-hub": Identity(f"{hub.hub_name}x", "alice").labels,
        "no-labels": {},
    }
    names = [strangers.make(name, each) for name, each in labels.items()]
    before = [strangers.describe(name) for name in names]
    assert await hub.backend.list_resources() == []
    assert await hub.backend.list_workspaces() == []
    for name in names:
        resource = Resource(Kind.VOLUME, name, "alice", "", 0.0)
        await hub.backend.remove(resource)
        await hub.backend.remove(replace(resource, trashed_at=0.0))
        with pytest.raises(VolumeGoneError):
            await hub.backend.restore(resource)
    await hub.backend.delete_workspace(identity)
    assert [strangers.describe(name) for name in names] == before


async def test_a_name_that_something_of_somebody_elses_has_is_not_taken(hub, strangers):
    identity, bob = Identity(hub.hub_name, "alice"), Identity(hub.hub_name, "bob")
    name = strangers.make(identity.volume(1), bob.labels)
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 409
    assert f"{name!r} exists already and does not belong" in caught.value.jupyterhub_message
    assert [each.identity.user for each in await hub.backend.list_workspaces()] == ["bob"]


async def test_a_place_that_does_not_answer_says_so_whatever_is_asked(hub, away):
    identity = Identity(hub.hub_name, "alice")
    resource = Resource(Kind.VOLUME, identity.volume(1), "alice", "", 0.0)
    assert await hub.backend.list_workspaces() == []
    with away():
        answers = await asyncio.gather(
            hub.backend.list_workspaces(),
            hub.backend.list_resources(),
            hub.backend.address(identity),
            hub.backend.remove(resource),
            hub.backend.restore(resource),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [EngineUnreachableError] * 5


async def test_a_hub_that_begins_calls_nothing_stopped_that_it_may_not_ask_about(
    hub, away, refusing
):
    """JupyterHub stops what it believes to have stopped, once it may ask again."""
    spawner = await hub.start("alice")
    for be_elsewhere in (away, refusing):
        await hub.forget_what_runs(spawner)
        with be_elsewhere():
            assert await spawner.poll() is None
    assert await spawner.poll() is None
    await hub.stop("alice")
    await hub.forget_what_runs(spawner)
    assert await spawner.poll() is not None


async def test_deleting_one_of_two_workspaces_leaves_the_other_alone(hub):
    spawner = await hub.start("alice")
    await hub.start("alice", "two")
    await hub.stop("alice")
    await spawner.delete_forever()
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.identity.server == "two"
    assert workspace.is_running
    assert (Kind.NETWORK, "alice", None) in await names(hub)


async def test_what_is_gone_already_can_be_removed_again(hub):
    await hub.start("alice")
    await hub.stop("alice")
    resources = await hub.backend.list_resources()
    for resource in [*resources, *resources]:
        await hub.backend.remove(resource)
    assert {resource.kind for resource in await hub.backend.list_resources()} == {Kind.VOLUME}


async def test_a_network_in_use_is_not_removed(hub):
    await hub.start("alice")
    (network,) = [
        resource for resource in await hub.backend.list_resources() if resource.kind is Kind.NETWORK
    ]
    await hub.backend.remove(network)
    assert (Kind.NETWORK, "alice", None) in await names(hub)


async def test_unknown_options_are_refused_with_a_sentence_and_the_last_accepted_ones_come_back(
    hub,
):
    await hub.start("alice", options={"days_to_live": 3})
    await hub.stop("alice")
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice", options={"days_to_live": 2, "privileged": True})
    assert caught.value.status_code == 400
    assert "'privileged'" in caught.value.jupyterhub_message
    assert hub.user("alice").orm_user.orm_spawners[""].user_options == {"days_to_live": 3}
    await hub.start("alice")


async def test_a_server_is_not_renamed_and_the_sentence_says_why(hub):
    spawner = await hub.start("alice", "work")
    with pytest.raises(web.HTTPError, match="cannot be renamed"):
        await spawner.rename("work", "play")


@pytest.mark.parametrize("hub", ["fake", "docker", "kubernetes"], indirect=True)
async def test_an_image_that_cannot_be_pulled_ends_the_start_and_leaves_nothing(hub, missing_image):
    hub.spawner.image = missing_image
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 400
    assert f"The image {missing_image!r} cannot be pulled" in caught.value.jupyterhub_message
    assert await hub.backend.list_workspaces() == []
    assert {each.kind for each in await hub.backend.list_resources()} <= {Kind.NETWORK}


async def test_poll_tells_running_from_stopped(hub):
    spawner = await hub.start("alice")
    assert await spawner.poll() is None
    await hub.stop("alice")
    assert await spawner.poll() is not None
    await spawner.stop(now=True)  # what does not run is stopped
    assert await spawner.poll() is not None


async def test_what_others_may_ask_of_a_workspace_is_there_and_without_a_folder_for_it_no_ssh(hub):
    spawner = await hub.start("alice", "work")
    workspace = find_workspace(spawner)
    assert workspace.identity == Identity(hub.hub_name, "alice", "work")
    assert workspace.backend is hub.backend
    assert workspace.ssh is None
    assert workspace.belief_seconds > 0


async def test_a_workspace_has_an_image_of_which_nothing_newer_is_known(hub):
    spawner = await hub.start("alice")
    image = await spawner.describe_image()
    assert image["reference"] == spawner.image
    assert not image["update_available"]
    assert await spawner.find_update() is None
    with pytest.raises(MLHubError):
        await spawner.begin_update()
