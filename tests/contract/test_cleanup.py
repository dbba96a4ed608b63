"""Cleanup removes the same things wherever workspaces run: just those that are due."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from sqlalchemy.orm import sessionmaker

from mlhub.cleanup.plan import Task
from mlhub.cleanup.service import Cleanup
from mlhub.identity import Identity
from mlhub.settings import Settings

GRACE, DAY = 600, 86_400


class NoRoutes:
    """Where no proxy runs there is no route to be removed."""

    async def delete_user(self, user, server):
        pass


@pytest.fixture
def clocks():
    return SimpleNamespace(wall=0.0, monotonic=0.0)


@pytest.fixture
async def cleanup(hub, clocks, tmp_path):
    users = hub.users
    app = SimpleNamespace(
        db=hub.db,
        session_factory=sessionmaker(bind=hub.db.get_bind()),
        users=users,
        proxy=NoRoutes(),
    )
    return Cleanup(
        app,
        Settings(hub_name=hub.hub_name, data_volume_container=tmp_path, cleanup_most_percent=100),
        hub.backend,
        record=lambda event, **fields: None,
        wall=lambda: time.time() + clocks.wall,
        monotonic=lambda: time.monotonic() + clocks.monotonic,
    )


async def look(hub):
    """Return what the place holds, and what of it is in the trash."""
    return {
        (each.kind, each.user, each.server, each.trashed_at is not None)
        for each in await hub.backend.list_resources()
    }


async def run(cleanup, task):
    report = await cleanup.run(task)
    assert not report.failed, report
    return {(item.kind, item.user, item.server) for item in report.removed}


async def test_exactly_what_is_due_goes(hub, clocks, strangers, cleanup):
    await hub.start("ann", "work")
    await hub.start("bob")
    await hub.start("eve", "over", {"days_to_live": 1})
    stranger = strangers.make("volume-of-bob", Identity("other", "bob").labels)
    described = strangers.describe(stranger)
    before = await look(hub)
    hub.forget("bob")
    # What was made within this second may be newer than the look.
    clocks.wall += 2
    assert await run(cleanup, Task.USERS) == set()
    assert await look(hub) == before
    clocks.monotonic += GRACE
    clocks.wall += GRACE
    bobs = {each for each in before if each[1] == "bob"}
    assert len(bobs) == 3
    assert await run(cleanup, Task.USERS) == {each[:3] for each in bobs}
    bobs_volume = ("volume", "bob", "", True)
    assert await look(hub) == before - bobs | {bobs_volume}

    clocks.wall += 2 * DAY  # somebody sets the clock
    assert await run(cleanup, Task.EXPIRED) == set()
    clocks.monotonic += GRACE
    assert await run(cleanup, Task.EXPIRED) == {("workspace", "eve", "over")}
    assert "over" not in hub.user("eve").orm_spawners
    anns = {each for each in before if each[1] == "ann"}
    assert await look(hub) == anns | {bobs_volume, ("volume", "eve", "over", True)}
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.is_running

    clocks.wall += 20 * DAY
    for _ in range(2):
        assert await run(cleanup, Task.TRASH) == set()
        clocks.monotonic += GRACE
    assert await run(cleanup, Task.TRASH) == {("volume", "bob", ""), ("volume", "eve", "over")}
    assert await look(hub) == anns
    assert strangers.describe(stranger) == described
