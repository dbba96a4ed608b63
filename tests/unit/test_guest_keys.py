"""Links by which one key is registered for one workspace, in a real database of JupyterHub's."""

from __future__ import annotations

import sqlite3
import subprocess
from datetime import datetime, timedelta

import pytest
from jupyterhub import orm
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from mlhub.errors import SSHKeyError
from mlhub.ssh.guest_keys import find_link, list_limited, list_links, make_link, use_link

NOW = datetime(2026, 11, 21, 12, 0)
DAY = timedelta(days=1)


@pytest.fixture
def make_key(tmp_path):
    """Return a function that makes the text of a new public key."""

    def make(name: str) -> str:
        file = tmp_path / name
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
        subprocess.run(words, check=True)
        return file.with_suffix(".pub").read_text()

    return make


@pytest.fixture
def server(db):
    row = orm.Spawner(user=orm.User(name="ann"), name="work")
    db.add(row)
    db.commit()
    return row


def test_a_link_works_once_until_it_expires_and_only_its_hash_is_kept(
    db, server, make_key, tmp_path
):
    code, late = (make_link(db, server, "root", NOW, days) for days in (3, 1))
    assert len(code) >= 43
    with sqlite3.connect(tmp_path / "hub.sqlite") as database:
        assert not [line for line in database.iterdump() if code in line or late in line]
    text = make_key("first")
    for useless in ("", code[:-1], code.swapcase(), f"{code} "):
        with pytest.raises(SSHKeyError, match="used already"):
            use_link(db, useless, "", text, NOW)
    with pytest.raises(SSHKeyError, match="has expired"):
        use_link(db, late, "", text, NOW + DAY)
    key = use_link(db, code, "", text, NOW + DAY)
    assert (key.opens("ann", "work"), key.opens("ann", ""), key.opens("bob", "work")) == (
        True,
        False,
        False,
    )
    with pytest.raises(SSHKeyError, match="used already"):
        use_link(db, code, "", make_key("second"), NOW + DAY)
    assert list_limited(db, server) == [key]


def test_a_key_that_is_refused_uses_no_link_up(db, server, make_key):
    code, text = make_link(db, server, "root", NOW, 3), make_key("good")
    for name, refused in (("", "no key"), ("x" * 101, text)):
        with pytest.raises(SSHKeyError):
            use_link(db, code, name, refused, NOW)
        db.commit()
    assert use_link(db, code, "", text, NOW) in list_limited(db, server)


def test_where_the_database_fails_a_link_has_registered_nothing_or_is_used_up(db, server, make_key):
    code, commits = make_link(db, server, "root", NOW, 3), []
    find_link(db, code, NOW)

    def fail_at_the_second(session):
        commits.append(session)
        if len(commits) > 1:
            raise OperationalError("COMMIT", {}, Exception("it is away"))

    event.listen(db, "before_commit", fail_at_the_second)
    try:
        use_link(db, code, "", make_key("first"), NOW)
    except OperationalError:
        db.rollback()
    event.remove(db, "before_commit", fail_at_the_second)
    assert len(list_limited(db, server)) + len(list_links(db, server, NOW)) == 1
