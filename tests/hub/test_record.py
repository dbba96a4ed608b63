"""The record of who did what, by what people do in a hub."""

from __future__ import annotations

import html
import json
import re

import pytest

from mlhub.admin.record import FILE, verify

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.Authenticator.admin_users = {"admin"}
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    """A hub whose record these tests read."""
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.admin()


def read(hub):
    return [json.loads(line) for line in (hub.directory / FILE).read_text().splitlines()]


def latest(hub, event, about):
    """Wait for the last event of a kind about somebody: a line follows the answer."""
    found = []

    def is_there():
        found[:] = [
            record
            for record in read(hub)
            if record["event"] == event and record.get("about") == about
        ]
        return bool(found)

    hub.wait_until(is_there, f"{event} about {about}", 10)
    return found[-1]


def list_shown(page):
    """Return the rows of the page as texts."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.text, re.DOTALL)[1:]
    return [
        " ".join(html.unescape(re.sub(r"<[^>]*>", " ", row)).split())
        for row in rows
        if "<td" in row
    ]


def test_what_people_do_is_in_the_record_with_who_whom_and_from_where(hub, admin):
    ann = hub.person("ann", GOOD, admin)
    admin.api("POST", "users/ann/servers/work")
    ann.api("DELETE", "users/ann/servers/work")
    record = latest(hub, "start", "ann")
    assert (record["by"], record["about"], record["server"]) == ("admin", "ann", "work")
    assert record["status"] in (201, 202)
    assert record["source"] == "127.0.0.1"
    assert latest(hub, "stop", "ann")["by"] == "ann"
    assert latest(hub, "authorize", "ann")["by"] == "admin"
    assert latest(hub, "sign in", "ann") | {"at": "", "previous": ""} == {
        "event": "sign in",
        "by": "ann",
        "about": "ann",
        "status": 302,
        "source": "127.0.0.1",
        "at": "",
        "previous": "",
    }
    hub.service().post("users/later")
    record = latest(hub, "add a person", "later")
    assert (record.get("by"), record["service"], record["about"]) == (None, "tests", "later")


def test_a_wrong_password_is_told_to_whose_name_it_was_and_no_secret_is_written(hub, admin):
    bob = hub.person("bob", GOOD, admin)
    hub.browser().log_in("bob", "a wrong password 1")
    hub.wait_until(lambda: latest(hub, "sign in", "bob")["status"] == 403, "it is told", 10)
    assert "by" not in latest(hub, "sign in", "bob")
    shown = list_shown(bob.get("/hub/record"))
    assert any("Sign in bob 127.0.0.1 403 refused" in row for row in shown), shown
    token = admin.api("POST", "users/bob/tokens", json={}).json()["token"]
    text = (hub.directory / FILE).read_text()
    assert not [word for word in (token, GOOD, "a wrong password 1") if word in text]


def test_who_enters_anothers_workspace_is_in_its_owners_record(hub, admin):
    eve = hub.person("eve", GOOD, admin)
    eve.api("POST", "users/eve/server")
    client = hub.query(
        "select oauth_client_id from spawners join users on users.id = user_id"
        " where users.name = 'eve' and spawners.name = ''"
    )[0][0]
    callback = "/user/eve/oauth_callback"
    query = f"client_id={client}&redirect_uri={callback}&response_type=code&state=x"
    eve.get(f"/hub/api/oauth2/authorize?{query}", allow_redirects=False)
    assert not any(record["event"] == "enter" for record in read(hub)), "one's own is no news"
    page = f"/hub/api/oauth2/authorize?{query}"
    admin.get(page, allow_redirects=False)
    scopes = {"scopes": "access:servers!server=eve/"}
    assert admin.submit(page, scopes, allow_redirects=False).status_code == 302
    assert latest(hub, "enter", "eve")["by"] == "admin"
    assert len([record for record in read(hub) if record["event"] == "enter"]) == 1
    assert any("admin Enter eve" in row for row in list_shown(eve.get("/hub/record")))


def test_who_enters_the_ports_of_anothers_workspace_is_in_its_owners_record(hub, admin):
    fay, gus = hub.person("fay", GOOD, admin), hub.person("gus", GOOD, admin)
    assert hub.service().start("fay", {}, "work").status_code in (201, 202)
    path = "/hub/tools?next=/user/fay/work/tools/80/"
    assert fay.get(path, allow_redirects=False).status_code == 302
    assert gus.get(path, allow_redirects=False).status_code == 403
    assert admin.get(path, allow_redirects=False).status_code == 302
    latest(hub, "enter", "fay")
    found = [each for each in read(hub) if each["event"] == "enter" and each["about"] == "fay"]
    assert [(each["by"], each["server"]) for each in found] == [("admin", "work")]
    assert any("admin Enter fay" in row for row in list_shown(fay.get("/hub/record")))


def test_who_takes_a_name_again_sees_nothing_of_whom_it_was_before(hub, admin):
    before = hub.person("ida", GOOD, admin)
    before.api("POST", "users/ida/server")
    assert any("ida Start ida" in row for row in list_shown(before.get("/hub/record")))
    assert admin.api("DELETE", "users/ida").status_code == 204
    after = hub.person("ida", GOOD, admin)
    shown = list_shown(after.get("/hub/record"))
    assert any("ida Sign in ida" in row for row in shown)
    assert not [row for row in shown if "Start" in row or "Delete" in row], shown
    # Administrators look up the name, whoever had it.
    found = list_shown(admin.get("/hub/record?person=ida"))
    assert any("ida Start ida" in row for row in found)


def test_nobody_but_an_administrator_sees_the_record_of_others(hub, admin):
    zoe, dora = hub.person("zoe", GOOD, admin), hub.person("dora", GOOD, admin)
    zoe.api("POST", "users/zoe/server")
    assert any("zoe Start zoe" in row for row in list_shown(zoe.get("/hub/record")))
    for address in ("/hub/record", "/hub/record?person=zoe", "/hub/record?person="):
        shown = list_shown(dora.get(address))
        assert shown
        assert not [row for row in shown if "zoe" in row]
    assert any("zoe Start zoe" in row for row in list_shown(admin.get("/hub/record?person=zoe")))
    assert "/hub/login" in hub.browser().get("/hub/record").url


def test_names_that_strangers_type_are_text_on_the_page_and_their_flood_ends(hub, admin):
    for _ in range(3):
        hub.browser().log_in("<script>alert(1)</script>", "x" * 12)
    page = admin.get("/hub/record")
    assert "<script>alert(1)" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text


def test_a_request_that_is_refused_before_anybody_looks_who_it_is_is_recorded_too(hub, admin):
    answer = hub.browser().post("/hub/login", data={"username": "mia", "password": "x" * 100_000})
    assert answer.status_code == 413
    assert "cannot be written" not in hub.log
    hub.wait_until(lambda: any(each.get("status") == 413 for each in read(hub)), "it is told", 10)


def test_the_record_goes_on_over_a_restart_and_is_whole(hub, admin):
    before = verify(hub.directory / FILE)
    assert before.trouble == ()
    hub.stop()
    hub.start()
    after = verify(hub.directory / FILE, before.head)
    assert after.trouble == ()
    assert after.lines > before.lines
    noted = re.findall(r"goes on at ([0-9a-f]{64})", hub.log)[-1]
    assert verify(hub.directory / FILE, noted).trouble == ()
