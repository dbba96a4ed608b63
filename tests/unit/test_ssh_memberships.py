"""Whoever loses a group or a role may lose a way in: the journal of SSH sessions is told, and of
nothing else.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from jupyterhub import orm, roles

from mlhub.ssh.access_changes import watch_memberships


@pytest.fixture
def heard(db):
    """Return what the watch said about a database with ann, who is in a group and has a role."""
    said = []
    watch_memberships(db, lambda: said.append("less"))
    ann, role = orm.User(name="ann"), orm.Role(name="helper", scopes=["access:servers"])
    group = orm.Group(name="class", users=[ann], roles=[role])
    db.add_all([ann, role, group])
    ann.roles.append(role)
    db.commit()
    assert not said
    return said


@pytest.fixture
def db(tmp_path):
    session = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")()
    yield session
    session.close()


def leave(db):
    group = orm.Group.find(db, "class")
    group.users.remove(orm.User.find(db, "ann"))


def set_other_groups(db):
    orm.User.find(db, "ann").groups = []


def lose_the_role(db):
    roles.strip_role(db, orm.User.find(db, "ann"), "helper")


def delete_the_group(db):
    db.delete(orm.Group.find(db, "class"))


def narrow_the_role(db):
    orm.Role.find(db, "helper").scopes = ["self"]


@pytest.mark.parametrize(
    "change", [leave, set_other_groups, lose_the_role, delete_the_group, narrow_the_role]
)
def test_a_group_or_role_that_is_taken_away_is_noticed(db, heard, change):
    db.expire_all()
    change(db)
    db.commit()
    assert heard


def test_joining_activity_and_renaming_are_not_noticed(db, heard):
    ann, bob = orm.User.find(db, "ann"), orm.User(name="bob")
    db.add(bob)
    group = orm.Group.find(db, "class")
    group.users.append(bob)
    bob.roles.append(orm.Role.find(db, "helper"))
    ann.last_activity = datetime(2026, 11, 21)
    bob.name = "rob"
    db.commit()
    assert not heard
