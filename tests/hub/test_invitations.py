"""People choose their password by a link of an administrator's: once, in time, and nobody else."""

from __future__ import annotations

import html
import re
import threading
import time

import pytest
from jupyterhub import orm

from mlhub.signin.native.invitations import Invitations, read_claim
from tests.support.hub_process import PRICE, PRICED

GOOD, OTHER = "correct horse 42", "another good one 7"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.load_roles = [{"name": "user-manager", "scopes": ["admin:users", "admin-ui"], \
"users": ["manager"]}]
"""


@pytest.fixture(scope="module")
def server(module_hub):
    return module_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(server):
    return server.admin()


def invite(admin, names):
    """Return the links that the page shows, by name."""
    answer = admin.submit("/hub/invite", {"names": names})
    assert answer.status_code == 200, answer.text
    found = re.findall(r'readonly value="([^"]*)" aria-label="Link for ([^"]*)"', answer.text)
    return {html.unescape(name): cut(html.unescape(link)) for link, name in found}


def cut(link):
    return link[link.index("/hub/") :]


def use(browser, link, password=GOOD, again=None):
    fields = {
        "code": link.partition("code=")[2],
        "new_password": password,
        "new_password_confirmation": password if again is None else again,
    }
    return browser.post("/hub/invitation", data={"_xsrf": browser.xsrf("/hub/login"), **fields})


def accounts(server):
    return dict(server.query("select username, is_authorized from users_info"))


def test_people_who_are_invited_choose_a_password_and_are_in(server, admin):
    links = invite(admin, "Ana, physics\n\nben\n")
    assert list(links) == ["ana", "ben"]
    ana = server.browser()
    for _ in range(3):
        assert "Welcome, ana" in ana.get(links["ana"]).text
    assert "ana" not in accounts(server), "looking at the link changes nothing"
    use(ana, links["ana"])
    assert ana.is_signed_in()
    assert accounts(server)["ana"] == 1
    assert "ben" not in accounts(server)
    groups = admin.api("GET", "groups/physics").json()
    assert groups["users"] == ["ana"]
    assert "physics" in admin.get("/hub/authorize?search=ana").text
    again = server.browser()
    again.log_in("ana", GOOD)
    assert again.is_signed_in()
    assert links["ana"].partition("code=")[2] not in server.log


def test_a_list_from_a_spreadsheet_is_taken_as_a_whole_or_not_at_all(server, admin):
    rows = 'Name,Group,E-Mail\n"sue","maths, pure",sue@example.org\ntom,,\n'
    answer = admin.submit("/hub/invite", {"names": rows})
    assert re.findall(r'aria-label="Link for ([^"]*)"', answer.text) == ["sue", "tom"]
    assert 'href="mailto:sue%40example.org?subject=' in answer.text
    assert admin.api("GET", "groups/maths, pure").json()["users"] == ["sue"]
    for line in ("ula,maths,no address", "ula,maths,ula@example.org,secret"):
        refused = admin.submit("/hub/invite", {"names": line})
        assert refused.status_code == 400
        assert "is not a name, a group and an e-mail address" in admin.message(refused)
    assert admin.api("GET", "users/ula").status_code == 404


def test_a_link_works_once_although_it_is_used_twice_at_a_time(hub):
    server = hub(CONFIG + PRICED.format(rounds=PRICE - 1))  # time for the others to come between
    admin = server.admin()
    link = invite(admin, "cleo")["cleo"]
    browsers = [server.browser() for _ in range(4)]
    answers = []
    threads = [
        threading.Thread(target=lambda b=browser, n=number: answers.append(
            (use(b, link, f"correct horse {n}{n}").status_code, n)
        ))
        for number, browser in enumerate(browsers)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers)[1:] == [410] * 3
    assert sum(browser.is_signed_in() for browser in browsers) == 1
    assert server.browser().get(link).status_code == 410


def test_a_forgotten_password_is_replaced_and_open_sessions_end(server, admin):
    dan = server.person("dan", GOOD, admin)
    link = cut(admin.api("POST", "users/dan/invitation").json()["url"])
    assert dan.is_signed_in(), "a link alone ends nothing"
    fresh = server.browser()
    use(fresh, link, OTHER)
    assert fresh.is_signed_in()
    assert not dan.is_signed_in()
    old = server.browser()
    old.log_in("dan", GOOD)
    assert not old.is_signed_in()


def test_a_link_ends_with_any_other_change_of_the_password(server, admin):
    server.person("eva", GOOD, admin)
    link = invite(admin, "eva")["eva"]
    admin.manage("change-password", "eva", new_password=OTHER, new_password_confirmation=OTHER)
    assert server.browser().get(link).status_code == 410
    assert use(server.browser(), link).status_code == 410


def test_a_link_is_not_for_whoever_has_the_name_later(server, admin):
    link = invite(admin, "fay")["fay"]
    admin.api("DELETE", "users/fay")
    assert server.browser().get(link).status_code == 410
    admin.api("POST", "users/fay")
    assert use(server.browser(), link).status_code == 410
    assert use(server.browser(), invite(admin, "fay")["fay"]).status_code == 200


def test_a_stranger_who_signed_up_under_an_invited_name_is_out(server, admin):
    link = invite(admin, "gil")["gil"]
    stranger = server.browser()
    stranger.sign_up("gil", OTHER)
    assert server.browser().get(link).status_code == 410, "made before that account was there"
    link = invite(admin, "gil")["gil"]
    gil = server.browser()
    use(gil, link)
    assert gil.is_signed_in()
    stranger.log_in("gil", OTHER)
    assert not stranger.is_signed_in()


def test_whose_authorization_was_withdrawn_gets_in_by_no_link(server, admin):
    server.person("hal", GOOD, admin)
    link = invite(admin, "hal")["hal"]
    admin.manage("authorize", "hal", action="withdraw")
    assert use(server.browser(), link).status_code == 410
    assert admin.api("POST", "users/hal/invitation").status_code == 409
    assert "was withdrawn" in admin.submit("/hub/invite", {"names": "hal"}).text


@pytest.mark.parametrize("change", ["name", "time", "sign", "none", "long"])
def test_a_code_that_was_tampered_with_is_worth_nothing(server, admin, change):
    link = invite(admin, f"ida-{change}")[f"ida-{change}"]
    code = link.partition("code=")[2]
    content, _, sign = code.partition(".")
    other = Invitations(b"another secret of thirty-two byte")
    claim = read_claim(code)
    forged = {
        "name": other.make(orm.User(name="admin", id=1, created=orm.utcnow()), None, 2**40),
        "time": content[:-6] + "MDAwMF0" + "." + sign,
        "sign": f"{content}.{'A' * len(sign)}",
        "none": "",
        "long": code + "A" * 5000,
    }[change]
    assert server.browser().get(f"/hub/invitation?code={forged}").status_code == 410
    assert use(server.browser(), f"/hub/invitation?code={forged}").status_code == 410
    assert use(server.browser(), link).status_code == 200, "the true one is still good"
    assert claim.expires_at - time.time() < 3 * 86_400 + 1


def test_a_bad_password_leaves_the_link_as_it_is(server, admin):
    link = invite(admin, "jo")["jo"]
    browser = server.browser()
    assert "at least 10" in browser.message(use(browser, link, "short"))
    assert "differ" in browser.message(use(browser, link, GOOD, OTHER))
    use(browser, link)
    assert browser.is_signed_in()


def test_only_administrators_invite(server, admin):
    manager = server.person("manager", GOOD, admin)
    assert manager.get("/hub/authorize").status_code == 200
    assert manager.get("/hub/invite").status_code == 403
    token = manager.xsrf("/hub/change-password")
    answer = manager.post("/hub/invite", data={"_xsrf": token, "names": "admin"})
    assert answer.status_code == 403
    assert manager.api("POST", "users/admin/invitation").status_code == 403
    kim = server.person("kim", GOOD, admin)
    assert kim.get("/hub/invite").status_code in (403, 404)
    assert kim.api("POST", "users/kim/invitation").status_code in (403, 404)
    assert admin.post("/hub/invite", data={"names": "lou"}).status_code == 403, "no XSRF token"


@pytest.mark.parametrize("names", ["", " \n ", "good-one\n../etc", "x" * 300, "a\n" * 201])
def test_a_wrong_line_adds_nobody(server, admin, names):
    before = server.query("select count(*) from users")
    assert admin.submit("/hub/invite", {"names": names}).status_code == 400
    assert server.query("select count(*) from users") == before


def test_people_without_a_password_are_listed_with_the_way_to_invite_them(server, admin):
    admin.api("POST", "users/max")
    page = admin.get("/hub/authorize").text
    assert '/hub/invite?names=max"' in page
    use(server.browser(), invite(admin, "max")["max"])
    without = admin.get("/hub/authorize").text.partition("Without a password")[2]
    assert 'names=max"' not in without
