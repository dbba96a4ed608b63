"""The pages about workspaces on a real hub: a person's own, and all of them for administrators."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from datetime import datetime

import pytest

POLICY = """
images:
  - {name: small, image: "fake/small:1", description: One core is enough}
  - {name: large, image: "fake/large:1"}
everyone:
  images: [small]
  cpu_limit: {default: 1, max: 2}
  mem_limit: {default: 1G, max: 2G}
  days_to_live: {default: 2, max: 5}
  total: {servers: 2}
groups:
  licensed:
    license: {variable: LICENSE_KEY}
    total: {servers: 3}
admins:
  images: ["*"]
  total: {servers: unlimited}
"""
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.load_roles.append({"name": "desk", "users": ["dee"],
                                "scopes": ["admin-ui", "admin:servers!group=licensed"]})
c.JupyterHub.named_server_limit_per_user = 4
"""
MANY = 10_000


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def service(hub):
    return hub.service()


@pytest.fixture(scope="module")
def boss(hub):
    return sign_in(hub, "boss")


def sign_in(hub, name):
    browser = hub.browser()
    browser.log_in(name, "anything")
    assert browser.get("/hub/home", allow_redirects=False).status_code == 200
    return browser


def list_rows(page):
    """Return the rows of the administrators' page: owner, server, state, and the text of each."""
    found = re.findall(
        r'<tr class="workspace-row" data-owner="(.*?)" data-server-name="(.*?)".*?'
        r'data-state="(.*?)">(.*?)</tr>',
        page.text,
        re.DOTALL,
    )
    return [
        (owner, server, state, " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split()))
        for owner, server, state, text in found
    ]


def look(browser, **query):
    page = browser.get("/hub/admin", params=query)
    assert page.status_code == 200, page.text
    return list_rows(page)


def test_an_administrator_sees_everybodys_workspaces_running_and_stopped(hub, service, boss):
    service.make_person("ann")
    assert service.start("ann", {"image": "small"}).status_code == 201
    assert service.start("ann", {"cpu_limit": 2, "days_to_live": 4}, "gpu").status_code == 201
    service.make_person("ben")
    assert service.start("ben", {}).status_code == 201
    assert service.stop("ben").status_code == 204
    service.make_person("idle")  # has a default workspace that was never started

    rows = look(boss)
    assert [row[:3] for row in rows] == [
        ("ann", "", "running"),
        ("ann", "gpu", "running"),
        ("ben", "", "stopped"),
    ]
    assert "2 of 2 running, 2 GB of memory" in rows[0][3]
    assert "small" in rows[0][3]
    assert "Stop “gpu” of ann" in rows[1][3]
    assert re.search(r" (3\.9|4) \d{4}-", rows[1][3]), "days to live"
    assert "running," not in rows[2][3], "who runs nothing takes nothing"


def test_what_is_wanted_is_found_and_sorted_by_the_server(hub, service, boss):
    assert [row[0] for row in look(boss, search="BEN")] == ["ben"]
    assert [row[:2] for row in look(boss, search="gp")] == [("ann", "gpu")]
    assert look(boss, search="small")
    assert look(boss, search="%") == []  # a sign of the database's own is text
    assert [row[2] for row in look(boss, state="stopped")] == ["stopped"]
    assert [row[0] for row in look(boss, sort="owner", order="desc")] == ["ben", "ann", "ann"]
    expires = look(boss, sort="expires", order="desc", search="ann")
    assert [row[1] for row in expires] == ["gpu", ""]
    assert [row[1] for row in look(boss, sort="expires", search="ann")] == ["", "gpu"]
    # What is no sort or number is nothing.
    assert look(boss, sort="; drop table users", offset="-1", state="x") == look(boss)
    assert look(boss, offset="400") == look(boss)


def test_the_rows_are_there_for_programs_and_for_a_page_that_stays_open(hub, service, boss):
    answer = service.get("workspaces", params={"search": "gpu"}).json()
    assert answer["total"] == 1
    (model,) = answer["workspaces"]
    assert (model["owner"], model["server"], model["state"]) == ("ann", "gpu", "running")
    assert 3.8 < model["days_to_live"] <= 4
    assert model["url"] == "/user/ann/gpu/"
    datetime.fromisoformat(model["last_activity"])


def test_nobody_but_an_administrator_of_all_sees_the_workspaces_of_others(hub, service):
    ann = sign_in(hub, "ann")
    assert ann.get("/hub/admin").status_code == 403
    assert service.make_person("ann").get("workspaces").status_code == 403
    for path in ("/hub/workspace/ben", "/hub/workspace/nobody"):
        assert ann.get(path).status_code == 404
    token = ann.xsrf("/hub/ssh-keys")
    answer = ann.post("/hub/admin/create", data={"_xsrf": token, "owner": "ben"})
    assert answer.status_code == 403
    # Who looks after a few gets JupyterHub's page, which shows what they may see.
    service.make_person("dee", groups=("licensed",))
    dee = sign_in(hub, "dee")
    answer = dee.get("/hub/admin", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/admin/jupyterhub")
    assert dee.get("/hub/admin").status_code == 200
    assert dee.get("/hub/admin/create").status_code in (200, 403)
    assert "/hub/login" in hub.browser().get("/hub/admin").url


def test_jupyterhubs_own_page_stays_within_reach(boss):
    assert 'href="/hub/admin/jupyterhub"' in boss.get("/hub/admin").text
    assert "react-admin-hook" in boss.get("/hub/admin/jupyterhub").text


def test_an_administrator_is_led_to_the_form_of_a_workspace_for_somebody(hub, service, boss):
    service.make_person("carla")
    created = {"owner": "carla", "server": "thesis"}
    answer = boss.submit("/hub/admin", created, to="/hub/admin/create", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/spawn/carla/thesis")
    form = boss.get("/hub/spawn/carla/thesis").text
    assert "Start “thesis” for carla" in form
    assert 'value="large"' in form  # with the administrator's own choice
    assert not service.get_server("carla", "thesis"), "looking makes nothing"
    for fields, sentence in (
        ({"owner": "nobody"}, "There is nobody called “nobody”."),
        ({"owner": ""}, "Enter the username of the person"),
        ({"owner": "carla", "server": "Not A Name"}, "Not A Name"),
        ({"owner": "carla", "server": "lab"}, "address of a page inside the default workspace"),
    ):
        answer = boss.submit("/hub/admin", fields, to="/hub/admin/create")
        assert answer.status_code == 400
        assert sentence in boss.message(answer), fields
    bare = boss.post("/hub/admin/create", data={"owner": "carla"}, allow_redirects=False)
    assert bare.status_code == 403


def test_all_about_a_workspace_is_told_to_its_owner_and_administrators_without_secrets(
    hub, service, boss
):
    service.make_person("fay", groups=("licensed",))
    options = {"license": "AAAA-BBBB", "env": {"API_KEY": "hunter2"}, "cpu_limit": 2}
    assert service.start("fay", options, "work").status_code == 201
    try:
        for browser in (sign_in(hub, "fay"), boss):
            page = browser.get("/hub/workspace/fay/work")
            assert page.status_code == 200
            assert "API_KEY=…" in page.text
            assert "set, not shown" in page.text
            assert "hunter2" not in page.text
            assert "AAAA-BBBB" not in page.text
            assert "sealed:" not in page.text
            assert "small" in page.text
        assert "Record" in boss.get("/hub/workspace/fay/work").text
        # What her group may have in all is hers.
        assert "1 of 3 running" in look(boss, search="fay")[0][3]
    finally:
        service.delete("users/fay")


def test_what_an_administrator_does_is_in_the_owners_record(hub, service, boss):
    token = boss.xsrf("/hub/admin")
    answer = boss.post("/hub/api/users/ben/server", headers={"X-XSRFToken": token})
    assert answer.status_code == 201
    ben = sign_in(hub, "ben")
    hub.wait_until(lambda: "boss Start ben" in read_text(ben.get("/hub/record")), "it is told", 10)
    assert [row[2] for row in look(boss, search="ben")] == ["running"]
    answer = boss.delete("/hub/api/users/ben/server", headers={"X-XSRFToken": token})
    assert answer.status_code in (202, 204)
    hub.wait_until(lambda: look(boss, search="ben")[0][2] == "stopped", "it is stopped")
    # Without the token nothing happens.
    assert boss.post("/hub/api/users/ben/server").status_code == 403


def test_an_administrator_is_named_as_themselves_on_pages_of_somebody_elses_workspace(
    hub, service, boss
):
    service.make_person("ola")
    page = boss.get("/hub/user/ola/lab").text
    assert '<span class="me-1">boss</span>' in page
    assert "The default workspace of ola is not running" in page
    page = sign_in(hub, "ola").get("/hub/user/ola/lab").text
    assert '<span class="me-1">ola</span>' in page
    assert "Your workspace is not running" in page
    # They are asked in words before they enter, and may go back.
    assert service.start("ola").status_code == 201
    (client,) = hub.query(
        "select oauth_client_id from spawners join users on users.id = user_id"
        " where users.name = 'ola' and spawners.name = ''"
    )[0]
    query = {"client_id": client, "redirect_uri": "/user/ola/oauth_callback", "state": "x"}
    answer = boss.get("/hub/api/oauth2/authorize", params={**query, "response_type": "code"})
    assert answer.status_code == 200
    assert "Open somebody else's workspace?" in read_text(answer)
    assert "oauth URL" not in answer.text


def test_each_step_of_a_start_has_its_time(hub, service):
    service.make_person("pia")
    assert service.start("pia").status_code == 201
    answer = service.get("users/pia/server/progress", stream=True, timeout=20)
    events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: ")]
    assert events[-1]["ready"]
    assert all("seconds" in event for event in events[:-1])


def read_text(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def test_of_ten_thousand_people_a_page_shows_one_screen_of_rows(hub, service, boss):
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite", timeout=60) as database:
        (first,) = database.execute("select max(id) + 1000 from users").fetchone()
        people = [(first + number, f"many-{number:05}") for number in range(MANY)]
        database.executemany(
            "insert into users (id, name, admin, cookie_id) values (?, ?, 0, ?)",
            [(number, name, name) for number, name in people],
        )
        database.executemany(
            "insert into spawners (user_id, name, display_name, state, last_activity)"
            " values (?, ?, ?, ?, '2026-01-01 00:00:00.000000')",
            [
                (number, server, server, json.dumps({"expires_at": 4_000_000_000 + number}))
                for number, _ in people
                for server in ("", "second")
            ],
        )
    page = boss.get("/hub/admin", params={"search": "many-"})
    rows = list_rows(page)
    assert [row[:2] for row in rows[:3]] == [
        ("many-00000", ""),
        ("many-00000", "second"),
        ("many-00001", ""),
    ]
    assert len(rows) == 50
    assert f"50 of {2 * MANY}" in read_text(page)
    assert len(page.text) < 250_000
    last = look(boss, search="many-", sort="expires", order="desc", offset=str(2 * MANY - 50))
    assert [row[0] for row in last[-2:]] == ["many-00000", "many-00000"]
    answer = service.get("workspaces", params={"search": "many-", "offset": "19990"}).json()
    assert (answer["total"], len(answer["workspaces"])) == (2 * MANY, 10)


# a person's own page


def read_card(page, server=""):
    """Return the card of one workspace: its state, its text, and whether its Start is live."""
    found = re.search(
        rf'<article [^>]*data-server-name="{server}" data-state="(.*?)"(.*?)</article>',
        page.text,
        re.DOTALL,
    )
    assert found, page.text
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", "<" + found[2])).split())
    return found[1], text, 'start-server" disabled' not in found[2]


def press(browser, path, page="/hub/home", **fields):
    return browser.submit(page, fields, to=path, allow_redirects=False)


def test_a_new_person_is_invited_and_starts_with_the_defaults_by_one_click(hub, service):
    gil = sign_in(hub, "gil")
    page = gil.get("/hub/home")
    assert "This is yours" in page.text
    state, text, is_live = read_card(page)
    assert (state, is_live) == ("stopped", True)
    assert "Image small" in text
    answer = press(gil, "/hub/start/gil")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/spawn-pending/gil")
    hub.wait_until(lambda: service.get_server("gil")["ready"], "it is ready")
    # Pressed again, or in another tab: it is the same one.
    answer = press(gil, "/hub/start/gil")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/spawn-pending/gil")
    page = gil.get("/hub/home")
    state, text, _ = read_card(page)
    assert state == "running"
    assert "Resources 1 CPU · 1 GB memory" in text
    assert re.search(r"Expires in (2 days|4. hours)", text)
    assert "This is yours" not in page.text


def test_a_second_workspace_runs_after_two_clicks_and_has_the_name_that_one_gives_it(hub, service):
    hal = sign_in(hub, "hal")
    page = hal.get("/hub/home").text
    (suggested,) = re.findall(r'id="new-server-name"[^>]*value="([^"]*)"', page)
    assert press(hal, "/hub/new", name=suggested).status_code == 302
    hub.wait_until(lambda: (service.get_server("hal", suggested) or {}).get("ready"), "it runs")
    answer = press(hal, "/hub/new", name="Große Daten!", then="options")
    assert answer.headers["Location"].startswith("/hub/spawn/hal/groe-daten?display_name=Gro")
    form = hal.get(answer.headers["Location"]).text
    assert "Start “Große Daten!”" in form
    assert press(hal, "/hub/new", name="Große Daten!").headers["Location"].endswith("groe-daten")
    hub.wait_until(lambda: (service.get_server("hal", "groe-daten") or {}).get("ready"), "runs")
    assert "Große Daten! Running groe-daten" in read_card(hal.get("/hub/home"), "groe-daten")[1]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Enter a name."),
        ("!!!", "“!!!” has no letter or digit that can stand in an address."),
        ("lab", "A workspace cannot be called 'lab'"),
        ("workspace-2", "You have a workspace “workspace-2” already."),
    ],
)
def test_a_name_that_cannot_be_is_told_beside_the_field_and_kept(hub, service, typed, sentence):
    hal = sign_in(hub, "hal")
    service.put("users/hal/servers/workspace-2")
    answer = press(hal, "/hub/new", name=typed)
    assert answer.status_code == 400
    (complaint,) = re.findall(r'id="new-server-error"[^>]*>(.*?)</div>', answer.text)
    assert sentence in html.unescape(complaint)
    if typed:
        assert f'value="{typed}"' in answer.text


def test_what_a_total_forbids_is_not_offered_and_says_why_without_a_rule(hub, service):
    ida = sign_in(hub, "ida")
    for server in ("", "one"):
        assert service.start("ida", {}, server).status_code == 201
    service.put("users/ida/servers/two")
    page = ida.get("/hub/home")
    state, text, is_live = read_card(page, "two")
    assert (state, is_live) == ("stopped", False)
    sentence = "You may run 2 workspaces at once, 2 already do. Stop one first."
    assert sentence in text
    assert 'id="new-server-start" class="btn btn-primary" disabled' in page.text
    assert "policy" not in page.text
    model = service.get("users/ida/servers/two/workspace").json()
    assert model["refusal"] == sentence
    # By hand it is refused with the same sentence, and leaves nothing.
    answer = press(ida, "/hub/new", name="three")
    assert answer.status_code in (400, 403)
    assert sentence in html.unescape(answer.text)
    assert "Rule:" not in answer.text
    assert 'action="/hub/spawn/ida/three"' in answer.text
    assert 'data-server-name="three"' not in ida.get("/hub/home").text
    # Once there is room, all of it is live.
    service.stop("ida", "one")
    hub.wait_until(lambda: read_card(ida.get("/hub/home"), "two")[2], "there is room")
    assert service.get("users/ida/servers/two/workspace").json()["refusal"] == ""


def test_options_that_were_kept_and_are_too_much_now_are_told_by_their_labels(hub, service):
    jan = sign_in(hub, "jan")
    service.patch("users/jan/servers/", json={"user_options": {"cpu_limit": 64}})
    _, text, is_live = read_card(jan.get("/hub/home"))
    assert not is_live
    assert "CPU cores: 64 is more than you may have. Ask for at most 2." in text
    answer = press(jan, "/hub/start/jan")
    assert answer.status_code == 400
    assert 'id="option-cpu_limit-error"' in answer.text  # in the form, where it can be mended
    assert 'value="64"' in answer.text


def test_the_card_of_a_workspace_that_was_made_elsewhere_comes_to_an_open_page(hub, service):
    nia = sign_in(hub, "nia")
    token = nia.xsrf("/hub/home")
    name = "<b>New</b>"
    assert service.put("users/nia/servers/new", json={"display_name": name}).status_code == 201
    headers = {"X-XSRFToken": token}
    answer = nia.get("/hub/api/users/nia/servers/new/card", headers=headers)
    card = answer.json()["html"]
    assert 'data-server-name="new" data-state="stopped"' in card
    assert html.escape(name) in card
    assert name not in card
    assert f'name="_xsrf" value="{html.escape(token)}"' in card
    for path in ("users/nia/servers/other/card", "users/ann/servers/gpu/card"):
        assert nia.get(f"/hub/api/{path}", headers=headers).status_code == 404


def test_nothing_starts_by_a_link_without_a_token_or_for_somebody_else(hub, service, boss):
    kim, lea = sign_in(hub, "kim"), sign_in(hub, "lea")
    assert kim.get("/hub/start/kim", allow_redirects=False).headers["Location"] == "/hub/spawn/kim"
    assert kim.get("/hub/new", allow_redirects=False).headers["Location"] == "/hub/home"
    assert kim.post("/hub/start/kim").status_code == 403
    assert kim.post("/hub/new", data={"name": "x"}).status_code == 403
    assert press(lea, "/hub/start/kim").status_code == 404
    assert not service.get_server("kim")["ready"]
    # The twin: an administrator starts it for her.
    assert press(boss, "/hub/start/kim").status_code == 302
    hub.wait_until(lambda: service.get_server("kim")["ready"], "it runs")


def test_a_form_from_before_a_sign_in_elsewhere_is_told_in_words(hub):
    mia = sign_in(hub, "mia")
    stale = mia.xsrf("/hub/home")
    other = sign_in(hub, "mia")
    for browser, fields in ((other, {"_xsrf": stale}), (hub.browser(), {"_xsrf": stale})):
        for path in ("/hub/start/mia", "/hub/spawn/mia", "/hub/new", "/hub/extend"):
            answer = browser.post(path, data=fields)
            assert answer.status_code == 403, path
            assert "XSRF" not in re.sub(r"<script.*?</script>", "", answer.text, flags=re.DOTALL)
            assert "oad the page again" in read_text(answer), path
