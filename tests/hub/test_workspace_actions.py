"""What a person does to one workspace, with and without JavaScript, and what its bookmark meets."""

from __future__ import annotations

import html
import re

import pytest

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.proxy_class = "mlhub.hub.proxy.WatchedProxy"
"""
POLICY = "everyone: {total: {servers: 4}, cpu_limit: {default: 1, max: 2}}"


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def service(hub):
    return hub.service()


def sign_in(hub, name):
    browser = hub.browser()
    browser.log_in(name, "anything")
    assert browser.get("/hub/home", allow_redirects=False).status_code == 200
    return browser


def read_text(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def is_running(service, person, server=""):
    return bool((service.get_server(person, server) or {}).get("ready"))


def meets_default(browser, path):
    """Return True if a path is answered by the default workspace."""
    answer = browser.get(path, allow_redirects=False)
    if answer.status_code != 200 or "json" not in answer.headers["Content-Type"]:
        return False
    return answer.json()["environment"]["JUPYTERHUB_SERVICE_PREFIX"].count("/") == 3


def test_the_bookmark_of_a_stopped_workspace_says_so_while_the_default_one_runs(hub, service):
    service.make_person("ann")
    ann = sign_in(hub, "ann")

    def says_so(server):
        page = ann.get(f"/user/ann/{server}/lab/tree/a.ipynb")
        is_told = f"“{server}” is not running" in read_text(page)
        return page.status_code == 424 and is_told and f"/hub/spawn/ann/{server}?" in page.text

    assert service.start("ann", server="before").status_code == 201
    assert service.stop("ann", "before").status_code == 204
    assert service.start("ann").status_code == 201
    hub.wait_until(lambda: says_so("before"), "it is told of one that was there first", 20)
    assert service.start("ann", server="work").status_code == 201
    assert not meets_default(ann, "/user/ann/work/lab")
    assert ann.get("/user/ann/work/lab").status_code == 200
    assert service.stop("ann", "work").status_code == 204
    hub.wait_until(lambda: says_so("work"), "it is told of one that has stopped", 20)
    assert service.put("users/ann/servers/never", json={}).status_code == 201
    hub.wait_until(lambda: says_so("never"), "it is told of one that never ran", 20)
    # What a program of such a workspace asks is told as programs are.
    assert ann.get("/user/ann/work/api/kernels").status_code == 424
    # All else below the address is the default one's: pages, files, names of nothing.
    for path in ("lab", "files/work/a.csv", "lab/tree/work", "work.txt", "nothing/here"):
        assert meets_default(ann, f"/user/ann/{path}"), path
    # Its button starts it, and goes on where the bookmark leads. Then it is deleted, and the name
    # is the default one's.
    page = ann.get("/user/ann/work/lab/tree/a.ipynb")
    (action,) = re.findall(r'action="(/hub/start/ann/work[^"]*)"', page.text)
    token = re.search(r'name="_xsrf" value="([^"]*)"', page.text)[1]
    fields = {"_xsrf": html.unescape(token)}
    answer = ann.post(html.unescape(action), data=fields, allow_redirects=False)
    assert answer.headers["Location"].startswith("/hub/spawn-pending/ann/work?next=")
    assert "work%2Flab%2Ftree%2Fa.ipynb" in answer.headers["Location"]
    hub.wait_until(lambda: is_running(service, "ann", "work"), "it runs")
    hub.wait_until(lambda: ann.get("/user/ann/work/x").status_code == 200, "it is reached", 20)
    assert not meets_default(ann, "/user/ann/work/x")
    answer = service.delete("users/ann/servers/work", json={"remove": True})
    assert answer.status_code in (202, 204)
    hub.wait_until(lambda: meets_default(ann, "/user/ann/work/x"), "the name is free", 20)
    # JupyterHub's look at all routes, every few minutes, leaves them alone.
    boss = sign_in(hub, "boss")
    headers = {"X-XSRFToken": boss.xsrf("/hub/ssh-keys")}
    assert boss.post("/hub/api/proxy", headers=headers).status_code == 200
    assert says_so("before")
    assert meets_default(ann, "/user/ann/work/x")
    assert "Deleting stale route /user/ann/" not in hub.log


def test_without_javascript_a_workspace_is_stopped_restarted_and_deleted_after_a_question(
    hub, service
):
    bob = sign_in(hub, "bob")
    assert service.start("bob", server="work").status_code == 201
    card = bob.get("/hub/home").text
    for verb in ("restart", "stop", "delete"):
        assert f'action="/hub/{verb}/bob/work" method="get"' in card
        page = bob.get(f"/hub/{verb}/bob/work")
        assert f"{verb.capitalize()} “work”?" in read_text(page)
    assert is_running(service, "bob", "work"), "a question changes nothing"

    def press(verb, path):
        return bob.submit(f"/hub/{verb}/{path}", {}, allow_redirects=False)

    assert press("restart", "bob/work").headers["Location"] == "/hub/spawn-pending/bob/work"
    hub.wait_until(lambda: is_running(service, "bob", "work"), "it runs again")
    assert press("stop", "bob/work").headers["Location"] == "/hub/home"
    assert not is_running(service, "bob", "work")
    assert press("delete", "bob/work").headers["Location"] == "/hub/home"
    assert service.get_server("bob", "work") is None
    (item,) = service.get("users/bob/trash").json()
    assert item["server"] == "work"


def test_a_default_workspace_is_deleted_and_begins_anew(hub, service):
    service.make_person("cid")
    cid = sign_in(hub, "cid")
    assert "Delete the default workspace" not in read_text(cid.get("/hub/home")), "never started"
    assert service.start("cid", {"env": {"A": "first"}}).status_code == 201
    answer = service.delete("users/cid/server", json={"remove": True})
    assert answer.status_code == 204, answer.text
    assert not is_running(service, "cid")
    (item,) = service.get("users/cid/trash").json()
    assert not item["server"]
    assert cid.get("/hub/home").status_code == 200
    assert "first" not in cid.get("/hub/spawn/cid").text
    assert service.start("cid").status_code == 201
    # By the page as well, which stops it first.
    assert cid.submit("/hub/delete/cid", {}, allow_redirects=False).status_code == 302
    assert not is_running(service, "cid")
    assert len(service.get("users/cid/trash").json()) == 2


def test_nobody_else_acts_on_a_workspace_and_nothing_happens_without_a_token(hub, service):
    service.make_person("dan")
    assert service.start("dan").status_code == 201
    other, dan = sign_in(hub, "eve"), sign_in(hub, "dan")
    token = other.xsrf("/hub/ssh-keys")
    for verb in ("stop", "restart", "delete", "workspace"):
        assert other.get(f"/hub/{verb}/dan").status_code in (403, 404), verb
        fields = {"_xsrf": token, "display_name": "hers"}
        assert other.post(f"/hub/{verb}/dan", data=fields).status_code in (403, 404), verb
        assert dan.post(f"/hub/{verb}/dan", data={"display_name": "x"}).status_code == 403, verb
    assert is_running(service, "dan")
    boss = sign_in(hub, "boss")
    assert "Stop the default workspace of dan?" in read_text(boss.get("/hub/stop/dan"))
    answer = boss.submit("/hub/stop/dan", {}, allow_redirects=False)
    assert answer.headers["Location"] == "/hub/admin"
    assert not is_running(service, "dan")


def test_a_workspace_is_called_what_its_owner_likes_and_keeps_its_address(hub, service):
    fay = sign_in(hub, "fay")
    assert service.put("users/fay/servers/thesis", json={}).status_code == 201
    page = "/hub/workspace/fay/thesis"

    def rename(name):
        return fay.submit(page, {"display_name": name})

    assert "“Große  Daten”".replace("  ", " ") in read_text(rename(" Große   Daten "))
    assert "Große Daten" in read_text(fay.get("/hub/home"))
    told = read_text(fay.get("/hub/user/fay/thesis/lab"))
    assert "“Große Daten” is not running" in told
    for name, sentence in (
        ("x" * 61, "at most 60 characters"),
        ("zero\u200bwidth", "characters that cannot be seen"),
    ):
        refused = rename(name)
        assert refused.status_code == 400
        assert sentence in fay.message(refused)
        assert html.escape(name, quote=True) in refused.text, "what was typed is kept"
    token = service.make_person("fay")
    for name, title in (("Big", "Big"), ("", "thesis")):
        answer = token.patch("users/fay/servers/thesis/workspace", json={"display_name": name})
        assert answer.json()["display_name"] == title
    answer = token.patch("users/fay/server/workspace", json={"display_name": "mine"})
    assert (answer.status_code, "every page" in answer.json()["message"]) == (400, True)


def test_what_runs_of_a_persons_total_is_a_bar_at_home_and_in_the_form(hub, service):
    gus = sign_in(hub, "gus")
    for count, start in ((0, None), (1, "gus")):
        if start:
            assert service.start(start).status_code == 201
        for path in ("/hub/home", "/hub/spawn/gus/more"):
            text = gus.get(path).text
            assert f'aria-label="Workspaces: {count} of 4"' in text, (count, path)


def test_what_somebody_was_refused_is_not_the_first_thing_that_an_administrator_sees(hub, service):
    hal, boss = sign_in(hub, "hal"), sign_in(hub, "boss")
    answer = hal.submit("/hub/spawn/hal", {"cpu_limit": "64"})
    if answer.status_code != 400:  # a hub that takes longer than a second tells it afterwards
        hub.wait_until(
            lambda: 'id="form-errors"' in hal.get("/hub/spawn/hal").text, "hal is told why"
        )
    else:
        assert 'id="form-errors"' in answer.text
    assert 'id="form-errors"' not in boss.get("/hub/spawn/hal").text
