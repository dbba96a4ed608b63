"""What is ground enough to remove something: whom the hub knows, whose an object is, the time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub import orm
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool

from mlhub.cleanup.census import take_census
from mlhub.cleanup.evidence import GRACE_SECONDS, Census, Sightings, SteadyClock, is_ours
from mlhub.errors import EvidenceError
from mlhub.identity import Identity
from mlhub.workspaces.gaps import Gap
from mlhub.workspaces.holder import PersonKey, ensure_keys
from mlhub.workspaces.port import Kind, Resource

NOW = 1_800_000_000.0
WHOLE = Census({"ann": {"": {}, "lab": {}}, "bob": {}}, 2, NOW, NOW)


class Clocks:
    """A time of day that somebody may set, and a clock that nobody sets."""

    def __init__(self):
        self.now, self.ahead = 100.0, NOW

    def wall(self):
        return self.now + self.ahead

    def monotonic(self):
        return self.now


def make_resource(kind, user, server=None, hub="mlhub", **changes):
    identity = Identity(hub, user, server or "")
    labels = identity.user_labels if kind is Kind.NETWORK else identity.labels
    made = Resource(kind, identity.container, user, server, NOW - 60, labels=labels)
    return replace(made, **changes)


# whom the hub knows


def test_a_whole_fresh_census_is_ground():
    WHOLE.check(NOW + 1)


@pytest.mark.parametrize(
    ("census", "now"),
    [
        (replace(WHOLE, people={}, count=0), NOW),
        (replace(WHOLE, people={}), NOW),
        (replace(WHOLE, count=1000), NOW),
        (replace(WHOLE, count=1), NOW),
        (WHOLE, NOW + 3600),
        (WHOLE, NOW - 3600),
        (replace(WHOLE, read_at=NOW - 1), NOW),
    ],
    ids=["nobody", "none read", "part", "more", "stale", "future", "read before the list"],
)
def test_a_census_that_is_empty_partial_or_stale_is_no_ground(census, now):
    with pytest.raises(EvidenceError, match="nothing is removed"):
        census.check(now)


def test_somebody_is_known_by_the_exact_name_and_everybody_has_a_default_server():
    def explain(user, server):
        return WHOLE.explain_unknown(make_resource(Kind.WORKSPACE, user, server))

    assert [explain("ann", "lab"), explain("ann", ""), explain("bob", "")] == ["", "", ""]
    assert explain("Ann", "") == "The hub knows nobody named 'Ann'."
    assert explain("bob", "lab") == "'bob' has no server 'lab'."
    assert WHOLE.explain_unknown(make_resource(Kind.NETWORK, "bob")) == ""


async def test_the_database_is_read_whole_and_one_that_does_not_answer_is_no_ground(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/hub.sqlite")
    orm.Base.metadata.create_all(engine)
    factory = sessionmaker(bind=engine)
    with factory() as session:
        key = ensure_keys(session).key
        ann, bob, gone = (orm.User(name=name) for name in ("ann", "bob", "gone"))
        session.add_all([ann, bob, gone])
        session.add(orm.Spawner(user=ann, name="lab", state={"expires_at": 5, "other": 1}))
        session.add(orm.Spawner(user=ann, name="odd", state={"expires_at": "soon"}))
        session.commit()
        holders = frozenset(f"{key}.{row.key}" for row in session.query(PersonKey))
        assert len(holders) == 3
        session.delete(gone)
        session.commit()
    census = await take_census(factory, NOW, lambda: NOW)
    assert census == Census(
        {"ann": {"lab": {"expires_at": 5}, "odd": {}}, "bob": {}}, 2, NOW, NOW, holders
    )
    with factory() as session:
        session.execute(text("ALTER TABLE spawners RENAME TO lost"))
        session.commit()
    with pytest.raises(EvidenceError, match=r"does not answer.*spawners.*nothing is removed"):
        await take_census(factory, NOW, lambda: NOW)


def test_a_database_in_memory_is_read_by_its_one_connection():
    engine = create_engine("sqlite:///:memory:", poolclass=StaticPool)
    orm.Base.metadata.create_all(engine)
    factory = sessionmaker(bind=engine)
    with factory() as session:
        session.add(orm.User(name="ann"))
        session.commit()
    assert asyncio.run(take_census(factory, NOW, lambda: NOW)).people == {"ann": {}}


# whose an object is


def test_only_what_carries_our_full_labels_is_ours():
    workspace, network = (
        make_resource(Kind.WORKSPACE, "ann", "lab"),
        make_resource(Kind.NETWORK, "ann"),
    )
    assert is_ours("mlhub", workspace)
    assert is_ours("mlhub", network)
    assert not is_ours("other", workspace)
    assert not is_ours("mlhub", replace(workspace, labels={}))
    assert not is_ours("mlhub", replace(workspace, user="bob"))
    assert not is_ours("mlhub", replace(workspace, server=None))
    assert not is_ours("mlhub", replace(network, labels=workspace.labels))
    for missing in workspace.labels:
        labels = {key: value for key, value in workspace.labels.items() if key != missing}
        assert not is_ours("mlhub", replace(workspace, labels=labels))


def test_what_was_made_for_somebody_whom_this_database_never_knew_is_told_by_their_key():
    census = replace(WHOLE, holders=frozenset({"aa.1"}))
    made = make_resource(Kind.VOLUME, "ann", "lab")
    for holder, expected in (("aa.1", False), ("aa.2", True), ("bb.1", True), ("", False)):
        labels = {**made.labels, "mlhub.user_id": holder}
        assert census.is_unaccounted(replace(made, labels=labels)) is expected
    assert not census.is_unaccounted(made)


# the time


@given(
    jump=st.integers(2, 10**9),
    looks_before=st.lists(st.integers(0, 10**5), max_size=4),
    waits=st.lists(st.integers(1, int(GRACE_SECONDS) - 1), max_size=8),
)
def test_a_jump_ahead_counts_only_once_it_has_lasted(jump, looks_before, waits):
    clocks = Clocks()
    steady = SteadyClock(clocks.wall, clocks.monotonic)
    for seconds in looks_before:
        clocks.now += seconds
        assert steady.look() == pytest.approx(clocks.wall(), abs=0.01)
    clocks.ahead += jump
    clocks.now += 1
    first_look = clocks.now
    assert steady.look() == pytest.approx(clocks.wall() - jump, abs=0.01)
    for seconds in waits:
        clocks.now += seconds
        has_lasted = clocks.now - first_look >= GRACE_SECONDS
        expected = clocks.wall() - (0 if has_lasted else jump)
        assert steady.look() == pytest.approx(expected, abs=0.01)
    clocks.now = max(clocks.now, first_look + GRACE_SECONDS)
    assert steady.look() == pytest.approx(clocks.wall(), abs=0.01)


def test_a_jump_back_counts_at_once():
    clocks = Clocks()
    steady = SteadyClock(clocks.wall, clocks.monotonic)
    clocks.ahead -= 86_400
    assert steady.look() == clocks.wall()


@given(st.lists(st.tuples(st.integers(0, 400), st.sets(st.sampled_from("abc"))), max_size=20))
def test_a_thing_is_as_old_as_the_first_of_the_looks_that_saw_it_without_a_break(looks):
    clocks = Clocks()
    sightings, first = Sightings(clocks.monotonic), {}
    for seconds, seen in looks:
        clocks.now += seconds
        first = {each: first.get(each, clocks.now) for each in seen}
        assert sightings.note("users", seen) == {
            each: clocks.now - at for each, at in first.items()
        }
    assert sightings.note("trash", {"a"}) == {"a": 0.0}


def test_what_was_made_while_the_database_saw_nothing_is_unaccounted():
    census = replace(WHOLE, gaps=(Gap(NOW - 100, NOW - 50),))
    assert census.is_unaccounted(make_resource(Kind.VOLUME, "ann", "new"))
    made = make_resource(Kind.VOLUME, "ann", "new", created_at=NOW - 200)
    assert not census.is_unaccounted(made)
