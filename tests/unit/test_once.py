"""Work that many ask for: done once, and again after a failure."""

import asyncio

import pytest

from mlhub.backends.background import Once


class Work:
    """Work that a test lets go on, and that fails as often as it says."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.times, self.may_end = failures, 0, asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        await self.may_end.wait()
        if self.times <= self.failures:
            raise OSError("the engine does not answer")
        return self.times


async def test_whoever_asks_at_the_same_time_or_later_gets_the_one_result():
    work = Work()
    once = Once(work)
    asking = [asyncio.create_task(once.get()) for _ in range(3)]
    work.may_end.set()
    assert await asyncio.gather(*asking) == [1, 1, 1]
    assert await once.get() == 1


async def test_a_failure_is_told_to_all_who_wait_and_the_next_one_tries_again():
    work = Work(failures=1)
    once = Once(work)
    asking = [asyncio.create_task(once.get()) for _ in range(2)]
    work.may_end.set()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(failure) for failure in failures] == [OSError, OSError]
    assert await once.get() == 2


async def test_one_who_gives_up_ends_the_work_for_nobody_else():
    work = Work()
    once = Once(work)
    impatient, patient = asyncio.create_task(once.get()), asyncio.create_task(once.get())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    work.may_end.set()
    assert await patient == 1


async def test_a_result_that_is_forgotten_or_no_longer_fresh_is_made_again():
    work = Work()
    work.may_end.set()
    once, stale = Once(work), Once(work, fresh_seconds=-1)
    assert [await once.get(), await once.get()] == [1, 1]
    once.forget()
    assert await once.get() == 2
    assert [await stale.get(), await stale.get()] == [3, 4]
