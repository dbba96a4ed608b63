"""Deleting never loses data: what is in the trash, what brings it back, and what is final."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tornado import web

from mlhub.errors import NameTakenError, VolumeGoneError, VolumeInUseError
from mlhub.identity import Identity
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Kind, Reason, Recipient


async def list_volumes(hub):
    return [each for each in await hub.backend.list_resources() if each.kind is Kind.VOLUME]


async def delete(hub, user="alice"):
    """Start, stop and delete a workspace, and return its volume, which is in the trash."""
    spawner = await hub.start(user)
    await hub.stop(user)
    await spawner.delete_forever()
    return (await list_volumes(hub))[-1]


async def test_deleting_a_workspace_leaves_its_data_in_the_trash_and_nothing_else(hub):
    spawner = await hub.start("alice")
    await hub.stop("alice")
    await spawner.delete_forever()
    (resource,) = await hub.backend.list_resources()
    assert resource.kind is Kind.VOLUME
    assert abs(resource.trashed_at - time.time()) < 5


async def test_a_name_used_again_gets_another_volume(hub):
    for _ in range(2):
        await delete(hub)
    await hub.start("alice")
    volumes = await list_volumes(hub)
    assert len({volume.name for volume in volumes}) == 3
    assert [volume.trashed_at is None for volume in volumes].count(True) == 1


async def test_removing_a_volume_puts_it_into_the_trash_and_removing_it_there_is_final(hub):
    await hub.start("alice")
    await hub.stop("alice")
    (volume,) = await list_volumes(hub)
    assert volume.trashed_at is None
    await hub.backend.remove(volume)
    (trashed,) = await list_volumes(hub)
    assert trashed.trashed_at
    await hub.backend.remove(volume)  # as it was listed before: once more changes nothing
    assert await list_volumes(hub) == [trashed]
    await hub.backend.remove(trashed)
    assert await list_volumes(hub) == []
    await hub.backend.remove(trashed)
    with pytest.raises(VolumeGoneError, match=f"'{trashed.name}'.*removed for good"):
        await hub.backend.restore(trashed)


async def test_data_that_a_running_workspace_uses_is_not_removed_for_good(hub):
    await hub.start("alice")
    (volume,) = await list_volumes(hub)
    await hub.backend.remove(volume)
    (trashed,) = await list_volumes(hub)
    with pytest.raises(VolumeInUseError, match=f"'{trashed.name}'.*Stop it first"):
        await hub.backend.remove(trashed)
    assert await list_volumes(hub) == [trashed]
    await hub.stop("alice")
    await hub.backend.remove(trashed)
    assert await list_volumes(hub) == []


async def test_data_comes_back_from_the_trash_unless_the_name_has_other_data_by_now(hub):
    trashed = await delete(hub)
    await hub.backend.restore(trashed)
    await hub.start("alice")
    (volume,) = await list_volumes(hub)
    assert (volume.name, volume.trashed_at) == (trashed.name, None)
    await hub.stop("alice")
    await hub.user("alice").spawners[""].delete_forever()
    await hub.start("alice")
    (live,) = [each for each in await list_volumes(hub) if each.trashed_at is None]
    with pytest.raises(NameTakenError, match=f"'{live.name}' by now, so '{trashed.name}'"):
        await hub.backend.restore(trashed)


async def test_restoring_what_is_not_in_the_trash_changes_nothing(hub):
    trashed = await delete(hub)
    for _ in range(2):
        await hub.backend.restore(trashed)
        (live,) = await list_volumes(hub)
        assert (live.name, live.trashed_at) == (trashed.name, None)
    # Whoever emptied the trash by a list from before has not meant this.
    await hub.backend.remove(trashed)
    assert await list_volumes(hub) == [live]
    (workspace,) = await hub.backend.list_workspaces()
    assert (workspace.identity.user, workspace.is_running) == ("alice", False)


async def test_nobody_restores_or_removes_the_data_of_another_workspace(hub):
    trashed = await delete(hub)
    for other in (replace(trashed, user="bob"), replace(trashed, server="two")):
        with pytest.raises(VolumeGoneError):
            await hub.backend.restore(other)
        await hub.backend.remove(other)
        await hub.backend.remove(replace(other, trashed_at=None))
    assert await list_volumes(hub) == [trashed]


async def test_deleting_twice_is_deleting_once(hub):
    trashed = await delete(hub)
    await hub.backend.delete_workspace(Identity(hub.hub_name, "alice"))
    await hub.user("alice").spawners[""].delete_forever()
    assert await hub.backend.list_resources() == [trashed]
    await hub.backend.delete_workspace(Identity(hub.hub_name, "nobody", "ever"))
    assert await hub.backend.list_resources() == [trashed]


async def test_a_deletion_that_the_place_refused_is_done_before_the_name_is_used_again(hub, away):
    spawner = await hub.start("alice")
    await hub.stop("alice")
    (before,) = await list_volumes(hub)
    with away(), pytest.raises(web.HTTPError) as caught:
        await spawner.delete_forever()
    assert caught.value.status_code == 503
    await hub.start("alice")
    live, trashed = sorted(await list_volumes(hub), key=lambda each: each.trashed_at or 0)
    assert (trashed.name, live.trashed_at) == (before.name, None)
    assert live.name != before.name


# given to somebody else, and why it is there

# The rules are the same code everywhere; what differs by place is in the first of these.
SHARED = pytest.mark.parametrize(
    "hub",
    [
        "fake",
        pytest.param("docker", marks=pytest.mark.full),
        pytest.param("kubernetes", marks=pytest.mark.full),
    ],
    indirect=True,
)


def recipient(hub, user, server=""):
    spawner = hub.user(user).get_or_create_spawner(server, server)
    return Recipient(Identity(hub.hub_name, user, server), spawner.holder.label)


async def test_what_is_given_to_somebody_else_is_theirs_and_nobody_elses_with_every_byte(
    hub, files
):
    await hub.start("alice")
    await files.write("alice", "", "words")
    await hub.stop("alice")
    await hub.user("alice").spawners[""].delete_forever()
    (trashed,) = await list_volumes(hub)
    await hub.backend.restore(trashed, recipient(hub, "bob", "gift"))
    (given,) = await list_volumes(hub)
    assert (given.name, given.user, given.server) == (trashed.name, "bob", "gift")
    assert (given.trashed_at, given.trashed_because) == (None, Reason.UNKNOWN)
    # Neither the one it was made for nor anybody of that name finds it, nor makes it anew.
    assert [each for each in await hub.backend.list_resources("alice") if each == given] == []
    await hub.start("bob", "gift")
    assert await files.read("bob", "gift") == "words"
    await hub.start("alice")
    alices = [each for each in await list_volumes(hub) if each.user == "alice"]
    assert [each.trashed_at for each in alices] == [None]
    assert alices[0].name != given.name
    # Theirs as if it had been made for them: in the trash, back, and gone for good.
    await hub.stop("bob", "gift")
    await hub.user("bob").get_or_create_spawner("gift", "gift").delete_forever()
    (again,) = [each for each in await list_volumes(hub) if each.user == "bob"]
    assert again.trashed_at
    assert again.trashed_because is Reason.DELETED
    await hub.backend.restore(again)
    assert [each.name for each in await list_volumes(hub) if each.trashed_at is not None] == []
    await hub.backend.remove(replace(again, trashed_at=None))
    (again,) = [each for each in await list_volumes(hub) if each.user == "bob"]
    await hub.backend.remove(again)
    assert await list_volumes(hub) == alices


@SHARED
async def test_whoever_has_the_name_now_can_be_given_what_the_one_before_left(hub):
    trashed = await delete(hub)
    hub.forget("alice")
    to = recipient(hub, "alice")
    assert trashed.labels[LABEL_PERSON] != to.person
    await hub.backend.restore(trashed, to)
    spawner = await hub.start("alice")
    (volume,) = await list_volumes(hub)
    assert (volume.name, volume.trashed_at) == (trashed.name, None)
    assert volume.labels[LABEL_PERSON] == spawner.holder.label


@SHARED
async def test_nothing_is_given_to_a_workspace_that_has_data_or_away_from_one_that_runs(hub):
    trashed = await delete(hub)
    await hub.start("bob")
    with pytest.raises(NameTakenError, match=f"'{trashed.name}' cannot come back under it"):
        await hub.backend.restore(trashed, recipient(hub, "bob"))
    (bobs,) = [each for each in await list_volumes(hub) if each.user == "bob"]
    await hub.backend.remove(bobs)
    (bobs,) = [each for each in await list_volumes(hub) if each.user == "bob"]
    with pytest.raises(VolumeInUseError, match=f"'{bobs.name}'.*Stop it first"):
        await hub.backend.restore(bobs, recipient(hub, "carol"))
    assert await list_volumes(hub) == [trashed, bobs]
    await hub.stop("bob")
    await hub.backend.restore(bobs, recipient(hub, "carol"))
    with pytest.raises(VolumeGoneError, match=f"'{bobs.name}' any more"):
        await hub.backend.restore(bobs, recipient(hub, "dave"))
    assert {each.user: each.trashed_at for each in await list_volumes(hub)} == {
        "alice": trashed.trashed_at,
        "carol": None,
    }


@SHARED
async def test_the_trash_knows_why_something_is_there(hub):
    await hub.start("alice")
    await hub.stop("alice")
    await hub.backend.delete_workspace(Identity(hub.hub_name, "alice"), Reason.EXPIRED)
    await hub.start("bob")
    await hub.stop("bob")
    hub.forget("bob")
    await hub.start("bob")
    (bobs,) = [
        each for each in await list_volumes(hub) if each.user == "bob" and not each.trashed_at
    ]
    await hub.stop("bob")
    await hub.backend.remove(bobs, Reason.ORPHANED)
    assert [each.trashed_because for each in await list_volumes(hub)] == [
        Reason.EXPIRED,
        Reason.NAME_TAKEN,
        Reason.ORPHANED,
    ]


@SHARED
async def test_a_deletion_that_is_still_due_does_not_take_along_what_came_back(hub, away):
    trashed = await delete(hub)
    spawner = await hub.start("alice")
    await hub.stop("alice")
    with away(), pytest.raises(web.HTTPError):
        await spawner.delete_forever()
    await hub.backend.restore(trashed)
    live = [each.name for each in await list_volumes(hub) if each.trashed_at is None]
    assert live == [trashed.name]
    await hub.backend.finish_deletion(Identity(hub.hub_name, "alice"))
    assert [each.name for each in await list_volumes(hub) if not each.trashed_at] == live
