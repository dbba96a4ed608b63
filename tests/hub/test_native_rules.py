"""The parts of sign-in that need no hub: the lock-out, the rules for names and passwords, the
hasher.
"""

from __future__ import annotations

import asyncio
import os
import threading
import unicodedata

import bcrypt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import text

from mlhub.signin.native.accounts import Accounts, create_table
from mlhub.signin.native.authenticator import MLHubNativeAuthenticator
from mlhub.signin.native.lockout import Lockout
from mlhub.signin.native.passwords import NICENESS, PasswordHasher, hash_password, is_password
from mlhub.signin.native.rules import (
    explain_email,
    explain_password,
    explain_username,
    list_common_passwords,
)
from tests.support.hub_process import PRICE

GOOD = "correct horse 42"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_lock_lasts_as_long_as_it_says_and_is_not_lengthened_by_trying():
    clock = Clock()
    lockout = Lockout(5, 600, clock=clock)
    assert [lockout.begin("ana") for _ in range(5)] == [0] * 5
    assert lockout.begin("ana") == 600
    clock.now += 599
    assert lockout.begin("ana") == 1
    assert lockout.begin("bob") == 0
    clock.now += 1
    assert lockout.begin("ana") == 0


def test_a_lock_of_more_than_a_day_holds_for_more_than_a_day():
    clock = Clock()
    lockout = Lockout(1, 3 * 86400, clock=clock)
    lockout.begin("ana")
    clock.now += 2 * 86400 + 5
    assert lockout.begin("ana") > 0


def test_the_memory_of_a_lockout_is_bounded_and_drops_the_oldest_first():
    lockout = Lockout(1, 600, max_keys=100)
    lockout.begin("first")
    for number in range(99):
        lockout.begin(number)
    assert lockout.begin("first") > 0
    for number in range(1000):
        lockout.begin(f"flood-{number}")
    assert len(lockout) == 100


def test_a_limit_of_zero_locks_nobody():
    lockout = Lockout(0, 600)
    assert not any(lockout.begin("ana") for _ in range(100))
    assert len(lockout) == 0


@pytest.fixture(scope="module")
def native():
    db = orm.new_session_factory("sqlite:///:memory:")()
    return MLHubNativeAuthenticator(_deprecated_db_session=db)


@settings(max_examples=500, deadline=None)
@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
@example("\u212aim", "kim")
@example("\u212bsa", "åsa")
@example("İ", "i\u0307")
@example("foo.bar", "foo-bar")
@example("a@b.com", "ab0com")
@example("é", "e\u0301")
def test_two_names_are_one_account_only_if_they_differ_in_case_alone(native, one, other):
    if explain_username(one) or explain_username(other):
        return
    merged = native.normalize_username(one) == native.normalize_username(other)
    assert merged == (one.lower() == other.lower())


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
@example("İ" * 128)
def test_every_name_is_refused_with_a_sentence_or_can_be_found_again(native, name):
    complaint = native.explain_signup(name, GOOD)
    if complaint:
        assert complaint.endswith(".")
        return
    kept = native.normalize_username(name)
    assert len(kept) <= 128
    assert unicodedata.normalize("NFKC", kept) == kept
    assert native.normalize_username(kept) == kept
    native.accounts.remove(kept)
    native.accounts.add(kept, b"hash")
    assert native.accounts.find(native.normalize_username(name)).username == kept


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_every_password_is_refused_with_a_sentence_or_fits_bcrypt(password):
    complaint = explain_password(password, "ana")
    assert (
        complaint.endswith(".")
        if complaint
        else len(password) >= 10 and len(password.encode()) <= 72
    )


def test_the_list_of_common_passwords_is_there():
    assert len(list_common_passwords()) > 9000
    assert "most common" in explain_password("Football123!", "ana")
    assert explain_password("short", "ana", 4, is_common_allowed=True) == ""


@pytest.mark.parametrize(
    "email",
    ["a@b", "a b@example.org", "x" * 200 + "@example.org", "a@example.org\nb", "@example.org"],
)
def test_an_odd_email_address_is_refused(email):
    assert "name@example.org" in explain_email(email)


@pytest.mark.parametrize("email", ["", "ana.b+c@mail.example.org"])
def test_an_ordinary_email_address_is_fine(email):
    assert explain_email(email) == ""


def test_verifying_never_raises_and_knows_its_own_hashes():
    hashed = hash_password(GOOD)
    assert hashed.startswith(f"$2b${PRICE}$".encode()), "most of the tests' hubs have a lower one"
    assert is_password(GOOD, hashed)
    hashed = bcrypt.hashpw(GOOD.encode(), bcrypt.gensalt(4))
    for password in ("", "\0", "x" * 10_000, "\ud800", GOOD + "x"):
        assert not is_password(password, hashed)
    for broken in (None, b"", b"not a hash", b"$2b$12$short"):
        assert not is_password(GOOD, broken)


def test_hashing_gives_way_to_everything_else_in_its_container():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert not asyncio.run(PasswordHasher(1).verify(GOOD, None))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("bcrypt")]
    assert {os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in threads} == {
        min(own + NICENESS, 19)
    }
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_table_of_an_older_version_gets_the_columns_it_lacks():
    db = orm.new_session_factory("sqlite:///:memory:")()
    db.execute(text("DROP TABLE IF EXISTS users_info"))
    db.execute(
        text(
            "CREATE TABLE users_info (id INTEGER PRIMARY KEY, username VARCHAR NOT NULL, password"
            " BLOB NOT NULL, is_authorized BOOLEAN)"
        )
    )
    db.execute(
        text(
            "INSERT INTO users_info (username, password, is_authorized) VALUES ('veteran',"
            " x'00', 1)"
        )
    )
    db.commit()
    create_table(db)
    create_table(db)
    veteran = Accounts(db).find("veteran")
    assert isinstance(veteran, UserInfo)
    assert veteran.is_authorized
    assert not veteran.has_2fa
