"""Workspaces start and stop by the clock, as their owners and the policy say."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.hub_process import Service

POLICY = """
groups:
  course:
    options: [image]
    schedule: {default: "mon-fri 09:00-18:00 Europe/Berlin"}
  bounded:
    schedule: {within: "mon-fri 08:00-20:00"}
  full:
    total: {servers: 1}
"""
CONFIG = """
import json
import os
from pathlib import Path

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True

file = Path(os.environ["MLHUB_RUN_DIR"]) / "settings.json"
changed = {"mlhub_timezone": "Europe/Berlin"}
file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))

from jupyterhub.handlers.base import BaseHandler
from mlhub.cleanup import timetable

timetable.LOOK_SECONDS = 86400.0

class Clock(BaseHandler):
    # It is as late as the test says, and somebody looks.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        table = self.settings[timetable.SETTING]
        table.wall = lambda at=float(self.get_argument("at")): at
        await table.look()
        await table.finish()

class Past(BaseHandler):
    # Somebody's workspace has expired.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        spawner = self.find_user(self.get_argument("user")).spawners[""]
        spawner.put_off(10**9)
        spawner.orm_spawner.state = spawner.get_state()
        self.db.commit()

c.JupyterHub.extra_handlers += [(r"/clock", Clock), (r"/past", Past)]
"""
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture(scope="module")
def days():
    """Give one Monday after the other, from next week on: no test goes back in time."""
    monday = datetime.now(BERLIN).replace(hour=0, minute=0, second=0, microsecond=0)
    monday += timedelta(days=14 - monday.weekday())
    return iter([monday + timedelta(weeks=number) for number in range(40)])


@pytest.fixture
def monday(days):
    return next(days)


@pytest.fixture
def look(hub):
    """Return a function that has the hub look at a time of a day."""

    def at(day, clock, *, seconds=5):
        hour, minute = map(int, clock.split(":"))
        moment = day.replace(hour=hour, minute=minute) + timedelta(seconds=seconds)
        answer = hub.browser().post("/hub/clock", params={"at": moment.timestamp()})
        assert answer.ok, answer.text

    return at


def begin(hub, admin, name, *, options=None, groups=(), server=""):
    person = admin.make_person(name, groups=groups)
    assert admin.start(name, options, server).status_code in (201, 202)
    hub.wait_until(lambda: is_ready(admin, name, server), f"{name} is ready", 20)
    return person


def is_ready(admin, name, server=""):
    return bool((admin.get_server(name, server) or {}).get("ready"))


def read_state(admin, name):
    return admin.get(f"users/{name}/server/workspace").json()["schedule"]


def read_record(hub, name):
    lines = (hub.directory / "audit" / "hub.jsonl").read_text().splitlines()
    return [
        (each["event"], each.get("problem"))
        for each in map(json.loads, lines)
        if each.get("about") == name and each.get("service") == "schedule"
    ]


def read_line(page):
    """Return what the home page says of the default workspace's schedule."""
    found = re.search(r'mlhub-schedule">(.*?)</div>', page.text, re.DOTALL)
    text = re.sub("<[^>]*>", "", found.group(1)) if found else ""
    return " ".join(html.unescape(text).split())


def sign_in(hub, name):
    browser = hub.browser()
    browser.log_in(name, "any")
    return browser


def test_a_class_starts_at_nine_and_stops_at_six_by_the_policy_alone(hub, admin, monday, look):
    begin(hub, admin, "ann", groups=("course",))
    begin(hub, admin, "bob")  # in no course
    admin.make_person("cem", groups=("course",))  # has started nothing so far
    look(monday, "17:59")
    assert is_ready(admin, "ann")
    look(monday, "18:00")
    assert not is_ready(admin, "ann")
    assert is_ready(admin, "bob")
    look(monday + timedelta(days=1), "09:00")
    assert is_ready(admin, "ann")
    assert not is_ready(admin, "cem")
    assert read_record(hub, "ann") == [("stop", ""), ("start", "")]
    assert admin.get("users/ann/trash").json() == []


def test_a_person_chooses_by_rest_and_the_page_tells_what_comes_next(hub, admin, monday, look):
    person = begin(hub, admin, "dan", options={"schedule": "-17:00"})
    assert read_state(admin, "dan")["schedule"] == "-17:00"
    path = "users/dan/server/workspace"
    changed = person.patch(path, json={"schedule": "mon-fri 08:30-17:30"}).json()["schedule"]
    assert (changed["schedule"], changed["timezone"]) == ("mon-fri 08:30-17:30", "Europe/Berlin")
    assert changed["next"]["event"] in ("start", "stop")
    line = read_line(sign_in(hub, "dan").get("/hub/home"))
    assert re.match(r"Schedule: mon-fri 08:30-17:30, stops on \w+ [\d-]+ at 17:30 \(Eur", line)
    look(monday, "17:00")
    assert is_ready(admin, "dan")
    look(monday, "17:30")
    assert not is_ready(admin, "dan")
    line = read_line(sign_in(hub, "dan").get("/hub/home"))
    assert ", starts on " in line
    look(monday + timedelta(days=1), "08:30")
    assert is_ready(admin, "dan")
    assert person.patch(path, json={"schedule": "none"}).status_code == 200
    look(monday + timedelta(days=1), "17:30")
    assert is_ready(admin, "dan")


def test_a_person_chooses_on_a_page_without_javascript(hub, admin, monday, look):
    begin(hub, admin, "eve")
    browser = sign_in(hub, "eve")
    fields = {"server": "", "schedule": "moo 25:00"}
    refused = browser.submit("/hub/schedule", fields, to="/hub/schedule")
    assert refused.status_code == 400
    assert "is no schedule. Write e.g. mon-fri" in browser.message(refused)
    assert 'value="moo 25:00"' in refused.text
    answer = browser.submit(
        "/hub/schedule", {**fields, "schedule": "-19:00 UTC"}, to="/hub/schedule"
    )
    assert answer.url.endswith("/hub/home")
    assert read_line(answer).startswith("Schedule: -19:00 UTC, stops on")
    look(monday, "19:00")
    assert is_ready(admin, "eve")
    utc = datetime(monday.year, monday.month, monday.day, tzinfo=ZoneInfo("UTC"))
    look(utc, "19:00")
    assert not is_ready(admin, "eve")


def test_before_a_stop_by_schedule_the_home_page_warns_with_the_way_to_change_it(hub, admin):
    soon = datetime.now(BERLIN) + timedelta(minutes=10)
    begin(hub, admin, "pat", options={"schedule": f"-{soon:%H:%M}"})
    page = sign_in(hub, "pat").get("/hub/home").text
    found = re.search(r'mlhub-scheduled" role="status".*?</div>', page, re.DOTALL)
    assert found
    assert re.search(r"is stopped in (9|10) minutes by its schedule", found.group(0))
    assert 'href="/hub/schedule?server="' in found.group(0)


def test_a_start_by_schedule_is_held_to_the_policy_and_its_failure_is_told(
    hub, admin, monday, look
):
    begin(hub, admin, "fay", options={"schedule": "09:00-"}, groups=("full",))
    admin.stop("fay")
    hub.wait_until(lambda: not admin.get_server("fay")["pending"], "it has stopped", 10)
    begin(hub, admin, "fay", server="other")  # all that fay may run at once
    look(monday, "09:00")
    assert not is_ready(admin, "fay")
    problem = read_state(admin, "fay")["problem"]
    assert "The scheduled start of" in problem
    assert "at most 1" in problem or "1 workspace" in problem or "servers" in problem
    page = sign_in(hub, "fay").get("/hub/home").text
    assert "The scheduled start of" in page
    ((event, recorded),) = read_record(hub, "fay")
    assert event == "start"
    assert recorded
    look(monday, "09:00", seconds=30)  # once, not at each look
    assert len(read_record(hub, "fay")) == 1
    admin.stop("fay", "other")
    hub.wait_until(lambda: not is_ready(admin, "fay", "other"), "it has stopped", 10)
    look(monday + timedelta(days=1), "09:00")
    assert is_ready(admin, "fay")
    assert read_state(admin, "fay")["problem"] == ""


def test_what_was_missed_for_long_is_left_out_and_what_was_missed_just_now_is_made_up_for(
    hub, admin, monday, look
):
    begin(hub, admin, "gus", options={"schedule": "-18:00"})
    look(monday, "17:00")
    look(monday, "18:20")
    assert is_ready(admin, "gus")
    look(monday + timedelta(days=1), "17:00")
    look(monday + timedelta(days=1), "18:10")
    assert not is_ready(admin, "gus")


def test_what_was_started_after_its_stop_is_not_stopped_by_it(hub, admin, look):
    person = begin(hub, admin, "hal")
    now = datetime.now(BERLIN)
    passed = (now - timedelta(minutes=5)).strftime("%H:%M")
    answer = person.patch("users/hal/server/workspace", json={"schedule": f"-{passed}"})
    assert answer.status_code == 200
    hub.browser().post("/hub/clock", params={"at": now.timestamp()})
    assert is_ready(admin, "hal")


def test_an_expired_workspace_is_started_by_no_schedule(hub, admin, monday, look):
    begin(hub, admin, "ida", options={"schedule": "09:00-"})
    admin.stop("ida")
    hub.wait_until(lambda: not admin.get_server("ida")["pending"], "it has stopped", 10)
    assert hub.browser().post("/hub/past", params={"user": "ida"}).ok
    look(monday, "09:00")
    assert not is_ready(admin, "ida")
    assert "It has expired" in read_state(admin, "ida")["problem"]


def test_the_policy_bounds_or_forbids_what_people_choose(hub, admin):
    person = begin(hub, admin, "jon", groups=("course",))
    path = "users/jon/server/workspace"
    refused = person.patch(path, json={"schedule": "none"})
    assert refused.status_code == 400
    assert "cannot be chosen here" in refused.json()["fields"]["schedule"]
    browser = sign_in(hub, "jon")
    page = browser.get("/hub/schedule").text
    assert "You cannot change it" in page
    assert 'name="schedule"' not in page
    token = browser.xsrf("/hub/ssh-keys")
    fields = {"_xsrf": token, "server": "", "schedule": "none"}
    assert browser.post("/hub/schedule", data=fields).status_code == 400
    assert read_state(admin, "jon")["schedule"] == "mon-fri 09:00-18:00 Europe/Berlin"
    bounded = begin(
        hub, admin, "kim", groups=("bounded",), options={"schedule": "mon-fri 09:00-18:00"}
    )
    path = "users/kim/server/workspace"
    for wanted in ("-21:00", "none", "06:00-18:00"):
        assert bounded.patch(path, json={"schedule": wanted}).status_code == 400, wanted
    assert bounded.patch(path, json={"schedule": "mon-fri 08:00-20:00"}).status_code == 200
    told = admin.post("policy/explain", json={"user": "jon"}).json()["decision"]["schedule"]
    assert told["value"] == "mon-fri 09:00-18:00 Europe/Berlin"
    assert told["rule"] == "groups.course.schedule.default"


def test_nobody_chooses_for_somebody_else_or_by_a_form_without_its_token(hub, admin):
    begin(hub, admin, "lea", options={"schedule": "-18:00"})
    person = begin(hub, admin, "max", options={"schedule": "-18:00"})
    answer = person.patch("users/lea/server/workspace", json={"schedule": "none"})
    assert answer.status_code in (403, 404)
    browser = sign_in(hub, "max")
    fields = {"server": "", "schedule": "none"}
    assert browser.post("/hub/schedule", data=fields).status_code == 403
    token = browser.xsrf("/hub/schedule")
    missing = {**fields, "_xsrf": token, "server": "theirs"}
    assert browser.post("/hub/schedule", data=missing).status_code == 404
    for name in ("lea", "max"):
        assert read_state(admin, name)["schedule"] == "-18:00"


def test_a_schedule_and_what_it_has_done_survive_the_hub(hub, admin, monday, look):
    begin(hub, admin, "ned", options={"schedule": "09:00-18:00"})
    look(monday, "18:00")
    assert not is_ready(admin, "ned")
    hub.stop()
    hub.start()
    told = sign_in(hub, "ned").get("/hub/user/ned/lab").text
    assert "It was stopped, because its schedule says so." in told
    assert admin.start("ned").status_code in (201, 202)
    hub.wait_until(lambda: is_ready(admin, "ned"), "it runs again", 20)
    assert read_state(admin, "ned")["schedule"] == "09:00-18:00"
    admin.stop("ned")
    told = sign_in(hub, "ned").get("/hub/user/ned/lab").text
    assert "Its files are kept." in told
    assert "It was stopped" not in told  # by its owner
    assert admin.start("ned").status_code in (201, 202)
    hub.wait_until(lambda: is_ready(admin, "ned"), "it runs again", 20)
    look(monday, "18:00", seconds=20)
    assert is_ready(admin, "ned")


def test_a_workspace_learns_with_its_own_token_what_it_should_tell(hub, admin):
    soon = datetime.now(BERLIN) + timedelta(minutes=10)
    begin(hub, admin, "quy", options={"schedule": f"-{soon:%H:%M}"})
    begin(hub, admin, "rex")
    own = admin.post("users/quy/tokens", json={"scopes": ["access:servers!server=quy/"]}).json()[
        "token"
    ]
    workspace = Service(hub.url, own)
    (notice,) = workspace.get("users/quy/server/notices").json()["notices"]
    assert re.match(r"This workspace is stopped in (9|10) minutes by its sch", notice["text"])
    assert (notice["label"], notice["path"]) == ("Schedule", "schedule?server=")
    assert workspace.get("users/rex/server/notices").status_code in (403, 404)
    assert workspace.patch("users/quy/server/workspace", json={}).status_code in (403, 404)
    assert hub.browser().get("/hub/api/users/quy/server/notices").status_code == 403
