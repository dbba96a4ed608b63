"""A hub that starts goes on with what runs, whatever its database knows, on every backend."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from sqlalchemy.orm import sessionmaker
from tornado import web

from mlhub.cleanup.plan import Task
from mlhub.cleanup.service import Cleanup
from mlhub.settings import Settings
from mlhub.workspaces import due_stops
from mlhub.workspaces.gaps import note_seen
from mlhub.workspaces.holder import PersonKey
from mlhub.workspaces.port import Kind
from tests.support.at_hand import begin_again


@pytest.fixture
def restart(hub):
    """Start a hub over what there is; return what it is."""
    return partial(begin_again, hub)


async def lose_database(hub):
    if hasattr(hub, "close"):
        await hub.close()
    hub.reset_database()


async def describe(hub):
    return {
        (each.kind, each.name, each.created_at, each.trashed_at)
        for each in await hub.backend.list_resources()
    }


async def test_what_runs_is_gone_on_with_where_the_database_was_lost(hub, restart):
    await hub.start("ann")
    work = await hub.start("ann", "work")
    await hub.start("bob")
    await hub.stop("bob")
    token, before = work.api_token, await describe(hub)
    await lose_database(hub)
    await restart()
    assert await describe(hub) == before
    ann, bob = hub.user("ann"), hub.user("bob")
    assert not ann.admin
    assert set(ann.orm_spawners) == {"", "work"}
    for server in ("", "work"):
        assert ann.spawners[server].ready
        assert ann.spawners[server].reservation is not None
        assert await ann.spawners[server].poll() is None
    assert not bob.orm_spawners[""].server
    if work.backend.__class__.__name__ != "FakeBackend" and hasattr(hub, "client"):
        assert orm.APIToken.find(hub.db, token).user is ann.orm_user
    await hub.stop("ann", "work")
    running = [each for each in await hub.backend.list_workspaces() if each.is_running]
    assert [(each.identity.user, each.identity.server) for each in running] == [("ann", "")]


async def test_an_expiry_outlives_the_hub_and_the_loss_of_its_database(hub, restart):
    expires_at = (await hub.start("ann", options={"days_to_live": 1})).expires_at
    await hub.start("bob")
    await restart()
    assert hub.user("ann").spawners[""].expires_at == expires_at
    await lose_database(hub)
    await restart()
    assert hub.user("ann").spawners[""].ready
    assert hub.user("ann").spawners[""].expires_at == expires_at
    assert not hub.user("bob").spawners[""].expires_at


async def test_a_server_newer_than_a_restored_database_is_there_again_and_no_orphan(
    hub, restart, tmp_path
):
    """The database is a day old: it knows ann, neither her new server nor eve."""
    await hub.start("ann")
    await hub.start("ann", "new")
    label = (await hub.start("eve")).holder.label
    before = await describe(hub)
    row = hub.user("ann").orm_spawners["new"]
    for each in (row, hub.user("eve").orm_user):
        hub.db.delete(each)
    hub.db.query(PersonKey).filter(PersonKey.name == "eve").delete()
    note_seen(hub.db, time.time() - 86_400)
    app = await restart()
    assert hub.user("ann").spawners["new"].ready
    assert hub.user("eve").spawners[""].ready
    assert hub.user("eve").spawners[""].holder.label == label
    clock = SimpleNamespace(now=0.0)
    app.session_factory = sessionmaker(bind=hub.db.get_bind())
    cleanup = Cleanup(
        app,
        Settings(hub_name=hub.hub_name, data_volume_container=tmp_path, cleanup_most_percent=100),
        hub.backend,
        record=lambda event, **fields: None,
        wall=lambda: time.time() + clock.now,
        monotonic=lambda: time.monotonic() + clock.now,
    )
    for _ in range(3):
        clock.now += 1000
        assert (await cleanup.run(Task.USERS)).removed == []
    assert await describe(hub) == before


async def test_whoever_was_deleted_is_not_made_again_and_what_they_had_is_left_alone(hub, restart):
    await hub.start("bob")
    before = await describe(hub)
    hub.forget("bob")
    await restart()
    assert orm.User.find(hub.db, "bob") is None
    assert await describe(hub) == before


async def test_a_site_that_lets_in_whom_its_database_knows_gets_nobody_by_labels(hub, restart):
    await hub.start("bob")
    await hub.start("ann")
    before = await describe(hub)
    await lose_database(hub)
    await restart(allow_all=False, allowed_users={"ann"}, blocked_users={"eve"})
    assert orm.User.find(hub.db, "bob") is None
    assert hub.user("ann").spawners[""].ready
    assert await describe(hub) == before


async def delete(hub, name, server):
    """Delete a server as JupyterHub does it: it forgets the server whatever happens."""
    user = hub.user(name)
    spawner = user.spawners[server]
    await user._delete_spawner(spawner)
    hub.db.delete(spawner.orm_spawner)
    user.spawners.pop(server)
    hub.db.commit()


def end_hub(hub):
    """Have the hub forget what it does in the background, as one that is killed does."""
    stops = hub.user("somebody").get_or_create_spawner("", "").site.stops
    for due in (hub.backend._deletions, stops._due):
        for task, _ in due.values():
            task.cancel()
        due.clear()


async def list_volumes(hub):
    return {
        each.name: each.trashed_at is not None
        for each in await hub.backend.list_resources()
        if each.kind is Kind.VOLUME
    }


@pytest.mark.parametrize("comes_first", ["restart", "start"])
async def test_a_deletion_outlives_the_hub_and_nobody_gets_what_was_deleted(
    hub, restart, away, comes_first
):
    await hub.start("ann", "work")
    await hub.stop("ann", "work")
    (first,) = await list_volumes(hub)
    with away():
        await delete(hub, "ann", "work")
    end_hub(hub)
    if comes_first == "restart":
        await restart()
        assert "work" not in hub.user("ann").orm_spawners
        assert await list_volumes(hub) == {first: True}
        assert await hub.backend.list_workspaces() == []
    await hub.start("ann", "work")
    volumes = await list_volumes(hub)
    assert volumes.pop(first) is True
    assert list(volumes.values()) == [False]
    # What was made since is no part of that deletion.
    await restart()
    assert list((await list_volumes(hub)).values()).count(False) == 1
    assert hub.user("ann").spawners["work"].ready


@pytest.mark.parametrize("hub", ["fake", "docker", "kubernetes"], indirect=True)
async def test_a_stop_that_the_place_missed_is_done_when_it_is_back_unless_a_start_came_first(
    hub, restart, away, monkeypatch
):
    monkeypatch.setattr(due_stops, "RETRY_SECONDS", 0.2)

    async def stop_in_vain(name):
        with away(), pytest.raises(web.HTTPError):
            await hub.stop(name)
        assert not hub.user(name).orm_spawners[""].server

    async def list_running():
        found = await hub.backend.list_workspaces()
        return [each.identity.user for each in found if each.is_running]

    async def wait_until_nothing_runs():
        async with asyncio.timeout(60):
            while await list_running():
                await asyncio.sleep(0.1)

    spawner = await hub.start("ann")
    await stop_in_vain("ann")
    await wait_until_nothing_runs()

    await hub.start("ann")
    await stop_in_vain("ann")
    end_hub(hub)  # and one that starts does not take it for what was never stopped
    await restart()
    assert not hub.user("ann").spawners[""].active
    await wait_until_nothing_runs()

    await hub.start("ann")
    monkeypatch.setattr(due_stops, "RETRY_SECONDS", 3600)
    await stop_in_vain("ann")
    assert await list_running() == ["ann"]
    await hub.start("ann")
    assert not spawner.site.stops.is_due(spawner.identity)
    end_hub(hub)
    await restart()
    assert await list_running() == ["ann"]
    assert hub.user("ann").spawners[""].ready
