"""To whom a port is open, in a real database of JupyterHub's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy import text

from mlhub.errors import WorkspaceError
from mlhub.workspaces.port_sharing import (
    MOST_SHARES,
    PortShare,
    find_end,
    give_port,
    list_given_ports,
    list_triples,
    take_back_port,
)

DAY = timedelta(days=1)
NOW = utcnow(with_tz=False)


@pytest.fixture
def site(db):
    """Ann's two workspaces; ben and cat are in the lab, dan is not."""
    people = {name: orm.User(name=name) for name in ("ann", "ben", "cat", "dan")}
    lab = orm.Group(name="lab", users=[people["ben"], people["cat"]])
    servers = {name: orm.Spawner(user=people["ann"], name=name) for name in ("work", "other")}
    db.add_all([*people.values(), lab, *servers.values()])
    db.commit()
    return people | {"lab": lab} | servers


def list_who(db, site, server="work", port=80):
    return {name for name in ("ben", "cat", "dan") if find_end(db, site[name], site[server], port)}


def test_a_port_is_open_to_those_it_was_given_to_until_the_last_end_and_no_other_port_is(db, site):
    give_port(db, site["work"], 80, site["lab"], NOW + DAY, "ann")
    give_port(db, site["work"], 80, site["ben"], NOW + 2 * DAY, "ann")
    give_port(db, site["work"], 81, site["dan"], NOW + DAY, "ann")
    give_port(db, site["work"], 82, site["dan"], NOW - DAY, "ann")
    assert list_who(db, site) == {"ben", "cat"}
    assert list_who(db, site, port=81) == {"dan"}
    assert list_who(db, site, port=82) == set()
    assert list_who(db, site, server="other") == set()
    assert find_end(db, site["ben"], site["work"], 80) == NOW + 2 * DAY
    server, (ben, cat, dan) = site["work"].id, (site[name].id for name in ("ben", "cat", "dan"))
    everything = {(server, ben, 80), (server, cat, 80), (server, dan, 81)}
    assert list_triples(db, [server]) == everything
    assert list_triples(db, [site["other"].id]) == set()
    site["lab"].users.remove(site["cat"])
    db.commit()
    assert list_who(db, site) == {"ben"}


def test_whoever_is_given_a_port_again_has_another_end_and_no_second_share(db, site):
    for days in (3, 1):
        give_port(db, site["work"], 80, site["ben"], NOW + days * DAY, "ann")
    (given,) = list_given_ports(db, site["work"])
    assert (given.port, given.kind, given.name, given.until) == (80, "user", "ben", NOW + DAY)
    assert take_back_port(db, site["other"], given.number) is None
    assert list_who(db, site) == {"ben"}
    assert take_back_port(db, site["work"], given.number) == given
    assert list_who(db, site) == set()


@pytest.mark.parametrize("enforced", ["ON", "OFF"])
@pytest.mark.parametrize("gone", ["work", "ben", "lab"])
def test_it_goes_with_the_workspace_the_person_and_the_group_in_any_database(
    db, site, gone, enforced
):
    db.execute(text(f"PRAGMA foreign_keys = {enforced}"))
    for whom in ("ben", "lab"):
        give_port(db, site["work"], 80, site[whom], NOW + DAY, "ann")
    give_port(db, site["other"], 80, site["dan"], NOW + DAY, "ann")
    db.commit()
    db.delete(site[gone])
    db.commit()
    left = {"work": {"dan"}, "ben": {"lab", "dan"}, "lab": {"ben", "dan"}}[gone]
    assert {(row.user or row.group).name for row in db.query(PortShare)} == left


def test_a_workspace_is_not_shared_with_its_owner_nor_without_end(db, site):
    with pytest.raises(WorkspaceError, match="theirs already"):
        give_port(db, site["work"], 80, site["ann"], NOW + DAY, "ann")
    for port in range(1, MOST_SHARES + 1):
        give_port(db, site["work"], port, site["ben"], NOW + DAY, "ann")
    with pytest.raises(WorkspaceError, match="Take one back"):
        give_port(db, site["work"], MOST_SHARES + 1, site["ben"], NOW + DAY, "ann")
    give_port(db, site["work"], 1, site["ben"], NOW + 2 * DAY, "ann")
