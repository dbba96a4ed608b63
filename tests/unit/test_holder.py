"""Whose data a name stands for, in a database with JupyterHub's own tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from sqlalchemy import text

from mlhub.workspaces.holder import LABEL_PERSON, DatabaseKey, Holder, PersonKey, ensure_keys


class Site:
    """A hub's database."""

    def __init__(self, url="sqlite:///:memory:"):
        self.db = orm.new_session_factory(url)()

    def add(self, name, created=None):
        user = orm.User(name=name, **({"created": created} if created else {}))
        self.db.add(user)
        self.db.commit()
        return user

    def holder(self, user):
        return Holder.of(
            SimpleNamespace(db=self.db, id=user.id, name=user.name, created=user.created)
        )

    def delete(self, user):
        self.db.delete(user)
        self.db.commit()


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def old_site():
    """A database that a version without keys has written."""
    site = Site()
    site.add("bob", datetime(2026, 1, 10))
    for table in (PersonKey, DatabaseKey):
        site.db.query(table).delete()
    site.db.commit()
    return site


def labels(holder):
    return {LABEL_PERSON: holder.label}


def at(*when):
    return datetime(*when, tzinfo=UTC).timestamp()


def test_what_was_made_for_a_person_is_theirs_and_nobody_else_s(site):
    bob, eve = site.holder(site.add("bob")), site.holder(site.add("eve"))
    assert bob.may_use(labels(bob), 0)
    assert not bob.may_use(labels(eve), 0)


def test_a_person_is_the_same_after_a_restart_of_the_hub(tmp_path):
    url = f"sqlite:///{tmp_path}/hub.sqlite"
    site = Site(url)
    before = site.holder(site.add("bob"))
    again = Site(url)
    assert again.holder(again.db.query(orm.User).one()).label == before.label


def test_a_name_that_is_taken_again_is_another_person_although_the_row_has_the_same_number(site):
    first = site.add("bob")
    number, before = first.id, site.holder(first)
    site.delete(first)
    second = site.add("bob")
    assert second.id == number
    after = site.holder(second)
    assert after.label != before.label
    assert not after.may_use(labels(before), datetime.now(UTC).timestamp())


def test_a_row_that_another_program_replaced_is_another_person(site):
    first = site.add("bob", datetime(2026, 1, 1))
    before = site.holder(first)
    site.db.execute(text("delete from users"))
    site.db.execute(
        text(
            "insert into users (id, name, created, cookie_id, admin) values (:id, 'bob',"
            " '2026-02-01 00:00:00.000000', 'x', 0)"
        ),
        {"id": first.id},
    )
    site.db.commit()
    site.db.expunge_all()
    assert site.holder(site.db.query(orm.User).one()).label != before.label


def test_a_database_that_rounds_times_does_not_make_another_person(site):
    bob = site.add("bob", datetime(2026, 1, 1, 12, 0, 0, 700_000))
    before = site.holder(bob)
    bob.created = datetime(2026, 1, 1, 12, 0, 1)
    site.db.commit()
    assert site.holder(bob).label == before.label


def test_what_an_older_version_made_is_adopted_by_whoever_was_there_when_it_was_made(old_site):
    bob = old_site.holder(old_site.db.query(orm.User).one())
    assert bob.may_use({}, at(2026, 1, 11))
    assert bob.may_use({}, bob.since.replace(tzinfo=UTC).timestamp() - 1)
    assert not bob.may_use({}, at(2026, 1, 9))
    late = old_site.holder(old_site.add("late", datetime(2026, 3, 1)))
    assert not late.may_use({}, at(2026, 2, 1))
    assert late.may_use({}, at(2026, 3, 2))


def test_a_person_without_a_date_has_been_there_for_ever(old_site):
    bob = old_site.db.query(orm.User).one()
    bob.created = None
    old_site.db.commit()
    assert old_site.holder(bob).may_use({}, at(2020, 1, 1))


def test_after_the_loss_of_a_database_the_first_person_of_a_name_gets_what_it_left_and_nobody_after(
    site,
):
    lost = Site()
    before, long_ago = labels(lost.holder(lost.add("bob"))), at(2026, 1, 1)
    bob = site.add("bob")
    assert site.holder(bob).may_use(before, long_ago)
    assert site.holder(bob).may_use({}, long_ago)
    site.delete(bob)
    second = site.holder(site.add("bob"))
    assert not second.may_use(before, long_ago)
    assert not second.may_use({}, long_ago)


def test_after_a_restored_backup_what_was_made_meanwhile_is_nobody_s(tmp_path):
    live, backup = f"{tmp_path}/hub.sqlite", tmp_path / "backup.sqlite"
    site = Site(f"sqlite:///{live}")
    kept = site.holder(site.add("ann"))
    site.db.close()
    backup.write_bytes((tmp_path / "hub.sqlite").read_bytes())
    lost = site.holder(site.add("bob"))
    restored = Site(f"sqlite:///{backup}")
    assert restored.holder(restored.db.query(orm.User).one()).label == kept.label
    assert not restored.holder(restored.add("bob")).may_use(
        labels(lost), datetime.now(UTC).timestamp() + 60
    )


def test_a_restored_backup_of_an_older_version_takes_what_was_made_for_its_people_since(old_site):
    newer = Site()
    bob = old_site.holder(old_site.db.query(orm.User).one())
    assert bob.may_use(labels(newer.holder(newer.add("bob"))), at(2026, 5, 1))


def test_keys_are_words_that_a_cluster_takes(site):
    label = site.holder(site.add("Ärger Ö"))
    assert len(label.label) <= 63
    assert label.label.replace(".", "").isalnum()


def test_people_of_an_older_database_get_keys_at_once_and_only_one(old_site):
    old_site.add("ann")
    ensure_keys(old_site.db)
    ensure_keys(old_site.db)
    assert sorted(name for (name,) in old_site.db.query(PersonKey.name)) == ["ann", "bob"]
    assert old_site.db.query(DatabaseKey).one().is_complete is False
    assert Site().db.query(DatabaseKey).count() == 0


def test_times_are_compared_in_utc(site):
    created = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=30)
    second = site.add("bob")
    site.delete(second)
    bob = site.holder(site.add("bob", created))
    assert bob.may_use({}, datetime.now(UTC).timestamp() - 29 * 60)
    assert not bob.may_use({}, datetime.now(UTC).timestamp() - 31 * 60)
