"""Before a workspace expires its owner is warned, and puts that off as far as the policy lets."""

from __future__ import annotations

import re

import pytest

from tests.support.hub_process import Service
from tests.support.warnings_of_pages import read_warnings

POLICY = """
everyone:
  days_to_live: {default: 2, max: 5}
groups:
  lasting:
    days_to_live: {default: 30, max: 60}
  fixed:
    days_to_live: {default: 1, max: 5}
    options: [image]
"""
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}

from jupyterhub.handlers.base import BaseHandler

class Past(BaseHandler):
    # Somebody's workspace has expired.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        self.find_user(self.get_argument("user")).spawners[""].put_off(10**9)

c.JupyterHub.extra_handlers.append((r"/past", Past))
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture
def sign_in(hub, admin):
    """Return a function that starts a workspace for somebody, and signs them in."""

    def begin(name, *, server="", groups=()):
        admin.make_person(name, groups=groups)
        admin.start(name, server=server)
        ready = lambda: (admin.get_server(name, server) or {}).get("ready")  # noqa: E731
        hub.wait_until(ready, f"{name}/{server} is ready", 20)
        browser = hub.browser()
        browser.log_in(name, "any")
        return browser

    return begin


def test_the_home_page_warns_and_says_how_long_is_left_and_what_comes_then(hub, admin, sign_in):
    browser = sign_in("ann", server="work")
    (sentence,) = read_warnings(browser.get("/hub/home"), "expiry").values()
    assert re.match("“work” expires in 48 hours, on 20[0-9 :-]* UTC .", sentence)
    assert "Then it is stopped, and its data moves to the trash." in sentence
    assert "bring it back from there for 14 days" in sentence
    lasting = sign_in("leo", groups=("lasting",))
    assert read_warnings(lasting.get("/hub/home"), "expiry") == {}


def test_the_pages_of_a_workspace_warn_of_that_one_alone_and_only_its_owner(hub, admin, sign_in):
    browser = sign_in("bob")
    sign_in("bob", server="other")
    admin.stop("bob")
    hub.wait_until(lambda: not admin.get_server("bob")["pending"], "it has stopped", 10)
    assert set(read_warnings(browser.get("/hub/home"), "expiry")) == {"", "other"}
    assert set(read_warnings(browser.get("/hub/spawn/bob"), "expiry")) == {""}
    stopped = browser.get("/hub/user/bob/lab")
    assert stopped.status_code == 424
    assert set(read_warnings(stopped, "expiry")) == {""}
    boss = sign_in("boss", groups=("lasting",))
    assert read_warnings(boss.get("/hub/spawn/bob"), "expiry") == {}
    assert read_warnings(boss.get("/hub/user/bob/lab"), "expiry") == {}


def test_a_workspace_itself_learns_that_it_expires_and_where_that_is_put_off(hub, admin, sign_in):
    browser = sign_in("guy", server="work")
    sign_in("hal", groups=("lasting",))

    def learn(name, server, path):
        scopes = [f"access:servers!server={name}/{server}"]
        token = admin.post(f"users/{name}/tokens", json={"scopes": scopes}).json()["token"]
        return Service(hub.url, token).get(f"users/{name}/{path}/notices").json()["notices"]

    (notice,) = learn("guy", "work", "servers/work")
    assert notice["text"].startswith("This workspace expires in 48 hours.")
    assert "its data moves to the trash" in notice["text"]
    assert (notice["label"], notice["path"]) == ("Extend", "extend?server=work")
    assert browser.get(f"/hub/{notice['path']}").status_code == 200
    assert learn("hal", "", "server") == []  # for a month there is nothing to tell


def test_an_owner_extends_as_far_as_the_policy_lets_without_javascript(hub, admin, sign_in):
    browser = sign_in("cem", server="work")
    page = browser.get("/hub/extend", params={"server": "work"}).text
    assert "At most 5." in page
    fields = {"server": "work", "days": "6"}
    refused = browser.submit("/hub/extend?server=work", fields, to="/hub/extend")
    assert refused.status_code == 400
    assert "at most 5" in browser.message(refused)
    for days in ("x", "-1", "0"):
        again = browser.submit(
            "/hub/extend?server=work", {**fields, "days": days}, to="/hub/extend"
        )
        assert again.status_code == 400, days
    answer = browser.submit("/hub/extend?server=work", {**fields, "days": "4"}, to="/hub/extend")
    assert answer.url.endswith("/hub/home")
    assert read_warnings(answer, "expiry") == {}
    left = admin.get("users/cem/servers/work/workspace").json()["remaining_seconds"]
    assert 3.9 * 86_400 < left <= 4 * 86_400


def test_whoever_may_not_choose_is_told_whom_to_ask_and_extends_nothing(hub, admin, sign_in):
    browser = sign_in("dan", groups=("fixed",))
    page = browser.get("/hub/extend").text
    assert "You cannot extend it. Ask an administrator." in page
    assert 'name="days"' not in page
    before = admin.get("users/dan/server/workspace").json()["expires_at"]
    refused = browser.submit("/hub/ssh-keys", {"server": "", "days": "4"}, to="/hub/extend")
    assert refused.status_code == 400
    assert admin.get("users/dan/server/workspace").json()["expires_at"] == before


def test_nobody_extends_somebody_elses_or_by_a_form_without_its_token(hub, admin, sign_in):
    browser = sign_in("eve", server="mine")
    sign_in("fay", server="theirs")
    fields = {"server": "theirs", "days": "4"}
    answer = browser.submit("/hub/extend?server=mine", fields, to="/hub/extend")
    assert answer.status_code == 404
    assert browser.post("/hub/extend", data={"server": "mine", "days": "4"}).status_code == 403
    for name, server in (("eve", "mine"), ("fay", "theirs")):
        left = admin.get(f"users/{name}/servers/{server}/workspace").json()["remaining_seconds"]
        assert left <= 2 * 86_400


def test_what_has_expired_is_said_to_have(hub, admin, sign_in):
    browser = sign_in("gus")
    assert hub.browser().post("/hub/past", params={"user": "gus"}).status_code == 200
    (sentence,) = read_warnings(browser.get("/hub/home"), "expiry").values()
    assert sentence.startswith("The default workspace has expired on 2001-09-09")
    assert "It is stopped soon, and its data moves to the trash." in sentence
    assert "It has expired." in browser.get("/hub/extend").text
