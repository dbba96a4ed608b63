"""Stops that are tried again."""

import asyncio

import pytest

from mlhub.errors import BackendError, NameTakenError
from mlhub.identity import Identity
from mlhub.workspaces import due_stops
from mlhub.workspaces.due_stops import DueStops

ANN = Identity("hub", "ann")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(due_stops, "RETRY_SECONDS", 0)


async def wait_until_done(stops):
    async with asyncio.timeout(10):
        while stops.is_due(ANN):
            await asyncio.sleep(0)


async def test_a_stop_is_tried_until_it_is_done_and_once_however_often_it_failed():
    stops, tries = DueStops(), []

    async def stop():
        tries.append("stop")
        if len(tries) < 3:
            raise BackendError("The place is away.")

    stops.add(ANN, stop)
    stops.add(ANN, stop)
    await wait_until_done(stops)
    assert len(tries) == 3


async def test_what_is_somebody_elses_by_now_is_not_stopped():
    stops, tries = DueStops(), []

    async def stop():
        tries.append("stop")
        raise NameTakenError("It is bob's.")

    stops.add(ANN, stop)
    await wait_until_done(stops)
    assert len(tries) == 1


async def test_a_start_waits_for_the_stop_that_is_under_way_and_none_follows():
    stops, steps = DueStops(), []
    began, may_end = asyncio.Event(), asyncio.Event()

    async def stop():
        steps.append("began")
        began.set()
        await may_end.wait()
        steps.append("ended")
        raise BackendError("Its answer was lost.")

    stops.add(ANN, stop)
    await began.wait()
    start = asyncio.create_task(stops.forget(ANN))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not start.done()
    may_end.set()
    await start
    for _ in range(5):
        await asyncio.sleep(0)
    assert steps == ["began", "ended"]
    assert not stops.is_due(ANN)
