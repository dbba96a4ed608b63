"""A workspace that nobody uses is stopped, by the rules that hold for its owner; they are warned
before, and keep it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.hub_process import Service
from tests.support.warnings_of_pages import read_warnings
from tests.support.websockets import is_open, open_websocket

POLICY = """
everyone:
  idle: {timeout: 2h}
groups:
  patient:
    idle: {timeout: 3d}
  brief:
    idle: {timeout: unlimited, max_age: 8h}
"""
CONFIG = """
import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True

file = Path(os.environ["MLHUB_RUN_DIR"]) / "settings.json"
changed = {"mlhub_cull_enabled": True, "mlhub_cull_timeout": 86400, "mlhub_cull_every": 86400}
file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import utcnow
from mlhub.cleanup.idle import SETTING

class Past(BaseHandler):
    # Somebody began, and used their workspace last, so many seconds earlier.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        row = self.find_user(self.get_argument("user")).spawners[""].orm_spawner
        row.started -= timedelta(seconds=int(self.get_argument("seconds")))
        row.last_activity -= timedelta(seconds=int(self.get_argument("seconds")))
        self.db.commit()

def answer_kernels(said):
    # What a workspace says of its kernels.
    def answer(request):
        if f"authorization: token {said.token}".lower() not in request.decode().lower():
            yield b"HTTP/1.1 403 Forbidden\\r\\n\\r\\n"
        elif said.kind == "mute":
            yield b""
        elif said.kind == "huge":
            yield b"HTTP/1.1 200 OK\\r\\n\\r\\n["
            yield from (piece for _ in range(500))
        else:
            if said.kind == "used meanwhile":
                said.row.last_activity = utcnow(with_tz=False)
            yield b"HTTP/1.1 200 OK\\r\\n\\r\\n" + json.dumps(
                [{"id": "a", "execution_state": "idle"}, {"id": "b", "execution_state": said.kind}]
            ).encode()

    piece = b" " * 10**6
    return answer

def answer_terminals(said):
    # What a workspace says of its terminals: one was written to an hour ago, one half a day ago.
    def answer(request):
        hours = (1, 12) if said.kind == "terminal" else (12, 12)
        times = [utcnow() - timedelta(hours=each) for each in hours]
        yield b"HTTP/1.1 200 OK\\r\\n\\r\\n" + json.dumps(
            [{"name": "1", "last_activity": each.isoformat()} for each in times]
        ).encode()

    return answer

class Say(BaseHandler):
    # From now on a workspace says so of its kernels.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        spawner = self.find_user(self.get_argument("user")).spawners[""]
        kind, row = self.get_argument("kind"), spawner.orm_spawner
        said = SimpleNamespace(kind=kind, row=row, token=spawner.api_token)
        spawner._find_servers().answers["/api/kernels"] = answer_kernels(said)
        spawner._find_servers().answers["/api/terminals"] = answer_terminals(said)

class Look(BaseHandler):
    # The next look is due.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        culler = self.settings[SETTING]
        await culler.look()
        await culler.finish()

class Hear(BaseHandler):
    # The proxy is asked who uses what.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        await self.settings[SETTING].app.update_last_activity()

handlers = (("past", Past), ("look", Look), ("hear", Hear), ("say", Say))
c.JupyterHub.extra_handlers += [(f"/{name}", handler) for name, handler in handlers]
import mlhub.cleanup.kernels as kernels
kernels.ANSWER_SECONDS = 3.0
"""
HOUR = 3600


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture
def begin(hub, admin):
    """Return a function that starts a workspace for somebody, who has used it last some time ago,
    and signs them in.
    """

    def start(name, seconds, *, groups=()):
        admin.make_person(name, groups=groups)
        admin.start(name)
        hub.wait_until(lambda: is_ready(admin, name), f"{name} is ready", 20)
        assert hub.browser().post("/hub/past", params={"user": name, "seconds": seconds}).ok
        browser = hub.browser()
        browser.log_in(name, "any")
        return browser

    return start


def is_ready(admin, name):
    return bool((admin.get_server(name) or {}).get("ready"))


def look(hub):
    assert hub.browser().post("/hub/look").ok


def test_each_is_stopped_by_the_rules_of_their_own_groups_and_nothing_is_lost(hub, admin, begin):
    begin("ann", 3 * HOUR)
    begin("bob", 3 * HOUR, groups=("patient",))
    begin("cem", 9 * HOUR, groups=("brief",))
    begin("dan", 7 * HOUR, groups=("brief",))
    look(hub)
    assert {name for name in ("ann", "bob", "cem", "dan") if is_ready(admin, name)} == {
        "bob",
        "dan",
    }
    assert "ann is stopped, because nobody has used it for 2 hours (everyone.idle.timeout" in (
        hub.log
    )
    assert "cem is stopped, because it has run for 8 hours" in hub.log
    assert admin.get("users/ann/trash").json() == []
    browser = hub.browser()
    browser.log_in("ann", "any")
    told = browser.get("/hub/user/ann/lab").text
    assert "It was stopped, because nobody has used it for 2 hours. Its files are kept." in told
    assert admin.start("ann").status_code in (201, 202)


def test_a_rule_that_changes_holds_for_what_runs_and_the_variables_where_no_rule_says_anything(
    hub, admin, begin
):
    begin("eve", 3 * HOUR)
    begin("fay", 25 * HOUR, groups=("patient",))
    hub.policy("groups: {patient: {idle: {timeout: 3d}}}\n")
    try:
        look(hub)
        assert is_ready(admin, "eve")
        assert is_ready(admin, "fay")
        begin("gus", 25 * HOUR)
        look(hub)
        assert not is_ready(admin, "gus")
        assert "gus is stopped, because nobody has used it for 1 day (MLHUB_CULL_TIMEOUT)" in (
            hub.log
        )
    finally:
        hub.policy(POLICY)
    look(hub)
    assert not is_ready(admin, "eve")


def test_an_open_websocket_that_says_nothing_is_use_until_it_closes(hub, admin, begin):
    begin("watcher", 0)
    socket = open_websocket(hub.url, "/user/watcher/quiet")
    begin("idler", 0)  # began later, so that what is newer of the other one comes of its socket

    def used_at(name):
        assert hub.browser().post("/hub/hear").ok
        return admin.get_server(name)["last_activity"]

    hub.wait_until(lambda: used_at("watcher") > used_at("idler"), "its use is newer", 20)
    assert is_open(socket)
    socket.close()


def say(hub, name, kind):
    """Have somebody's workspace say so of one of its kernels."""
    assert hub.browser().post("/hub/say", params={"user": name, "kind": kind}).ok


def test_a_kernel_that_computes_is_use_and_one_that_waits_is_none(hub, admin, begin):
    for name, kind in (("quin", "busy"), ("rae", "idle"), ("sol", "starting")):
        begin(name, 3 * HOUR)
        say(hub, name, kind)
    look(hub)
    assert [is_ready(admin, name) for name in ("quin", "rae", "sol")] == [True, False, False]
    assert "quin is used, because a kernel computes" in hub.log
    # Its time begins anew, so it is not asked again before that is over.
    left = admin.get("users/quin/server/workspace").json()["stop"]["remaining_seconds"]
    assert left > 2 * HOUR - 60
    say(hub, "quin", "idle")
    look(hub)
    assert is_ready(admin, "quin")
    assert hub.browser().post("/hub/past", params={"user": "quin", "seconds": 3 * HOUR}).ok
    look(hub)
    assert not is_ready(admin, "quin")


def test_a_terminal_in_which_something_is_written_is_use_since_then(hub, admin, begin):
    for name, kind in (("flo", "terminal"), ("gil", "idle")):
        begin(name, 3 * HOUR)
        say(hub, name, kind)
    look(hub)
    assert [is_ready(admin, name) for name in ("flo", "gil")] == [True, False]
    assert "flo is used, because a terminal writes or is written to" in hub.log
    left = admin.get("users/flo/server/workspace").json()["stop"]["remaining_seconds"]
    assert HOUR - 60 < left <= HOUR
    assert hub.browser().post("/hub/past", params={"user": "flo", "seconds": 2 * HOUR}).ok
    say(hub, "flo", "idle")
    look(hub)
    assert not is_ready(admin, "flo")


def test_somebody_who_comes_while_a_workspace_is_asked_keeps_it(hub, admin, begin):
    begin("yan", 3 * HOUR)
    say(hub, "yan", "used meanwhile")
    look(hub)
    assert is_ready(admin, "yan")
    say(hub, "yan", "idle")
    assert hub.browser().post("/hub/past", params={"user": "yan", "seconds": 3 * HOUR}).ok
    look(hub)
    assert not is_ready(admin, "yan")


def test_what_has_run_for_as_long_as_it_may_is_stopped_although_it_computes(hub, admin, begin):
    begin("tia", 9 * HOUR, groups=("brief",))
    say(hub, "tia", "busy")
    look(hub)
    assert not is_ready(admin, "tia")


def test_whatever_a_workspace_answers_about_its_kernels_or_not_it_is_stopped_in_time(
    hub, admin, begin
):
    names = ("uma", "vic", "xia")
    for name, kind in zip(names, ("huge", "mute", "busy"), strict=True):
        begin(name, 3 * HOUR)
        say(hub, name, kind)
    with ThreadPoolExecutor() as threads:
        looking = threads.submit(look, hub)
        while not looking.done():
            # Who asks the hub meanwhile is answered.
            assert hub.browser().get("/hub/health", timeout=2).ok
        looking.result()
    assert [is_ready(admin, name) for name in names] == [False, False, True]


def test_the_owner_is_warned_and_keeps_it_by_a_button_without_javascript(hub, admin, begin):
    browser = begin("kim", 2 * HOUR - 600)
    (sentence,) = read_warnings(browser.get("/hub/home"), "stop").values()
    assert re.match("The default workspace is stopped in (9|10) minutes, because by then", sentence)
    assert "nobody has used it for 2 hours. Its files stay" in sentence
    stop = admin.get("users/kim/server/workspace").json()["stop"]
    assert (stop["may_keep"], stop["reason"]) == (
        True,
        "By then nobody has used it for 2 hours.",
    )
    own = admin.post("users/kim/tokens", json={"scopes": ["access:servers!server=kim/"]}).json()
    (notice,) = Service(hub.url, own["token"]).get("users/kim/server/notices").json()["notices"]
    assert "because by then nobody has used it for 2 hours." in notice["text"]  # in JupyterLab
    answer = browser.submit("/hub/home", {"server": ""}, to="/hub/keep")
    assert answer.url.endswith("/hub/home")
    assert read_warnings(answer, "stop") == {}
    look(hub)
    assert is_ready(admin, "kim")
    kept = admin.get("users/kim/server/workspace").json()["stop"]["remaining_seconds"]
    assert kept > 2 * HOUR - 60
    assert '"keep running"' in (hub.directory / "audit" / "hub.jsonl").read_text()


def test_what_is_too_old_is_told_and_cannot_be_kept(hub, admin, begin):
    browser = begin("lea", 8 * HOUR - 300, groups=("brief",))
    page = browser.get("/hub/home")
    (sentence,) = read_warnings(page, "stop").values()
    assert "it has run for 8 hours, the longest it may" in sentence
    assert "Keep it running" not in sentence
    browser.post("/hub/keep", data={"_xsrf": browser.xsrf("/hub/ssh-keys"), "server": ""})
    assert set(read_warnings(browser.get("/hub/home"), "stop")) == {""}


def test_nobody_keeps_somebody_elses_or_by_a_form_without_its_token(hub, admin, begin):
    begin("mia", 2 * HOUR - 300)
    browser = begin("ned", 2 * HOUR - 300)
    assert browser.post("/hub/keep", data={"server": ""}).status_code == 403
    token = browser.xsrf("/hub/ssh-keys")
    assert browser.post("/hub/keep", data={"_xsrf": token, "server": "x"}).status_code == 404
    for name in ("mia", "ned"):
        stop = admin.get(f"users/{name}/server/workspace").json()["stop"]
        assert stop["remaining_seconds"] <= 300
    assert hub.browser().post("/hub/keep", data={"server": ""}).status_code == 403


def test_what_is_used_often_enough_is_told_nothing(hub, begin):
    assert read_warnings(begin("ola", HOUR).get("/hub/home"), "stop") == {}


def test_explain_tells_the_limit_and_the_rule_behind_it(hub, admin):
    admin.make_person("pia", groups=("brief",))
    told = admin.post("policy/explain", json={"user": "pia"}).json()["decision"]
    assert told["idle_timeout"]["value"] == "unlimited"
    assert told["idle_timeout"]["rule"] == "groups.brief.idle.timeout"
    assert told["idle_timeout"]["place"].endswith("policy.yaml:8")
    assert told["max_age"]["value"] == "8 hours"
