"""A published app is there for those whom it is for, and they start its workspace at most."""

from __future__ import annotations

import html
import json
import re
import sqlite3

import pytest
import requests

from mlhub.admin.record import FILE
from mlhub.tools.check import FRONT_HEADER
from tests.support.hub_process import Browser, Service, WorkspaceHub

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"abe"}
c.FakeSpawner.workspace_images = ["fake/workspace:1", "fake/other:1"]
"""
POLICY = """
everyone: {port_sharing: true, publishing: true}
groups:
  closed: {publishing: false}
  small: {total: {servers: 1}}
"""
PORT, SERVER = 8501, "work"


@pytest.fixture(scope="module")
def hub(module_workspace_hub) -> WorkspaceHub:
    return module_workspace_hub(CONFIG, policy=POLICY)


class Person:
    """Somebody with a browser and a token."""

    def __init__(self, hub: WorkspaceHub, name: str, *groups: str) -> None:
        self.hub, self.name = hub, name
        self.browser: Browser = hub.browser()
        self.browser.log_in(name, "any")
        self.token: Service = hub.service().make_person(name, groups=groups)
        self.path = f"users/{name}/servers/{SERVER}"

    def is_running(self, server: str = SERVER) -> bool:
        return bool((self.token.get_server(self.name, server) or {}).get("ready"))

    def start(self, server: str = SERVER, **options: str) -> Person:
        assert self.token.start(self.name, options, server).status_code in (201, 202)
        self.hub.wait_until(lambda: self.is_running(server), "the workspace")
        return self

    def stop(self) -> None:
        assert self.token.stop(self.name, SERVER).status_code in (202, 204)
        self.hub.wait_until(lambda: not self.is_running(), "the stop")

    def share(self, **fields: object) -> int:
        body = {"port": PORT, "days": 1, **fields}
        answer = self.token.post(f"{self.path}/port-shares", json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def publish(self, title: str = "Sales", **fields: object) -> requests.Response:
        body = {"port": PORT, "title": title, "starts": True, **fields}
        return self.token.post(f"{self.path}/apps", json=body)

    def look(self, owner: Person, name: str = "sales") -> requests.Response:
        """Open the address of an app."""
        return self.browser.get(f"/hub/apps/{owner.name}/{name}", allow_redirects=False)

    def press(self, owner: Person, name: str = "sales") -> requests.Response:
        """Press the button that starts its workspace."""
        to = f"/hub/apps/{owner.name}/{name}"
        return self.browser.submit("/hub/home", {}, to=to, allow_redirects=False)

    def finds(self, title: str = "Sales") -> bool:
        """Return True if their home page lists an app."""
        page = self.browser.get("/hub/home").text
        rows = re.findall(r'<tr class="received-port">.*?</tr>', page, re.S)
        return any(f">{title}</th>" in row for row in rows)

    def reaches(self, owner: Person, port: int = PORT) -> bool:
        """Ask as the front does for each request."""
        where = {"user": owner.name, "server": SERVER, "port": str(port)}
        headers = {**self.token.headers, FRONT_HEADER: self.hub.proxy_token}
        url = f"{self.hub.url}/hub/api/mlhub/tools"
        return requests.get(url, params=where, headers=headers, timeout=30).status_code == 204


def read_record(hub: WorkspaceHub, about: str, *events: str) -> list[dict]:
    lines = [json.loads(line) for line in (hub.directory / FILE).read_text().splitlines()]
    return [each for each in lines if each.get("about") == about and each["event"] in events]


def test_exactly_those_whom_an_app_is_for_find_it_and_have_its_workspace_started(hub):
    ann = Person(hub, "ann", "lab").start()
    people = {name: Person(hub, name) for name in ("bob", "out", "gone", "back", "abe")}
    people |= {"meg": Person(hub, "meg", "lab"), "ann": ann}
    assert ann.publish().status_code == 201
    ann.share(user="bob")
    ann.share(group="lab")
    ann.share(user="gone")
    number = ann.share(user="back")
    assert people["gone"].finds()
    assert people["back"].finds()
    assert ann.token.delete(f"{ann.path}/port-shares/{number}").status_code == 204
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite", timeout=20) as database:
        database.execute(
            "update mlhub_port_shares set expires_at = '2020-01-01 00:00:00.000000'"
            " where user_id = (select id from users where name = 'gone')"
        )
    database.close()
    assert {name for name, each in people.items() if each.finds()} == {"bob", "meg"}
    # While it runs: it leads there.
    seen = {name: each.look(ann) for name, each in people.items()}
    assert {name for name, page in seen.items() if page.status_code == 303} == {"ann", "bob", "meg"}
    assert seen["bob"].headers["Location"] == f"/user/ann/{SERVER}/tools/{PORT}/"
    ann.stop()
    # Who may not see it cannot tell it from one that is not there, and starts nothing.
    for name in ("out", "gone", "back", "abe"):
        each = people[name]
        pages = [each.look(ann), each.look(ann, "guessed"), each.look(Person(hub, "zoe"))]
        pages += [each.press(ann), each.press(ann, "guessed")]
        assert {page.status_code for page in pages} == {404}, name
        sentence = "There is no such app, or it is not shared with you."
        assert all(sentence in page.text for page in pages)
    # Who looks starts nothing either, whoever made the link.
    for name in ("ann", "bob", "meg"):
        page = people[name].look(ann)
        assert page.status_code == 200
        assert "It does not run now." in page.text
    page = people["bob"].browser.post("/hub/apps/ann/sales", data={}, allow_redirects=False)
    assert page.status_code == 403
    assert not ann.is_running()
    for name in ("bob", "meg"):
        assert people[name].press(ann).status_code == 303
        hub.wait_until(ann.is_running, "the start for a visitor")
        hub.wait_until(lambda name=name: people[name].look(ann).status_code == 303, "the way there")
        assert people[name].reaches(ann)
        ann.stop()


def test_what_a_visitor_causes_is_one_start_with_the_options_of_before_and_it_is_recorded(hub):
    cal, dan = Person(hub, "cal").start(image="fake/other:1"), Person(hub, "dan")
    cal.start("else")
    assert cal.token.stop("cal", "else").status_code in (202, 204)
    cal.stop()
    cal.publish()
    cal.share(user="dan")
    body = {"_xsrf": dan.browser.xsrf("/hub/home"), "image": "fake/workspace:1", "cpu_limit": "9"}
    for _ in range(3):
        dan.browser.post("/hub/apps/cal/sales", data=body, allow_redirects=False)
    hub.wait_until(cal.is_running, "the start for a visitor")
    workspace = cal.token.get(f"{cal.path}/workspace").json()
    assert workspace["image"]["reference"] == "fake/other:1"
    assert not cal.is_running("else")
    hub.wait_until(lambda: dan.look(cal).status_code == 303, "the way there")
    assert dan.reaches(cal)
    # That port and nothing else.
    assert not dan.reaches(cal, 9000)
    for path in (cal.path, f"{cal.path}/workspace", f"{cal.path}/apps", f"{cal.path}/port-shares"):
        assert dan.token.get(path).status_code == 404, path
    assert dan.token.stop("cal", SERVER).status_code == 404
    assert dan.token.start("cal", server="else").status_code == 404
    assert cal.is_running()
    # Exactly one start is told of, by whom and for what; nothing is where it ran already.
    told = read_record(hub, "cal", "start for an app", "publish an app")
    assert [(each["event"], each["by"], each["port"], each["app"]) for each in told] == [
        ("publish an app", "cal", PORT, "Sales"),
        ("start for an app", "dan", PORT, "Sales"),
    ]
    page = " ".join(re.sub(r"<[^>]*>", " ", cal.browser.get("/hub/record").text).split())
    assert f"dan Start for an app cal, port {PORT} “Sales”" in page
    # The token by which the hub did it is gone.
    assert hub.query("select 1 from api_tokens where note like 'App:%'") == []


def test_a_start_that_the_owner_could_not_have_is_refused_and_tells_the_visitor_nothing(hub):
    eli, fay = Person(hub, "eli", "small").start(), Person(hub, "fay")
    eli.publish()
    eli.share(user="fay")
    eli.stop()
    eli.start("else")
    assert fay.press(eli).status_code == 303
    hub.wait_until(lambda: "It did not start." in fay.look(eli).text, "the refusal")
    page = html.unescape(re.sub(r"<[^>]*>", " ", fay.look(eli).text))
    assert "Ask eli, or try again in half a minute." in " ".join(page.split())
    assert "else" not in page.split("Sales of eli")[1]
    # Pressed again at once it is not even tried.
    assert fay.press(eli).status_code == 303
    assert len(read_record(hub, "eli", "start for an app")) == 1
    assert not eli.is_running()
    assert eli.token.stop("eli", "else").status_code in (202, 204)


def test_without_the_owners_word_a_visitor_starts_nothing(hub):
    gil, hal = Person(hub, "gil").start(), Person(hub, "hal")
    gil.publish(starts=False)
    gil.share(user="hal")
    assert hal.look(gil).status_code == 303
    gil.stop()
    refused = hal.press(gil)
    assert refused.status_code == 403
    assert "Ask gil to start it." in refused.text
    assert 'id="start"' not in hal.look(gil).text
    assert not gil.is_running()
    assert gil.publish(starts=True).status_code == 201
    assert 'id="start"' in hal.look(gil).text


def test_the_policy_holds_at_once_for_what_is_published_and_the_port_stays_open(hub):
    ian, jan = Person(hub, "ian").start(), Person(hub, "jan")
    ian.publish()
    ian.share(user="jan")
    assert jan.finds()
    assert jan.look(ian).status_code == 303
    service = hub.service()
    service.post("groups/closed")
    service.post("groups/closed/users", json={"users": ["ian"]})
    assert not jan.finds()
    assert {page.status_code for page in (jan.look(ian), jan.press(ian), ian.look(ian))} == {404}
    assert jan.reaches(ian)
    answer = ian.publish("Costs", port=8502)
    assert answer.status_code == 400
    assert "does not let ports of this workspace be published" in answer.json()["message"]
    share_page = ian.browser.get(f"/hub/share/ian/{SERVER}").text
    assert 'id="publish"' not in share_page
    # What is published can still be taken back.
    assert "published-app" in share_page
    service.delete("groups/closed/users", json={"users": ["ian"]})
    assert jan.finds()
    assert jan.look(ian).status_code == 303


def test_a_person_and_a_workspace_of_the_same_name_have_nothing_published_of_before(hub):
    kim, leo, service = Person(hub, "kim").start(), Person(hub, "leo"), hub.service()

    def publish(owner: Person) -> None:
        assert owner.publish().status_code == 201
        owner.share(user="leo")
        assert leo.look(owner).status_code == 303

    publish(kim)
    removed = service.delete(f"users/kim/servers/{SERVER}", json={"remove": True})
    assert removed.status_code in (202, 204)
    count = "select 1 from mlhub_published_apps join spawners on spawners.id = spawner_id"
    count += " join users on users.id = user_id where users.name = 'kim'"
    hub.wait_until(lambda: not hub.query(count), "it goes with the workspace", 10)
    kim.start()
    assert leo.look(kim).status_code == 404
    publish(kim)
    assert service.stop("kim", SERVER).status_code in (202, 204)
    hub.wait_until(lambda: not kim.is_running(), "the stop")
    assert service.delete("users/kim").status_code == 204
    assert {page.status_code for page in (leo.look(kim), leo.press(kim))} == {404}
    again = Person(hub, "kim").start()
    assert {page.status_code for page in (leo.look(again), leo.press(again))} == {404}
    again.publish()
    assert leo.look(again).status_code == 404
    again.share(user="leo")
    assert leo.look(again).status_code == 303


def test_only_who_may_enter_and_start_a_workspace_publishes_its_ports_or_reads_a_command(hub):
    mia, ned = Person(hub, "mia").start(), Person(hub, "ned")
    body = {"port": PORT, "title": "Sales", "command": "exec run --key secret"}
    assert mia.token.post(f"{mia.path}/apps", json=body).status_code == 201

    def try_as(scopes: list[str]) -> set[int]:
        made = hub.service().post("users/abe/tokens", json={"scopes": scopes}).json()
        token = Service(hub.url, made["token"])
        changed = {**body, "command": "evil"}
        return {
            token.post(f"{mia.path}/apps", json=changed).status_code,
            token.get(f"{mia.path}/apps").status_code,
        }

    assert ned.token.post(f"{mia.path}/apps", json=body).status_code == 404
    data = {"_xsrf": ned.browser.xsrf("/hub/home"), "port": PORT, "title": "Evil"}
    assert ned.browser.post(f"/hub/publish/mia/{SERVER}", data=data).status_code == 404
    some = ["read:servers", "shares"]
    assert try_as(some) == {403}
    assert try_as([*some, "access:servers"]) == {403}
    (app,) = mia.token.get(f"{mia.path}/apps").json()
    assert app["command"] == body["command"]
    # The twin: who may do both; "shares" has "access:servers" in it.
    assert try_as([*some, "servers"]) == {200, 201}
    (app,) = mia.token.get(f"{mia.path}/apps").json()
    assert app["command"] == "evil"


def test_programs_publish_and_take_back_and_the_page_does_as_they_do(hub):
    oda, pam = Person(hub, "oda").start(), Person(hub, "pam")
    oda.share(user="pam")
    made = oda.publish(command=" exec run ", starts=False)
    assert made.status_code == 201
    app = made.json()
    assert app == {
        **{"id": app["id"], "port": PORT, "title": "Sales", "command": "exec run"},
        **{"starts": False, "url": "/hub/apps/oda/sales"},
    }
    (received,) = pam.token.get("users/pam/port-shares").json()
    assert (received["app"], received["app_url"]) == ("Sales", "/hub/apps/oda/sales")
    for wrong in ({"title": 7}, {"command": []}, {"starts": "yes"}, {"port": "x"}, {"port": 2222}):
        assert oda.publish(**{"title": "Sales", **wrong}).status_code == 400, wrong
    assert pam.token.delete(f"{oda.path}/apps/{app['id']}").status_code == 404
    assert oda.token.delete(f"{oda.path}/apps/{app['id']}").status_code == 204
    assert oda.token.delete(f"{oda.path}/apps/{app['id']}").status_code == 404
    assert pam.look(oda).status_code == 404
    assert pam.reaches(oda)
    page, to = f"/hub/share/oda/{SERVER}", f"/hub/publish/oda/{SERVER}"
    fields = {"port": str(PORT), "title": "Costs & more", "command": "exec run", "starts": "yes"}
    text = oda.browser.submit(page, fields, to=to).text
    assert "Costs &amp; more is published." in text
    assert 'href="/hub/apps/oda/costs-more"' in text
    assert pam.look(oda, "costs-more").status_code == 303
    refused = oda.browser.submit(page, {**fields, "title": ""}, to=to)
    assert refused.status_code == 400
    assert "The title of an app is a text of 1 to 60 characters." in refused.text
    oda.browser.headers["Accept-Language"] = "de"
    refused = oda.browser.submit(page, {**fields, "title": ""}, to=to)
    assert "Der Titel einer App ist ein Text mit 1 bis 60 Zeichen." in refused.text
    assert "Diese App gibt es nicht" in oda.look(oda, "nothing").text
    del oda.browser.headers["Accept-Language"]
    (row,) = re.findall(r'<tr class="published-app">.*?</tr>', text, re.S)
    (number,) = re.findall(r'value="app"><input type="hidden" name="number" value="(\d+)', row)
    oda.browser.submit(page, {"kind": "app", "number": number}, to=f"/hub/unshare/oda/{SERVER}")
    assert pam.look(oda, "costs-more").status_code == 404
    assert pam.reaches(oda)
