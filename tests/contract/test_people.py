"""A name that is taken again is another person: nothing that was made for the one before is used
for them, and nothing is lost.
"""

import pytest

from mlhub.identity import Identity
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Kind


async def list_volumes(hub, user):
    """Return the names of live volumes and of those in the trash."""
    found = [
        resource
        for resource in await hub.backend.list_resources(user)
        if resource.kind is Kind.VOLUME
    ]
    return {each.name for each in found if each.trashed_at is None}, {
        each.name for each in found if each.trashed_at is not None
    }


async def test_everything_with_data_or_a_process_tells_whose_it_is(hub):
    spawner = await hub.start("alice")
    found = [
        resource
        for resource in await hub.backend.list_resources("alice")
        if resource.kind is not Kind.NETWORK
    ]
    assert {resource.kind for resource in found} == {Kind.WORKSPACE, Kind.VOLUME}
    assert {resource.labels[LABEL_PERSON] for resource in found} == {spawner.holder.label}


@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
async def test_whoever_takes_a_name_again_gets_neither_the_data_nor_the_workspace_of_the_one_before(
    hub, is_running
):
    identity = Identity(hub.hub_name, "alice")
    spawner = await hub.start("alice")
    before, token = spawner.holder.label, spawner.api_token
    first, _ = await list_volumes(hub, "alice")
    if not is_running:
        await hub.stop("alice")
    hub.forget("alice")
    spawner = await hub.start("alice")
    live, trashed = await list_volumes(hub, "alice")
    assert trashed == first
    assert len(live) == 1
    (workspace,) = await hub.backend.list_workspaces("alice")
    assert (workspace.identity, workspace.is_running) == (identity, True)
    assert workspace.labels[LABEL_PERSON] == spawner.holder.label != before
    assert spawner.api_token != token
    # What goes with the second one is their own.
    await hub.stop("alice")
    await spawner.delete_forever()
    assert await list_volumes(hub, "alice") == (set(), first | live)


async def test_the_same_person_gets_the_same_data_each_time_and_after_a_lost_database(hub):
    await hub.start("alice")
    first = await list_volumes(hub, "alice")
    await hub.stop("alice")
    await hub.start("alice")
    assert await list_volumes(hub, "alice") == first
    await hub.stop("alice")
    if hasattr(hub, "close"):
        await hub.close()
    hub.reset_database()
    await hub.start("alice")
    assert await list_volumes(hub, "alice") == first


async def test_what_a_lost_database_left_goes_to_the_first_of_that_name_and_to_nobody_after(hub):
    await hub.start("alice")
    first, _ = await list_volumes(hub, "alice")
    await hub.stop("alice")
    if hasattr(hub, "close"):
        await hub.close()
    hub.reset_database()
    hub.user("alice")
    hub.forget("alice")
    await hub.start("alice")
    live, trashed = await list_volumes(hub, "alice")
    assert trashed == first
    assert not live & first
