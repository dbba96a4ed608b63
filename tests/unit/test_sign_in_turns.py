"""Who is let try a password, and when: turns by lane and source, failures by name and place,
guesses of a name in all.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from mlhub.errors import CapacityError, TooManyAttemptsError
from mlhub.signin.native.attempts import GUESSES_OF_STRANGERS, Attempt, Attempts
from mlhub.signin.native.turns import Turns
from mlhub.signin.origin import find_source


class Served:
    """People who wait for a turn, and the order in which they had it."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.order, self.open = turns, [], asyncio.Event()

    async def come(self, name: str, source: str, lane: int = 0) -> asyncio.Task[None]:
        """Let somebody come, and wait until they stand in line."""
        task = asyncio.create_task(self._have_turn(name, source, lane))
        await asyncio.sleep(0)
        return task

    async def _have_turn(self, name: str, source: str, lane: int) -> None:
        async with self.turns.take(source, lane):
            await self.open.wait()
            self.order.append(name)


async def test_somebody_else_waits_for_one_of_a_crowd_and_not_for_all_of_it():
    served = Served(Turns(1))
    crowd = [await served.come(f"crowd-{number}", "crowd") for number in range(10)]
    other = await served.come("other", "elsewhere")
    served.open.set()
    await asyncio.gather(*crowd, other)
    assert served.order[:3] == ["crowd-0", "crowd-1", "other"]
    assert served.order[3:] == [f"crowd-{number}" for number in range(2, 10)]


async def test_each_lane_gets_its_share_whatever_crowd_is_in_another():
    served = Served(Turns(1, lanes=2))
    crowd = [await served.come("crowd", f"address-{number}", 1) for number in range(20)]
    known = [await served.come("known", f"browser-{number}", 0) for number in range(5)]
    served.open.set()
    await asyncio.gather(*crowd, *known)
    assert served.order[:11].count("known") == 5


async def test_all_of_a_school_behind_one_address_have_their_turn():
    served = Served(Turns(2))
    school = [await served.come(str(number), "school") for number in range(400)]
    served.open.set()
    await asyncio.gather(*school)
    assert served.order == [str(number) for number in range(400)]


async def test_what_waits_is_bounded_and_the_largest_crowd_gives_way():
    served = Served(Turns(1, per_source=6, per_lane=8))
    crowd = [await served.come("crowd", "crowd") for _ in range(7)]
    with pytest.raises(CapacityError, match="Try again"):
        await (await served.come("one more", "crowd"))
    others = [await served.come(f"other-{number}", f"address-{number}") for number in range(4)]
    served.open.set()
    results = await asyncio.gather(*crowd, *others, return_exceptions=True)
    assert [type(result) for result in results if result] == [CapacityError] * 2
    assert sorted(served.order) == ["crowd"] * 5 + [f"other-{number}" for number in range(4)]


async def test_a_turn_of_somebody_who_has_gone_is_the_next_ones():
    turns = Turns(1)
    served = Served(turns)
    first, gone, last = [await served.come(name, name) for name in ("first", "gone", "last")]
    gone.cancel()
    served.open.set()
    await asyncio.gather(first, last)
    with suppress(asyncio.CancelledError):
        await gone
    assert served.order == ["first", "last"]
    async with turns.take("again"):  # no turn was lost
        pass


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        (None, ""),
        ("unix", "unix"),
    ],
)
def test_an_address_counts_for_itself_and_one_of_ipv6_for_its_network(address, source):
    assert find_source(address) == source


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def attempts(clock):
    return Attempts(5, 600, 1, clock=clock)


async def guess(attempts, name, source, browser=""):
    """Try a wrong password; tell whether it was tried at all."""
    attempt = Attempt(name, source, browser)
    try:
        async with attempts.turn(attempt):
            attempts.fail(attempt)
    except TooManyAttemptsError:
        return False
    return True


async def sign_in(attempts, name, source, browser=""):
    attempt = Attempt(name, source, browser)
    async with attempts.turn(attempt):
        attempts.succeed(attempt)


async def test_failures_lock_a_name_for_the_place_they_came_from_and_for_no_other(attempts, clock):
    assert [await guess(attempts, "admin", "here") for _ in range(6)] == [True] * 5 + [False]
    with pytest.raises(TooManyAttemptsError, match=r"for this name\. Try again in 10 minutes\."):
        await sign_in(attempts, "admin", "here")
    await sign_in(attempts, "admin", "there")
    await sign_in(attempts, "admin", "here", browser="known")
    clock.now = 600
    await sign_in(attempts, "admin", "here")


async def test_all_strangers_together_guess_a_bounded_number_of_times_and_keep_nobody_out_who_is_known(  # noqa: E501
    attempts, clock
):
    await sign_in(attempts, "admin", "home")
    tried = sum(
        [
            await guess(attempts, "admin", f"address-{number}")
            for number in range(60)
            for _ in range(5)
        ]
    )
    assert tried == GUESSES_OF_STRANGERS == 100
    with pytest.raises(
        TooManyAttemptsError, match=r"for this name from many places.*Use a browser in which"
    ) as told:
        await sign_in(attempts, "admin", "a-new-place")
    assert told.value.wait == 36
    await sign_in(attempts, "admin", "home")
    await sign_in(attempts, "admin", "a-new-place", browser="known")
    await sign_in(attempts, "somebody-else", "address-1")
    clock.now += 36
    await sign_in(attempts, "admin", "a-new-place")
    clock.now += 24 * 3600
    tried = sum(
        [
            await guess(attempts, "admin", f"later-{number}")
            for number in range(60)
            for _ in range(5)
        ]
    )
    assert tried == GUESSES_OF_STRANGERS


async def test_a_known_browser_guesses_no_more_often_than_an_address_does(attempts):
    assert [
        await guess(attempts, "admin", f"address-{number}", "stolen") for number in range(6)
    ] == [True] * 5 + [False]


async def test_a_new_password_forgets_what_was_guessed_of_the_old_one(attempts):
    for _ in range(5):
        await guess(attempts, "admin", "here")
    assert not await guess(attempts, "admin", "here")
    attempts.forget("admin")
    await sign_in(attempts, "admin", "here")


async def test_switched_off_nothing_is_refused(clock):
    attempts = Attempts(0, 600, 1, clock=clock)
    assert all([await guess(attempts, "admin", "here") for _ in range(300)])
