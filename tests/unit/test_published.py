"""What is published, in a real database of JupyterHub's."""

from __future__ import annotations

import time

import pytest
from jupyterhub import orm
from sqlalchemy import text

from mlhub.backends.fake import FakeBackend, FakeSpawner
from mlhub.errors import WorkspaceError
from mlhub.tools.apps import Apps
from mlhub.workspaces.published import (
    MOST_APPS,
    PublishedApp,
    find_app,
    find_app_at,
    list_apps,
    make_address,
    publish,
    take_back_app,
)
from tests.support.at_hand import HubAtHand


@pytest.fixture
def site(db):
    """Ann has two workspaces and ben one."""
    people = {name: orm.User(name=name) for name in ("ann", "ben")}
    owners = {"work": "ann", "other": "ann", "bens": "ben"}
    servers = {name: orm.Spawner(user=people[whose], name=name) for name, whose in owners.items()}
    db.add_all([*people.values(), *servers.values()])
    db.commit()
    return people | servers


def make(db, server, port=80, title="Sales", command="", *, starts=False):
    return publish(db, server, port, title, command, starts=starts)


def test_an_app_has_an_address_of_its_owners_and_a_title_as_people_write_it(db, site):
    app = make(db, site["work"], title="  Sales  of   Zürich! ")
    assert (app.title, app.name) == ("Sales of Zürich!", "sales-of-zurich")
    assert make_address("/hub/", site["ann"], app) == "/hub/apps/ann/sales-of-zurich"
    assert find_app(db, site["ann"], app.name) is app
    assert find_app_at(db, site["work"], 80) is app
    # What is somebody else's, or at another port, is not found by it.
    assert find_app(db, site["ben"], app.name) is None
    assert find_app_at(db, site["work"], 81) is None
    assert find_app_at(db, site["other"], 80) is None


def test_an_address_is_one_apps_and_a_port_is_one_app(db, site):
    first = make(db, site["work"])
    again = make(db, site["work"], title="Costs", command="run it", starts=True)
    assert again.id == first.id
    assert (again.name, again.command, again.starts) == ("costs", "run it", True)
    with pytest.raises(WorkspaceError, match="'Costs' at port 80 has this address already"):
        make(db, site["other"], title="costs")
    # Another person's may be called so.
    make(db, site["bens"], title="Costs")
    assert [app.port for app in list_apps(db, site["work"])] == [80]
    assert list_apps(db, site["other"]) == []


WRONG = [
    ("", "", "1 to 60 characters"),
    (" ", "", "1 to 60 characters"),
    ("x" * 61, "", "1 to 60 characters"),
    ("Sal\u202ees", "", "characters that cannot be seen"),
    ("Sa\0les", "", "characters that cannot be seen"),
    ("売上", "", "no letter or digit that can stand in an address"),
    ("Sales", "x" * 1001, "one line of at most 1000 characters"),
    ("Sales", "run\nit", "one line"),
    ("Sales", "run\0it", "one line"),
]


def test_what_cannot_be_published_is_refused_with_the_cure(db, site):
    for title, command, sentence in WRONG:
        with pytest.raises(WorkspaceError, match=sentence):
            make(db, site["work"], title=title, command=command)
    assert list_apps(db, site["work"]) == []
    make(db, site["work"], title="x" * 60, command="ü" * 1000)


def test_a_workspace_has_so_many_apps_and_no_more(db, site):
    for port in range(1, MOST_APPS + 1):
        make(db, site["work"], port, f"App {port}")
    with pytest.raises(WorkspaceError, match="Take one back"):
        make(db, site["work"], MOST_APPS + 1)
    make(db, site["work"], 1, "Sales")


def test_what_is_taken_back_is_a_mere_port_and_only_by_the_workspace_that_it_is_of(db, site):
    app = make(db, site["work"])
    assert take_back_app(db, site["other"], app.id) is None
    assert find_app_at(db, site["work"], 80) is app
    gone = take_back_app(db, site["work"], app.id)
    assert (gone.port, gone.title) == (80, "Sales")
    assert find_app_at(db, site["work"], 80) is None
    # A page that is still open with the number of before takes back nothing.
    assert make(db, site["work"], 81).id != app.id
    assert take_back_app(db, site["work"], app.id) is None


@pytest.mark.parametrize("enforced", ["ON", "OFF"])
@pytest.mark.parametrize("gone", ["work", "ann"])
def test_it_goes_with_the_workspace_and_the_person_in_any_database(db, site, gone, enforced):
    db.execute(text(f"PRAGMA foreign_keys = {enforced}"))
    for name in ("work", "other", "bens"):
        make(db, site[name], title=name)
    db.delete(site[gone])
    db.commit()
    left = {"work": {"other", "bens"}, "ann": {"bens"}}[gone]
    assert {row.title for row in db.query(PublishedApp)} == left


async def test_a_visitor_starts_no_workspace_that_has_expired_and_so_gives_none_more_time(tmp_path):
    hub = HubAtHand("fake/workspace:1", "t-published", FakeSpawner)
    hub.spawner.policy_file = str(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text("everyone: {port_sharing: true, publishing: true}\n")
    spawner = await hub.start("ann")
    await hub.stop("ann")
    app, apps = make(hub.db, spawner.orm_spawner, starts=True), Apps(None, "")
    may_start = {}
    for seconds in (60, -60):
        spawner.put_off(int(time.time()) + seconds)
        may_start[seconds] = apps.may_start(app, spawner)
    assert may_start == {60: True, -60: False}
    FakeBackend.backends.pop("t-published", None)
