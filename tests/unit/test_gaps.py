"""What a database cannot know, and who comes back of the labels on what they have."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from jupyterhub import orm

from mlhub.workspaces.gaps import TOLERANCE_SECONDS, close_gaps, list_gaps, note_seen, open_gap
from mlhub.workspaces.holder import Holder, PersonKey, Return, ensure_keys, judge_return, keep_key

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def db():
    return orm.new_session_factory("sqlite:///:memory:")()


def add(db, name):
    user = orm.User(name=name)
    db.add(user)
    db.commit()
    return user


def find_holder(db, user):
    return Holder.of(SimpleNamespace(db=db, id=user.id, name=user.name, created=user.created))


# times


def test_a_new_database_has_seen_nothing(db):
    gap = open_gap(db, NOW)
    assert gap.covers(1)
    assert gap.covers(NOW)
    assert not gap.covers(NOW + DAY)


def test_a_hub_that_was_started_again_has_missed_the_time_in_between_alone(db):
    open_gap(db, NOW - DAY)
    close_gaps(db, [])
    note_seen(db, NOW - 600)
    gap = open_gap(db, NOW)
    assert not gap.covers(NOW - 600 - TOLERANCE_SECONDS - 1)
    assert gap.covers(NOW - 300)


def test_a_database_of_an_older_version_was_last_used_when_somebody_did_something(db):
    user = add(db, "ann")
    user.last_activity = datetime(2026, 1, 10)
    db.commit()
    gap = open_gap(db, NOW)
    assert not gap.covers(datetime(2026, 1, 9).timestamp())
    assert gap.covers(datetime(2026, 1, 12).timestamp())


def test_a_gap_lasts_over_restarts_until_all_that_was_made_in_it_is_known(db):
    open_gap(db, NOW)
    note_seen(db, NOW + DAY)
    open_gap(db, NOW + DAY)
    close_gaps(db, [NOW - 100])
    (left,) = list_gaps(db)
    assert left.covers(NOW - 100)
    close_gaps(db, [NOW + 5 * DAY])
    assert list_gaps(db) == []


# who comes back


def test_the_first_of_a_name_comes_back_by_the_name(db):
    for labels in ([], [""], ["0123.a"], ["0123.a", "4567.b"], ["0123.a", "0123.a", ""]):
        assert judge_return(db, "bob", labels) == Return()


def test_whoever_registered_after_the_backup_comes_back_with_their_own_key(db):
    label = f"{ensure_keys(db).key}.fedcba"
    verdict = judge_return(db, "bob", [label, label, ""])
    assert verdict == Return(key="fedcba")
    bob = add(db, "bob")
    keep_key(db, bob, verdict.key)
    assert find_holder(db, bob).label == label


def test_whoever_was_deleted_does_not_come_back(db):
    bob = add(db, "bob")
    label = find_holder(db, bob).label
    db.delete(bob)
    db.commit()
    assert judge_return(db, "bob", [label]).reason
    # Nor by a label of another database, or by one without: somebody has had the name since.
    assert judge_return(db, "bob", ["0123.a"]).reason
    assert judge_return(db, "bob", [""]).reason
    # A later one of the same name, whom only a newer state of this database knew, does.
    assert judge_return(db, "bob", [f"{ensure_keys(db).key}.later"]) == Return(key="later")


def test_what_may_be_of_two_people_brings_nobody_back(db):
    own = ensure_keys(db).key
    for labels in ([f"{own}.a", f"{own}.b"], ["0123.a", "0123.b"], [f"{own}.a", "0123.b"]):
        assert judge_return(db, "bob", labels).reason == "Several people had that name."


def test_a_key_that_somebody_else_has_is_nobody_elses(db):
    label = find_holder(db, add(db, "ann")).label
    assert judge_return(db, "bob", [label]).reason
    assert db.query(PersonKey).count() == 1
