"""People share their workspaces, by name, with a group or by a link, and take that back."""

from __future__ import annotations

import html
import re
import sqlite3

import pytest
import requests

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.Authenticator.admin_users = {"admin"}
"""
POLICY = "everyone: {sharing: true}\ngroups: {closed: {sharing: false}}\n"


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.admin()


def make(hub, admin, *names):
    """Make people; the first has a workspace that runs."""
    people = [hub.person(name, GOOD, admin) for name in names]
    answer = hub.service().start(names[0], {}, "work")
    assert answer.status_code in (201, 202), answer.text
    return people


def share(browser, owner, **fields):
    return browser.submit(f"/hub/share/{owner}/work", fields)


def may_enter(person, owner):
    scope = f"access:servers!server={owner}/work"
    return scope in person.api("GET", "user").json()["scopes"]


def take_back(person, owner, number=0):
    """Press the button behind a share."""
    page = person.get(f"/hub/share/{owner}/work").text
    found = re.findall(
        r'name="kind" value="(\w+)"><input type="hidden" name="number" value="(\d+)', page
    )
    kind, row = found[number]
    token = person.xsrf(f"/hub/share/{owner}/work")
    data = {"_xsrf": token, "kind": kind, "number": row}
    return person.post(f"/hub/unshare/{owner}/work", data=data)


def test_what_is_shared_with_somebody_is_on_their_page_until_it_is_taken_back(hub, admin):
    ann, bob, eve = make(hub, admin, "ann", "bob", "eve")
    assert not may_enter(bob, "ann")
    assert "bob may enter now." in share(ann, "ann", person=" Bob ", days="2").text
    assert may_enter(bob, "ann")
    assert not may_enter(eve, "ann")
    home = bob.get("/hub/home").text
    assert "Shared with you" in home
    assert 'href="/user/ann/work/"' in home
    assert "bob is out within seconds." in take_back(ann, "ann").text
    assert not may_enter(bob, "ann")
    assert "Shared with you" not in bob.get("/hub/home").text


def test_a_share_ends_by_itself_and_so_does_what_came_by_a_link(hub, admin):
    ann, bob = make(hub, admin, "cleo", "dan")
    share(ann, "cleo", person="dan", days="1")
    assert may_enter(bob, "cleo")
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite") as database:
        database.execute("update shares set expires_at = '2020-01-01 00:00:00.000000'")
    database.close()
    hub.wait_until(lambda: not may_enter(bob, "cleo"), "the share has ended", 10)


def test_whoever_has_a_link_comes_in_for_as_long_as_that_is_good(hub, admin):
    fay, gus = make(hub, admin, "fay", "gus")
    page = fay.submit("/hub/share/fay/work", {"days": "3"}, to="/hub/share-link/fay/work")
    (link,) = re.findall(r'id="share-link"[^>]* value="([^"]+)"', page.text)
    path = "/" + html.unescape(link).split("/", 3)[3]
    assert "fay shares “work” with you" in gus.get(path).text
    assert not may_enter(gus, "fay"), "looking opens nothing"
    code = path.split("=")[1]
    token = gus.xsrf(path)
    answer = gus.post(
        "/hub/accept-share", data={"_xsrf": token, "code": code}, allow_redirects=False
    )
    assert answer.headers["Location"] == "/user/fay/work/"
    assert may_enter(gus, "fay")
    rows = hub.query("select expires_at from shares where expires_at is null")
    assert not rows, "it has an end"
    assert (
        "This workspace is yours."
        in fay.post("/hub/accept-share", data={"_xsrf": fay.xsrf(path), "code": code}).text
    )
    # The link is taken back; gus was let in by name since.
    assert fay.get("/hub/share/fay/work").text.count("given-share") == 2
    take_back(fay, "fay", 1)
    late = hub.person("late", GOOD, admin)
    assert late.get(path).status_code == 410
    assert may_enter(gus, "fay")
    take_back(fay, "fay")
    assert not may_enter(gus, "fay")


def test_a_group_of_ones_own_may_come_in_and_no_other_group(hub, admin):
    hal, ida = make(hub, admin, "hal", "ida")
    service = hub.service()
    for group, users in (("lab", ["hal", "ida"]), ("others", ["ida"])):
        assert service.post(f"groups/{group}").status_code == 201
        assert service.post(f"groups/{group}/users", json={"users": users}).status_code == 200
    assert "lab may enter now." in share(hal, "hal", group="lab", days="1").text
    assert may_enter(ida, "hal")
    assert "cannot share with the group" in share(hal, "hal", group="others", days="1").text
    assert "others may enter now." in share(admin, "hal", group="others", days="1").text


def test_nobody_shares_what_is_not_theirs_and_the_policy_may_forbid_it(hub, admin):
    jan, kim = make(hub, admin, "jan", "kim")
    assert kim.get("/hub/share/jan/work").status_code == 404
    token = kim.xsrf("/hub/home")
    data = {"_xsrf": token, "person": "kim", "days": "1"}
    assert kim.post("/hub/share/jan/work", data=data).status_code == 404
    assert share(jan, "jan", person="nobody-here", days="1").status_code == 400
    for days in ("0", "-1", "400", "x"):
        answer = share(jan, "jan", person="kim", days=days)
        assert answer.status_code == 400
        assert "is no number of days" in answer.text
    assert "theirs already" in share(jan, "jan", person="jan", days="1").text
    service = hub.service()
    service.post("groups/closed")
    assert service.post("groups/closed/users", json={"users": ["jan"]}).status_code == 200
    assert "policy does not let" in jan.get("/hub/share/jan/work").text
    answer = jan.post(
        "/hub/share/jan/work",
        data={"_xsrf": jan.xsrf("/hub/home"), "person": "kim", "days": "1"},
    )
    assert answer.status_code == 400
    assert not may_enter(kim, "jan")
    assert 'href="/hub/share/jan/work"' not in jan.get("/hub/home").text


def test_a_token_shares_nothing_by_the_pages_of_its_owner(hub, admin):
    lea, mia = make(hub, admin, "lea", "mia")

    def try_with(*scopes):
        model = lea.api("POST", "users/lea/tokens", json={"scopes": [*scopes, "read:servers!user"]})
        answer = requests.post(
            f"{hub.url}/hub/share/lea/work",
            data={"person": "mia", "days": "1"},
            headers={"Authorization": f"Bearer {model.json()['token']}"},
            timeout=30,
        )
        return answer.status_code

    assert try_with() == 403
    assert try_with("access:servers!user", "servers!user") == 403
    assert not may_enter(mia, "lea")
    share(lea, "lea", person="mia", days="1")  # the twin: she herself
    assert may_enter(mia, "lea")
