"""The table of SSH keys, in a real database of JupyterHub's."""

from __future__ import annotations

import sqlite3
import subprocess
from datetime import datetime, timedelta

import pytest
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import event

from mlhub.errors import KeyTakenError, SSHKeyError
from mlhub.ssh.keys import MAX_KEYS, SshKeys
from mlhub.ssh.public_keys import parse_public_key

NOW = datetime(2026, 11, 21, 12, 0)


@pytest.fixture(scope="session")
def make_key(tmp_path_factory):
    """Return a function that makes a new public key."""
    folder, numbers = tmp_path_factory.mktemp("keys"), iter(range(10**6))

    def make(comment: str = "a comment"):
        file = folder / f"id-{next(numbers)}"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)],
            check=True,
        )
        return parse_public_key(file.with_suffix(".pub").read_text())

    return make


@pytest.fixture
def make_user(db):
    """Return a function that makes a person."""

    def make(name: str):
        user = orm.User(name=name)
        db.add(user)
        db.commit()
        return user

    return make


def test_keys_are_listed_found_and_removed(db, make_user, make_key):
    keys, ann, key = SshKeys(db), make_user("ann"), make_key()
    row = keys.add(ann, " my notebook ", key, NOW)
    assert [(each.name, each.line, each.created_at) for each in keys.list(ann)] == [
        ("my notebook", key.line, NOW)
    ]
    found = keys.find(key.fingerprint)
    assert (found.user.name, found.line) == ("ann", key.line)
    assert keys.find("SHA256:unknown") is None
    assert keys.find(key.fingerprint.swapcase()) is None
    assert keys.remove(ann, row.id)
    assert not keys.remove(ann, row.id)
    assert keys.find(key.fingerprint) is None


def test_a_key_without_a_name_takes_its_comment_or_its_date(db, make_user, make_key):
    keys, ann = SshKeys(db), make_user("ann")
    names = [
        keys.add(ann, "", make_key("ann@home"), NOW).name,
        keys.add(ann, "  ", make_key(""), NOW).name,
    ]
    assert names == ["ann@home", "ssh-ed25519 of 2026-11-21"]
    for name in ("x" * 101, "two\nlines", "\x1b[2J", "\u202e"):
        with pytest.raises(SSHKeyError, match="one line of at most 100 characters"):
            keys.add(ann, name, make_key(), NOW)


def test_one_key_belongs_to_one_person_and_the_sentence_does_not_tell_whom(db, make_user, make_key):
    keys, ann, bob, key = SshKeys(db), make_user("ann"), make_user("bob"), make_key()
    keys.add(ann, "", key, NOW)
    with pytest.raises(KeyTakenError, match="registered here already"):
        keys.add(ann, "again", key, NOW)
    with pytest.raises(KeyTakenError, match="another account") as refused:
        keys.add(bob, "", key, NOW)
    assert "ann" not in str(refused.value).split()
    assert refused.value.status_code == 409
    assert (len(keys.list(ann)), len(keys.list(bob))) == (1, 0)


def test_nobody_removes_or_lists_the_keys_of_others(db, make_user, make_key):
    keys, ann, bob = SshKeys(db), make_user("ann"), make_user("bob")
    row = keys.add(ann, "", make_key(), NOW)
    assert not keys.remove(bob, row.id)
    assert keys.list(bob) == []
    assert keys.list(ann) == [row]


def test_a_person_has_at_most_fifty_keys(db, make_user, make_key):
    keys, ann, bob = SshKeys(db), make_user("ann"), make_user("bob")
    key = make_key()
    for number in range(MAX_KEYS):
        keys.add(ann, "", parse_like(key, number), NOW)
    with pytest.raises(SSHKeyError, match="50 keys already"):
        keys.add(ann, "", key, NOW)
    assert keys.add(bob, "", key, NOW)


def parse_like(key, number):
    """Make a key that differs from another; which one it is does not matter to the table."""
    return type(key)(key.kind, key.bits, key.body, key.comment, f"SHA256:{number}")


def test_the_look_up_is_one_query_by_an_index(db, make_user, make_key):
    keys, key = SshKeys(db), make_key()
    keys.add(make_user("ann"), "", key, NOW)
    statements = []
    event.listen(
        db.get_bind(),
        "before_cursor_execute",
        lambda _c, _k, statement, values, *_: statements.append((statement, values)),
    )
    db.expunge_all()
    assert SshKeys(db).find(key.fingerprint).user.name == "ann"
    statements = [
        each for each in statements if each[0] != "SELECT 1"
    ]  # JupyterHub's look whether the connection is alive
    assert len(statements) == 1
    plan = (
        db.connection()
        .exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[0][0]}", statements[0][1])
        .fetchall()
    )
    assert not any("SCAN" in str(step) for step in plan), plan


def test_use_is_noted_at_most_once_a_minute(db, make_user, make_key):
    keys, ann, key = SshKeys(db), make_user("ann"), make_key()
    row = keys.add(ann, "", key, NOW)
    assert row.last_used_at is None
    writes = []
    event.listen(
        db.get_bind(),
        "after_cursor_execute",
        lambda _c, cursor, statement, *_: writes.append((statement, cursor.rowcount)),
    )
    moments = [(0, "192.0.2.1"), (30, "192.0.2.2"), (59, "192.0.2.3"), (61, "2001:db8::4")]
    for seconds, address in moments:
        keys.touch(key.fingerprint, NOW + timedelta(seconds=seconds), address)
    assert sum(changed for statement, changed in writes if statement.startswith("UPDATE")) == 2
    seen = keys.list(ann)[0]
    assert (seen.last_used_at, seen.last_used_from) == (NOW + timedelta(seconds=61), "2001:db8::4")
    keys.touch("SHA256:unknown", NOW, "192.0.2.1")


def test_touching_leaves_the_database_unlocked(db, tmp_path, make_user, make_key):
    keys, key = SshKeys(db), make_key()
    keys.add(make_user("ann"), "", key, NOW)
    for _ in range(2):  # the second one changes nothing
        keys.touch(key.fingerprint, NOW, "192.0.2.1")
        with sqlite3.connect(tmp_path / "hub.sqlite", timeout=0.1) as other:
            other.execute("UPDATE users SET name = name")


def test_listeners_hear_of_removed_keys_once_they_are_gone(db, make_user, make_key):
    keys, heard = SshKeys(db), []
    ann, bob = make_user("ann"), make_user("bob")
    keys.on_removed(lambda name, fingerprints: heard.append((name, fingerprints)))
    SshKeys(db)  # the hub makes one for each request
    first, second, others = [keys.add(owner, "", make_key(), NOW) for owner in (ann, ann, bob)]
    assert heard == []
    keys.remove(ann, first.id)
    assert heard == [("ann", [first.fingerprint])]
    db.delete(second)
    db.flush()
    assert len(heard) == 1
    db.rollback()
    db.commit()
    assert len(heard) == 1
    assert keys.find(second.fingerprint)
    db.delete(ann)
    db.commit()
    assert heard[1:] == [("ann", [second.fingerprint])]
    assert keys.find(second.fingerprint) is None
    assert keys.list(bob) == [others]


def test_listeners_hear_of_the_keys_of_an_account_that_was_locked_out(db, make_user, make_key):
    keys, heard, ann = SshKeys(db), [], make_user("ann")
    keys.on_removed(lambda name, fingerprints: heard.append((name, fingerprints)))
    row = keys.add(ann, "", make_key(), NOW)
    account = UserInfo(username="ann", password=b"x", is_authorized=True)
    db.add(account)
    db.commit()
    account.email = "ann@example.org"
    db.commit()
    assert heard == []
    account.is_authorized = False
    db.commit()
    assert heard == [("ann", [row.fingerprint])]
    assert keys.list(ann) == [row]


def test_listeners_hear_when_less_is_shared_than_before(db, make_user):
    heard: list[str] = []
    SshKeys(db).on_access_revoked(lambda: heard.append("narrowed"))
    ann, bob = make_user("ann"), make_user("bob")
    spawner = orm.Spawner(user=ann, name="")
    db.add(spawner)
    db.commit()

    def share():
        shared = orm.Share(
            owner=ann, user=bob, spawner=spawner, scopes=["access:servers!server=ann/"]
        )
        db.add(shared)
        db.commit()
        return shared

    first = share()
    db.delete(first)
    db.flush()
    assert heard == []
    db.rollback()
    db.commit()
    assert heard == []
    db.delete(first)
    db.commit()
    assert heard == ["narrowed"]
    share()
    db.query(orm.Share).filter_by(spawner_id=spawner.id).delete()
    db.commit()
    assert heard == ["narrowed"] * 2
    share().scopes = []
    db.commit()
    assert heard == ["narrowed"] * 3


def test_a_listener_that_fails_hides_the_removal_from_nobody(db, make_user, make_key):
    keys, heard, ann = SshKeys(db), [], make_user("ann")

    def fail(name, fingerprints):
        raise RuntimeError("the bastion is away")

    keys.on_removed(fail)
    keys.on_removed(lambda name, fingerprints: heard.append(name))
    row = keys.add(ann, "", make_key(), NOW)
    assert keys.remove(ann, row.id)
    assert heard == ["ann"]


def test_the_keys_of_a_deleted_person_are_gone_for_their_successor_and_free_for_others(
    db, make_user, make_key
):
    keys, ann, key = SshKeys(db), make_user("ann"), make_key()
    keys.add(ann, "", key, NOW)
    db.delete(ann)
    db.commit()
    successor = make_user("ann")
    assert keys.list(successor) == []
    assert keys.add(make_user("bob"), "", key, NOW)


def test_a_database_of_an_older_version_gets_the_table(tmp_path, make_key):
    file = tmp_path / "hub.sqlite"
    session = orm.new_session_factory(f"sqlite:///{file}")()
    session.add(orm.User(name="ann"))
    session.commit()
    session.close()
    with sqlite3.connect(file) as old:
        old.execute("DROP TABLE mlhub_ssh_keys")
    session = orm.new_session_factory(f"sqlite:///{file}")()
    keys, ann = SshKeys(session), orm.User.find(session, "ann")
    row = keys.add(ann, "", make_key(), NOW)
    session.close()
    again = orm.new_session_factory(f"sqlite:///{file}")()
    assert SshKeys(again).find(row.fingerprint).user.name == "ann"
    again.close()
