"""When a workspace expires, whatever the place can still write on it."""

from mlhub.workspaces.port import find_expiry


async def test_an_expiry_that_was_put_off_is_the_one_that_holds_and_the_label_counts_where_the_database_was_lost(  # noqa: E501
    hub,
):
    spawner = await hub.start("alice", options={"days_to_live": 1})
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.expires_at == spawner.expires_at
    assert find_expiry(workspace, spawner.get_state()) == spawner.expires_at
    before = spawner.expires_at
    spawner.extend(5)
    await spawner.note_expiry()
    (workspace,) = await hub.backend.list_workspaces()
    assert find_expiry(workspace, spawner.get_state()) == spawner.expires_at > before + 3 * 86_400
    assert find_expiry(workspace, None) in (before, spawner.expires_at)


async def test_a_workspace_that_is_to_stay_for_ever_does_whatever_its_label_says(hub):
    spawner = await hub.start("alice", options={"days_to_live": 1})
    spawner.extend(0)
    await spawner.note_expiry()
    (workspace,) = await hub.backend.list_workspaces()
    assert find_expiry(workspace, spawner.get_state()) is None
    assert find_expiry(workspace, {"expires_at": None}) == workspace.expires_at
