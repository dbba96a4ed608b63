"""Cleanup removes the same things wherever workspaces run: just those that are due."""

from __future__ import annotations

import json
import sqlite3
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import sessionmaker

from mlhub.backends.kubernetes import client
from mlhub.cleanup.plan import Task
from mlhub.cleanup.service import Cleanup
from mlhub.errors import BackendError, EvidenceError
from mlhub.identity import Identity
from mlhub.settings import Settings
from mlhub.workspaces.port import Kind
from tests.support.at_hand import HubAtHand
from tests.support.crowd import add_people, make_crowd
from tests.support.elsewhere import answer_all, twist_lists

GRACE, DAY = 600, 86_400
# What stands in place of the engine or API.
ANSWERS = {
    "403": (403, b'{"message": "forbidden"}'),
    "500": (500, b'{"message": "trouble"}'),
    "HTML": (200, b"<!DOCTYPE html><title>Sign in</title>"),
    "[]": (200, b"[]"),
    "truncated JSON": (200, b'{"items": [{"metadata": {"na'),
}


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


# many people


@pytest.fixture
def careful(cleanup, monkeypatch):
    """The same where more than half of what there is of a kind waits for an administrator."""
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.01)  # until an API in trouble is asked again
    cleanup.settings = cleanup.settings.model_copy(update={"cleanup_most_percent": 50})
    return cleanup


async def run_twice(cleanup, clocks, *tasks):
    """Run tasks as far apart that what is due goes; return their last reports."""
    reports = []
    for task in tasks:
        for _ in range(2):
            clocks.wall += GRACE
            clocks.monotonic += GRACE
            report = await cleanup.run(task)
            assert not report.removed, report.removed
        reports.append(report)
    return reports


def connect(file, **named):
    return sessionmaker(bind=create_engine(f"sqlite:///{file}", **named))


def copy_database(db, file, *statements):
    with sqlite3.connect(file) as copy:
        db.get_bind().raw_connection().driver_connection.backup(copy)
        for statement in statements:
            copy.execute(statement)
    copy.close()
    return connect(file)


def list_unreadable(hub, folder):
    """Return databases that are none, or nobody's, by what is wrong with them."""
    copy_database(hub.db, folder / "whole.sqlite")
    whole = (folder / "whole.sqlite").read_bytes()
    (folder / "truncated.sqlite").write_bytes(whole[: len(whole) // 2])
    (folder / "page.sqlite").write_bytes(ANSWERS["HTML"][1] * 100)
    refusing = connect(folder / "whole.sqlite")
    refuse = lambda connection, _: connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)  # noqa: E731
    event.listen(refusing.kw["bind"], "connect", refuse)
    return {
        "403": refusing,
        "500": connect(folder / "missing" / "hub.sqlite"),
        "HTML": connect(folder / "page.sqlite"),
        "truncated": connect(folder / "truncated.sqlite"),
        "[]": copy_database(hub.db, folder / "empty.sqlite", "DELETE FROM users"),
    }


def list_misleading(hub, folder):
    """Return databases that can be read: of a fifth of the people, and of other ones."""
    others = HubAtHand("any", "other", hub.spawner_class)
    add_people(others, [f"other-{number}" for number in range(len(hub.users))])
    fifth = "(SELECT id FROM users ORDER BY id LIMIT (SELECT count(*) / 5 FROM users))"
    return {
        "a fifth": copy_database(
            hub.db, folder / "fifth.sqlite", f"DELETE FROM users WHERE id NOT IN {fifth}"
        ),
        # The others came since, and what seems to have expired was granted more time.
        "stale": copy_database(
            hub.db,
            folder / "stale.sqlite",
            f"DELETE FROM mlhub_people WHERE user_id NOT IN {fifth}",
            f"DELETE FROM users WHERE id NOT IN {fifth}",
            "UPDATE spawners SET state = '{\"expires_at\": 1}' WHERE name = 'over'",
        ),
        "another hub's": copy_database(others.db, folder / "others.sqlite"),
    }


async def misread_database(hub, clocks, cleanup, folder):
    """Have cleanup read wrong databases, none of which lets anything go."""
    app, truth = cleanup.app, (cleanup.app.session_factory, cleanup.app.db)
    for wrong, factory in list_unreadable(hub, folder).items():
        app.session_factory = factory
        for task in (Task.USERS, Task.EXPIRED):
            with pytest.raises(EvidenceError, match="nothing is removed"):
                print(wrong, await cleanup.run(task))
    for wrong, factory in list_misleading(hub, folder).items():
        app.session_factory, app.db = factory, factory()
        orphans, expired = await run_twice(cleanup, clocks, Task.USERS, Task.EXPIRED)
        assert len(orphans.plan.held) > len(hub.users) / 2, wrong
        assert not orphans.plan.due, wrong
        assert {reason for _, reason in expired.kept} <= {"It has more time by now."}
        assert bool(expired.kept) == (wrong == "stale")
        app.db.close()
    app.session_factory, app.db = truth


async def mishear_place(hub, clocks, cleanup):
    """Have cleanup hear wrong answers of the place, none of which lets anything go."""
    for wrong, answer in ANSWERS.items():
        with answer_all(hub, *answer):
            for task in Task:
                with pytest.raises(BackendError):
                    print(wrong, await cleanup.run(task))

    def take_others(found):
        text = json.dumps(found, default=str)
        return json.loads(text.replace(hub.hub_name, "other").replace("person-", "ghost-"))

    for twist in (lambda found: found[: len(found) // 5], lambda found: [], take_others):
        with twist_lists(hub, twist):
            for report in await run_twice(cleanup, clocks, *Task):
                assert not report.plan.due
                assert not report.plan.held


def name_all(crowd, fate, *kinds):
    return {key for each in crowd.identify_all(fate) for k in kinds for key in crowd.name(k, each)}


def tell(crowd, fate, *kinds):
    return {
        (kind, each.user, None if kind is Kind.NETWORK else each.server)
        for each in crowd.identify_all(fate)
        for kind in kinds
    }


@pytest.mark.parametrize("hub", ["docker", "kubernetes"], indirect=True)
@pytest.mark.parametrize(
    ("count", "some"), [(30, 2), pytest.param(1_000, 8, marks=pytest.mark.full)]
)
async def test_of_many_people_just_what_is_due_goes_and_nothing_where_an_answer_is_wrong(
    hub, clocks, careful, tmp_path, count, some
):
    crowd = make_crowd(hub, count, some)
    await crowd.fill()
    there = await crowd.look()
    clocks.wall += 2
    await misread_database(hub, clocks, careful, tmp_path)
    await mishear_place(hub, clocks, careful)
    assert await crowd.look() == there
    assert await crowd.list_trash() == set()

    await crowd.put_into_trash(20, crowd.overdue)
    await crowd.put_into_trash(8, crowd.recent)
    for _ in range(2):
        overdue = await run(careful, Task.TRASH)
        clocks.monotonic += GRACE
    assert overdue == {("volume", name, "") for name in crowd.overdue}
    gone = {key for name in crowd.overdue for key in crowd.name(Kind.VOLUME, crowd.identify(name))}
    trash = {crowd.identify(name).volume(1) for name in crowd.recent}

    crowd.lose()
    assert await run(careful, Task.USERS) == set()
    await crowd.add_ghost("young")
    clocks.monotonic += GRACE
    assert {key: each for key, each in (await crowd.look()).items() if key in there} == {
        key: each for key, each in there.items() if key not in gone
    }
    there = await crowd.look()
    kept = (Kind.WORKSPACE, Kind.VOLUME)
    assert await run(careful, Task.USERS) == tell(crowd, "leaves", *Kind) | tell(
        crowd, "loses", *kept
    )
    gone = name_all(crowd, "leaves", Kind.WORKSPACE, Kind.NETWORK)
    gone |= name_all(crowd, "loses", Kind.WORKSPACE)
    trash |= {each.volume(1) for fate in ("leaves", "loses") for each in crowd.identify_all(fate)}

    clocks.wall += 2 * DAY
    assert await run(careful, Task.EXPIRED) == set()
    clocks.monotonic += GRACE
    assert await run(careful, Task.EXPIRED) == tell(crowd, "expires", Kind.WORKSPACE)
    gone |= name_all(crowd, "expires", Kind.WORKSPACE)
    trash |= {each.volume(1) for each in crowd.identify_all("expires")}
    assert await crowd.look() == {key: each for key, each in there.items() if key not in gone}
    assert await crowd.list_trash() == trash
