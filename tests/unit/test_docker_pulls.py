"""The engine's events of a pull, added up."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mlhub.backends.docker.pulls import Pull, PullState

STATUSES = [
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    "Pull complete",
]
AMOUNTS = st.integers(min_value=0, max_value=10**10)
EVENTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(
            [*STATUSES, "Already exists", "Pulling from library/x", "Retrying in 5 seconds"]
        )
    },
    optional={
        "id": st.sampled_from(["aa", "bb", "cc", "latest"]),
        "progressDetail": st.one_of(
            st.just({}),
            st.fixed_dictionaries(
                {}, optional={"current": AMOUNTS, "total": AMOUNTS, "units": st.just("s")}
            ),
        ),
    },
)


def layer(status, name="aa", **detail):
    return {"status": status, "id": name, "progressDetail": detail}


@given(st.lists(EVENTS, max_size=60))
def test_whatever_the_engine_tells_the_percentage_never_goes_back_or_out_of_range(events):
    state, last = PullState("a:1"), 0.0
    for event in events:
        state.add(event)
        assert last <= state.percent <= 100.0
        assert state.message.startswith("Pulling a:1")
        last = state.percent


def test_layers_weigh_as_much_as_they_are_large():
    state = PullState("a:1")
    for event in [layer("Pulling fs layer", "small"), layer("Pulling fs layer", "large")]:
        state.add(event)
    assert state.percent == 0
    state.add(layer("Downloading", "large", current=0, total=900))
    state.add(layer("Downloading", "small", current=100, total=100))
    assert 7 < state.percent < 8  # three quarters of a tenth
    state.add(layer("Pull complete", "small"))
    assert state.percent == 10
    state.add(layer("Pull complete", "large"))
    assert state.percent == 100


def test_the_message_tells_layers_and_bytes_and_that_sizes_may_be_missing():
    state = PullState("a:1")
    state.add({"status": "Pulling from a", "id": "1"})
    assert state.message == "Pulling a:1"
    state.add(layer("Pulling fs layer", "aa"))
    state.add(layer("Pulling fs layer", "bb"))
    state.add(layer("Downloading", "aa", current=2_000_000, total=5_000_000))
    assert state.message == "Pulling a:1: 0 of 2 layers, 2.0 MB of 5.0 MB or more"
    state.add(layer("Downloading", "bb", current=0, total=3_000_000_000))
    state.add(layer("Pull complete", "aa"))
    assert state.message == "Pulling a:1: 1 of 2 layers, 5.0 MB of 3.0 GB"


def test_layers_that_are_here_do_not_count():
    state = PullState("a:1")
    state.add(layer("Already exists", "aa"))
    assert (state.layers, state.message) == ({}, "Pulling a:1")


async def test_a_late_listener_learns_at_once_how_far_the_pull_is():
    pull, early, late = Pull("a:1"), [], []
    pull.listen(lambda *report: early.append(report))
    pull.feed(layer("Downloading", current=50, total=100))
    pull.listen(lambda *report: late.append(report))
    assert early[-1] == late[0]
    pull.finish()
    assert early[-1] == late[-1] == (100.0, "a:1 is here")


async def test_many_small_events_are_told_once_per_percent():
    pull, reports = Pull("a:1"), []
    pull.listen(lambda *report: reports.append(report))
    for current in range(10_001):
        pull.feed(layer("Downloading", current=current, total=10_000))
        if current % 1000 == 0:
            await asyncio.sleep(0)
    assert 50 <= len(reports) <= 85  # 75 percent, and what half seconds may add
