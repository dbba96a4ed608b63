"""What is in the trash comes back: to whom it was made for, by page and API; to others by an
administrator alone.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
import requests

from mlhub.cli.__main__ import main

GOOD = "correct horse 42"
CONFIG = """
c.Authenticator.admin_users = {"admin"}
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.named_server_limit_per_user = 3
c.JupyterHub.services.append({"name": "tutor", "api_token": "tutor-of-a-class-0123456789abcdef"})
c.JupyterHub.load_roles.append(
    {"name": "tutor", "services": ["tutor"], "scopes": ["admin:servers!group=class"]}
)

from pathlib import Path
from jupyterhub.handlers.base import BaseHandler
from mlhub.backends.fake import FakeBackend
from mlhub.identity import Identity
from mlhub.workspaces.port import Reason

class Place(BaseHandler):
    # What the place holds of a person: name, server, and whether it is in the trash.
    async def get(self):
        found = await FakeBackend.of("mlhub").list_resources(self.get_argument("user"))
        self.write({"volumes": [[r.name, r.server, r.trashed_at is not None] for r in found if r.kind == "volume"]})

    def check_xsrf_cookie(self):
        return

    # A workspace expires.
    async def post(self):
        if self.get_argument("expires", ""):
            user = self.find_user(self.get_argument("user"))
            user.get_spawner("").put_off(10**9)
            user.spawner.orm_spawner.state = user.spawner.get_state()
            self.db.commit()
            return
        identity = Identity("mlhub", self.get_argument("user"), self.get_argument("server", ""))
        await FakeBackend.of("mlhub").delete_workspace(identity, Reason.EXPIRED)

c.JupyterHub.extra_handlers.append((r"/place", Place))
Path("hub").mkdir(exist_ok=True)  # as boot makes it, for the command's socket
"""  # noqa: E501
TUTOR = "tutor-of-a-class-0123456789abcdef"
POLICY = """
groups:
  short:
    days_to_live: {default: 2, max: 5}
    options: [image]
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture(scope="module")
def boss(hub):
    return hub.admin()


def list_volumes(hub, user):
    """Return (live, in the trash), each as {name: server}."""
    found = hub.browser().get("/hub/place", params={"user": user}).json()["volumes"]
    return tuple(
        {name: server for name, server, trashed in found if trashed is is_trashed}
        for is_trashed in (False, True)
    )


def start_and_stop(hub, admin, user, server=""):
    admin.start(user, server=server)
    ready = lambda: (admin.get_server(user, server) or {}).get("ready")  # noqa: E731
    hub.wait_until(ready, f"{user}/{server} is ready", 20)
    admin.stop(user, server)
    hub.wait_until(lambda: not admin.get_server(user, server)["pending"], "it has stopped", 10)


def throw_away(hub, admin, user, server="work", *, groups=()):
    """Make a person with a server, delete it, and return the client and the id in the trash."""
    person = admin.make_person(user, groups=groups)
    start_and_stop(hub, admin, user, server)
    if server:
        path = f"users/{user}/servers/{server}"
        assert admin.delete(path, json={"remove": True}).status_code == 204
    else:
        hub.browser().post("/hub/place", params={"user": user})
    items = person.get(f"users/{user}/trash").json()
    return person, next(each["id"] for each in items if each["server"] == server)


def test_what_was_deleted_tells_whose_it_is_since_when_why_and_until(hub, admin):
    person, name = throw_away(hub, admin, "ada")
    (item,) = person.get("users/ada/trash").json()
    assert (item["id"], item["user"], item["server"]) == (name, "ada", "work")
    assert (item["reason"], item["is_owners"]) == ("deleted", True)
    since, until = (datetime.fromisoformat(item[key]) for key in ("trashed_at", "until"))
    assert (until - since).days == 14
    assert item in admin.get("trash").json()


def test_what_comes_back_is_a_server_again_with_its_data(hub, admin):
    person, name = throw_away(hub, admin, "bea")
    assert admin.get_server("bea", "work") is None
    answer = person.post(f"users/bea/trash/{name}/restore")
    assert (answer.status_code, answer.json()) == (200, {"user": "bea", "server": "work"})
    assert admin.get_server("bea", "work")["ready"] is False
    assert person.get("users/bea/trash").json() == []
    start_and_stop(hub, admin, "bea", "work")
    assert list_volumes(hub, "bea") == ({name: "work"}, {})
    again = person.post(f"users/bea/trash/{name}/restore")
    assert again.status_code == 404
    assert "does not hold this any more" in again.json()["message"]


def test_the_default_workspace_comes_back_unless_it_has_data_by_now_and_then_under_a_name(
    hub, admin
):
    person, name = throw_away(hub, admin, "cleo", "")
    assert person.get("users/cleo/trash").json()[0]["reason"] == "expired"
    assert person.post(f"users/cleo/trash/{name}/restore").status_code == 200
    start_and_stop(hub, admin, "cleo")
    assert list_volumes(hub, "cleo") == ({name: ""}, {})
    hub.browser().post("/hub/place", params={"user": "cleo"})
    start_and_stop(hub, admin, "cleo")
    refused = person.post(f"users/cleo/trash/{name}/restore")
    assert refused.status_code == 409
    assert "Restore it as a server of another name" in refused.json()["message"]
    assert list_volumes(hub, "cleo")[1] == {name: ""}
    answer = person.post(f"users/cleo/trash/{name}/restore", json={"server": "rescued"})
    assert answer.json() == {"user": "cleo", "server": "rescued"}
    assert list_volumes(hub, "cleo")[0][name] == "rescued"


def test_what_is_removed_for_good_does_not_come_back(hub, admin):
    person, name = throw_away(hub, admin, "dora")
    assert person.delete(f"users/dora/trash/{name}").status_code == 204
    assert list_volumes(hub, "dora") == ({}, {})
    assert person.delete(f"users/dora/trash/{name}").status_code == 404
    assert person.post(f"users/dora/trash/{name}/restore").status_code == 404


def test_what_expired_comes_back_with_the_time_that_a_new_one_has(hub, admin):
    person = admin.make_person("eva", groups=("short",))
    start_and_stop(hub, admin, "eva")
    hub.browser().post("/hub/place", params={"user": "eva", "expires": "yes"})

    def clean_up():
        url = f"{hub.url}/services/cleanup-service/expired"
        answer = requests.post(url, headers=admin.headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return [(each["user"], each["server"]) for each in answer.json()["removed"]]

    assert clean_up() == [("eva", "")]
    (item,) = person.get("users/eva/trash").json()
    name = item["id"]
    assert item["reason"] == "expired"
    assert person.post(f"users/eva/trash/{name}/restore").status_code == 200
    workspace = admin.get("users/eva/server/workspace").json()
    assert 1.9 * 86_400 < workspace["remaining_seconds"] <= 2 * 86_400
    assert clean_up() == []
    start_and_stop(hub, admin, "eva")
    assert list_volumes(hub, "eva")[0] == {name: ""}


def test_it_comes_back_under_no_name_that_a_server_cannot_have(hub, admin):
    person, name = throw_away(hub, admin, "fee")
    for server in ("UPPER", "a/b", "..", "a--b", "x" * 80, " ", "é", "a\x00"):
        answer = person.post(f"users/fee/trash/{name}/restore", json={"server": server})
        assert answer.status_code == 400, server
        assert "cannot be a workspace's name" in answer.json()["message"]
    for body in ({"server": 7}, {"servers": "x"}, ["server"], {"user": "admin"}):
        answer = person.post(f"users/fee/trash/{name}/restore", json=body)
        assert answer.status_code == 400, body
    assert list_volumes(hub, "fee") == ({}, {name: "work"})
    answer = person.post(f"users/fee/trash/{name}/restore", json={"server": "a-b"})
    assert answer.status_code == 200


def test_whoever_has_as_many_servers_as_they_may_restores_none_beside_them(hub, admin):
    person, name = throw_away(hub, admin, "hana")
    for server in ("one", "two", "three"):
        assert admin.put(f"users/hana/servers/{server}").status_code == 201
    refused = person.post(f"users/hana/trash/{name}/restore")
    assert refused.status_code == 400
    assert "maximum of 3 named servers" in refused.json()["message"]
    assert name in list_volumes(hub, "hana")[1]
    assert admin.delete("users/hana/servers/two", json={"remove": True}).status_code == 204
    assert person.post(f"users/hana/trash/{name}/restore").status_code == 200


def read_record(hub, about):
    """Return what the record of who did what tells somebody: event, who, to whom."""
    lines = map(json.loads, (hub.directory / "audit" / "hub.jsonl").read_text().splitlines())
    return [
        (each["event"], each.get("by") or each.get("service"), each.get("to"))
        for each in lines
        if each.get("about") == about
    ]


# whose it is


def test_nobody_lists_restores_or_removes_what_is_somebody_elses(hub, admin):
    _, name = throw_away(hub, admin, "ina")
    thief, _ = throw_away(hub, admin, "thief")
    before = list_volumes(hub, "ina")
    tries = [
        thief.get("users/ina/trash"),
        thief.post(f"users/ina/trash/{name}/restore"),
        thief.delete(f"users/ina/trash/{name}"),
        thief.post(f"users/thief/trash/{name}/restore"),
        thief.post(f"users/thief/trash/{name}/restore", json={"server": "mine"}),
        thief.delete(f"users/thief/trash/{name}"),
        thief.post(f"users/thief/trash/..%2F..%2Fina%2Ftrash%2F{name}/restore"),
        thief.post(f"users/thief%2F..%2Fina/trash/{name}/restore"),
        thief.post(f"users/INA/trash/{name}/restore"),
        thief.post(f"users/thief/../ina/trash/{name}/restore"),
        thief.post(f"users/thief/trash/{name}%00/restore"),
        thief.get("trash"),
        thief.post(f"trash/{name}/restore", json={"user": "thief"}),
        thief.post(f"trash/{name}/restore"),
        thief.delete(f"trash/{name}"),
    ]
    assert {answer.status_code for answer in tries} <= {403, 404}
    assert list_volumes(hub, "ina") == before
    assert len(list_volumes(hub, "thief")[1]) == 1
    nobody = hub.service()
    del nobody.headers["Authorization"]
    assert nobody.get("trash").status_code == nobody.get("users/ina/trash").status_code == 403


def test_a_token_does_what_its_scopes_say_and_no_more(hub, admin):
    _, name = throw_away(hub, admin, "jana")

    def ask(scope, method, path):
        made = admin.post("users/jana/tokens", json={"scopes": [f"{scope}!user"]})
        token = hub.service()
        token.headers["Authorization"] = f"token {made.json()['token']}"
        assert token.get("trash").status_code == 403
        return token.request(method, f"users/jana/trash{path}").status_code

    scopes = ("read:servers", "access:servers", "start:servers", "delete:servers", "servers")
    includes = {"servers": {"read:servers", "start:servers", "delete:servers"}}
    for method, path, needed in (
        ("GET", "", "read:servers"),
        ("POST", f"/{name}/restore", "start:servers"),
        ("DELETE", f"/{name}", "servers"),
    ):
        if method == "DELETE":
            admin.delete("users/jana/servers/work", json={"remove": True})
        for scope in scopes:
            if needed not in {scope, *includes.get(scope, ())}:
                assert ask(scope, method, path) in (403, 404), (scope, method)
        assert ask(needed, method, path) in (200, 204)


def test_an_administrator_of_a_group_has_its_trash_and_not_that_of_all(hub, admin):
    _, name = throw_away(hub, admin, "kim", groups=("class",))
    _, other = throw_away(hub, admin, "kit")
    tutor = hub.service()
    tutor.headers["Authorization"] = f"token {TUTOR}"
    assert [each["id"] for each in tutor.get("users/kim/trash").json()] == [name]
    assert tutor.get("users/kit/trash").status_code in (403, 404)
    for each in (name, other):
        assert tutor.post(f"trash/{each}/restore", json={"user": "kim"}).status_code == 403
        assert tutor.delete(f"trash/{each}").status_code == 403
    assert tutor.get("trash").status_code == 403
    assert tutor.post(f"users/kim/trash/{name}/restore").status_code == 200


def test_whoever_takes_a_name_again_has_an_empty_trash_and_an_administrator_may_give_it_to_them(
    hub, admin
):
    _, name = throw_away(hub, admin, "lou")
    start_and_stop(hub, admin, "lou", "other")
    assert admin.delete("users/lou").status_code == 204
    trashed = list_volumes(hub, "lou")[1]
    assert len(trashed) == 2
    items = {each["id"]: each for each in admin.get("trash").json() if each["user"] == "lou"}
    assert {each["reason"] for each in items.values()} == {"deleted", "person-deleted"}
    refused = admin.post(f"trash/{name}/restore")
    assert refused.status_code == 404
    assert "'lou' is nobody here" in refused.json()["message"]
    person = admin.make_person("lou")
    assert person.get("users/lou/trash").json() == []
    assert person.post(f"users/lou/trash/{name}/restore").status_code == 404
    assert admin.post(f"users/lou/trash/{name}/restore").status_code == 404
    assert person.delete(f"users/lou/trash/{name}").status_code == 404
    items = {each["id"]: each for each in admin.get("trash").json() if each["user"] == "lou"}
    assert {each["is_owners"] for each in items.values()} == {False}
    assert admin.post(f"trash/{name}/restore").json() == {"user": "lou", "server": "work"}
    start_and_stop(hub, admin, "lou", "work")
    assert list_volumes(hub, "lou")[0] == {name: "work"}


def test_an_administrator_gives_it_to_somebody_else_and_removes_it_for_good(hub, admin):
    giver, name = throw_away(hub, admin, "mia")
    taker = admin.make_person("nora")
    answer = admin.post(f"trash/{name}/restore", json={"user": "nora", "server": "from-mia"})
    assert answer.json() == {"user": "nora", "server": "from-mia"}
    assert giver.get("users/mia/trash").json() == []
    start_and_stop(hub, admin, "nora", "from-mia")
    start_and_stop(hub, admin, "mia", "work")
    assert list_volumes(hub, "nora")[0] == {name: "from-mia"}
    assert name not in list_volumes(hub, "mia")[0]
    assert admin.delete("users/nora/servers/from-mia", json={"remove": True}).status_code == 204
    assert [each["id"] for each in taker.get("users/nora/trash").json()] == [name]
    assert giver.delete(f"users/mia/trash/{name}").status_code == 404
    assert admin.delete(f"trash/{name}").status_code == 204
    assert admin.delete(f"trash/{name}").status_code == 404
    assert list_volumes(hub, "nora") == ({}, {})
    assert admin.post(f"trash/{name}/restore", json={"user": "nobody"}).status_code == 404


def test_a_log_tells_who_restored_what_for_whom(hub, admin):
    person, name = throw_away(hub, admin, "olga")
    person.post(f"users/olga/trash/{name}/restore", json={"server": "again"})
    assert f"'olga': restored {name} of 'olga' from the trash as 'again' of 'olga'." in hub.log


# by the pages


def test_a_person_restores_and_removes_by_their_page(hub, admin, boss):
    browser = hub.person("paula", GOOD, boss)
    _, first = throw_away(hub, admin, "paula", "first")
    _, second = throw_away(hub, admin, "paula", "second")
    page = browser.get("/hub/trash").text
    assert set(re.findall(r'data-trash-id="([^"]*)"', page)) == {first, second}
    assert "kept for 14 days" in page
    assert 'href="/hub/trash">Trash' in browser.get("/hub/home").text
    answer = browser.submit("/hub/trash", {}, to=f"/hub/trash/{first}/restore")
    assert browser.message(answer) == "The workspace “first” is back."
    taken = browser.submit(
        f"/hub/trash/{second}/restore", {"server": "first"}, to=f"/hub/trash/{second}/restore"
    )
    assert taken.status_code == 409
    assert "another name" in browser.message(taken)
    answer = browser.submit(
        f"/hub/trash/{second}/restore", {"server": "third"}, to=f"/hub/trash/{second}/restore"
    )
    assert browser.message(answer) == "The workspace “third” is back."
    assert list_volumes(hub, "paula")[0] == {first: "first", second: "third"}
    assert admin.delete("users/paula/servers/third", json={"remove": True}).status_code == 204
    assert "for good?" in browser.get(f"/hub/trash/{second}/remove").text
    assert second in list_volumes(hub, "paula")[1]  # a look removes nothing
    answer = browser.submit(f"/hub/trash/{second}/remove", {})
    assert browser.message(answer) == "It is removed for good."
    assert list_volumes(hub, "paula")[1] == {}


def test_a_form_without_its_token_and_a_page_that_is_not_theirs_change_nothing(hub, admin, boss):
    _, name = throw_away(hub, admin, "quinn")
    browser = hub.person("rita", GOOD, boss)
    for path in (f"trash/{name}", f"admin/trash/{name}"):
        for action in ("restore", "remove"):
            for client in (browser, boss):
                answer = client.post(f"/hub/{path}/{action}", data={"user": "rita"})
                assert answer.status_code == 403
        tries = [
            browser.submit("/hub/change-password", {}, to=each)
            for each in (f"/hub/{path}/restore", f"/hub/{path}/remove")
        ]
        assert {each.status_code for each in tries} <= {403, 404}
    assert browser.get("/hub/admin/trash").status_code == 403
    assert browser.get(f"/hub/admin/trash/{name}/restore").status_code == 403
    assert name not in browser.get("/hub/trash").text
    stranger = hub.browser()
    assert "/hub/login" in stranger.get("/hub/trash").url
    assert "/hub/login" in stranger.get("/hub/admin/trash").url
    assert name in list_volumes(hub, "quinn")[1]


def test_an_administrator_gives_something_to_somebody_by_the_page_of_all(hub, admin, boss):
    _, name = throw_away(hub, admin, "sara")
    admin.make_person("tess")
    assert name in boss.get("/hub/admin/trash").text
    form = f"/hub/admin/trash/{name}/restore"
    answer = boss.submit(form, {"user": "nobody-of-that-name", "server": ""})
    assert answer.status_code == 404
    assert "nobody here" in boss.message(answer)
    answer = boss.submit(form, {"user": "tess", "server": ""})
    assert boss.message(answer) == "The default workspace of tess is back."
    told = ("restore from the trash", "admin", None)  # a line follows the answer
    hub.wait_until(lambda: read_record(hub, "sara")[-1:] == [told], "it is in the record", 10)
    assert list_volumes(hub, "tess")[0] == {name: ""}


# by the command


@pytest.fixture
def command(hub, monkeypatch, capsys):
    """Return what runs `mlhub trash …` as in the hub's container: exit code and output."""
    monkeypatch.setenv("MLHUB_RUN_DIR", str(hub.directory))

    def run(*words):
        code = main(["trash", *words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_the_command_lists_and_brings_back_to_its_owner_or_to_somebody_else(hub, admin, command):
    _, name = throw_away(hub, admin, "uma")
    code, told = command("list", "--user", "uma")
    assert code == 0
    assert re.search(f"{name}  uma/work  deleted 20[0-9TZ:-]*, until 20", told)
    (item,) = json.loads(command("list", "--user", "uma", "--json")[1])["items"]
    assert (item["id"], item["is_owners"]) == (name, True)
    assert command("restore", name) == (0, "It is the server 'work' of 'uma'.\n")
    assert command("list", "--user", "uma") == (0, "Nothing.\n")
    assert admin.delete("users/uma").status_code == 204
    code, told = command("restore", name)
    assert (code, "'uma' is nobody here" in told) == (1, True)
    admin.make_person("vera")
    words = ("restore", name, "--to", "vera", "--server", "")
    assert command(*words) == (0, "It is the default workspace of 'vera'.\n")
    assert list_volumes(hub, "vera")[0] == {name: ""}
    code, told = command(*words)
    assert (code, "does not hold this any more" in told) == (1, True)
    assert read_record(hub, "uma")[-1] == ("restore from the trash", "mlhub trash", "vera")


def test_the_command_removes_for_good_what_was_named_once_it_was_confirmed(hub, admin, command):
    for server in ("one", "two"):
        _, name = throw_away(hub, admin, "wim", server)
    _, other = throw_away(hub, admin, "xena")
    code, told = command("empty")
    assert (code, "Say what is to go" in told) == (1, True)
    code, told = command("empty", "--user", "wim")
    assert (code, "2 would go; add --yes." in told) == (1, True)
    assert len(list_volumes(hub, "wim")[1]) == 2
    code, told = command("empty", "missing", name, "--yes")
    assert (code, "The trash does not hold 'missing'" in told) == (1, True)
    assert command("empty", name, "--yes")[0] == 0
    assert list(list_volumes(hub, "wim")[1].values()) == ["one"]
    code, told = command("empty", "--user", "wim", "--yes")
    assert (code, "1 removed for good." in told) == (0, True)
    assert list_volumes(hub, "wim") == ({}, {})
    assert list(list_volumes(hub, "xena")[1]) == [other]
    assert read_record(hub, "wim")[-2:] == [("remove for good", "mlhub trash", None)] * 2


def test_the_command_says_where_it_must_run(command, monkeypatch, tmp_path, hub):
    settings = (hub.directory / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(settings.replace(str(hub.directory), str(tmp_path)))
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path))
    code, told = command("list")
    assert (code, "Run the command in the hub's container, while the hub runs." in told) == (
        1,
        True,
    )
