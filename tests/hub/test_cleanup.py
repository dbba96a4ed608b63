"""Cleanup in a real hub of two hundred people, in the long tier of a thousand: exactly what is due
goes, and nothing else, whatever the database, the place and the clock say.
"""

from __future__ import annotations

import json
import threading

import pytest
import requests

from mlhub.cli.__main__ import main

GRACE, DAY = 600, 86_400
CONFIG = """
c.Authenticator.admin_users = {"admin"}
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0, "slow_stop_timeout": 1}

import asyncio
import functools
import json
import time
from dataclasses import replace

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.roles import create_role, get_default_roles
from sqlalchemy.exc import OperationalError

from mlhub.backends.fake import FakeBackend
from mlhub.backends.memory import Record
from mlhub.cleanup import census, startup
from mlhub.errors import EngineUnreachableError
from mlhub.identity import Identity
from mlhub.workspaces.port import Kind, Resource

Path("hub").mkdir()
PEOPLE = PEOPLE_COUNT
with orm.new_session_factory("sqlite:///jupyterhub.sqlite")() as session:
    for role in get_default_roles():
        create_role(session, role)
    member = [orm.Role.find(session, "user")]
    everybody = [orm.User(name=f"person-{number}", roles=member) for number in range(PEOPLE)]
    session.add_all(everybody)
    session.add_all(orm.Spawner(user=user, name="work") for user in everybody)
    session.commit()

place, SHIFT, WRONG = FakeBackend.of("mlhub"), {"wall": 0.0, "monotonic": 0.0}, {"census": ""}
startup.Cleanup = functools.partial(
    startup.Cleanup,
    wall=lambda: time.time() + SHIFT["wall"],
    monotonic=lambda: time.monotonic() + SHIFT["monotonic"],
)

def fill(user, server, trashed_at=None, origin="mlhub"):
    # What a workspace that does not run has left; of one that is in the trash, its data alone.
    identity, made_at = Identity("mlhub", user, server), time.time() - 60
    labels = {**identity.labels, "mlhub.origin": origin}
    place.volumes[identity.volume(1)] = Resource(
        Kind.VOLUME, identity.volume(1), user, server, made_at, trashed_at, labels)
    if trashed_at is not None:
        return
    place.records[identity] = Record("fake/workspace:1", made_at, labels, identity.volume(1))
    place.networks[identity.network] = Resource(
        Kind.NETWORK, identity.network, user, None, made_at,
        labels={**identity.user_labels, "mlhub.origin": origin})

for number in range(PEOPLE):
    fill(f"person-{number}", "work")

read = census._read

def read_wrongly(*arguments):
    whole = read(*arguments)
    some = dict(list(whole.people.items())[: PEOPLE // 5])
    return {
        "": lambda: whole,
        "part": lambda: replace(whole, people=some),
        "part that counts as whole": lambda: replace(whole, people=some, count=len(some)),
        "nobody": lambda: replace(whole, people={}, count=0),
        "other people": lambda: replace(whole, people={"x": {}, "y": {}}, count=2),
        "stale": lambda: replace(whole, read_at=whole.read_at - 3600),
        "error": lambda: exec('raise OperationalError("SELECT", {}, Exception("disk I/O error"))'),
    }[WRONG["census"]]()

census._read = read_wrongly
check = FakeBackend.check

async def linger(self, call):
    while call in ("delete_workspace", "start") and Path(f"hold-{call}").exists():
        await asyncio.sleep(0.02)
    await check(self, call)

FakeBackend.check = linger

class Place(BaseHandler):
    # What the place where workspaces run holds; a POST changes the place, the clocks, the answers.
    async def get(self):
        found = await place.list_resources()
        running = [w.identity.server for w in await place.list_workspaces() if w.is_running]
        self.write({"running": running, "resources": [
            [r.kind, r.user, r.server, r.name, r.trashed_at is not None] for r in found]})

    def check_xsrf_cookie(self):
        return

    async def post(self):
        told = json.loads(self.request.body)
        SHIFT.update({key: SHIFT[key] + told.get(key, 0) for key in SHIFT})
        WRONG["census"] = told.get("census", "")
        if "fail" in told:
            place.fail_next(told["fail"], EngineUnreachableError("The place is away."))
        for arguments in told.get("fill", ()):
            fill(**arguments)

c.JupyterHub.extra_handlers.append((r"/place", Place))
"""


class Cleaner:
    """Somebody with a token, at the documented address."""

    def __init__(self, hub, token):
        self.hub, self.token = hub, token

    def ask(self, path, method="GET", **params):
        return requests.request(
            method,
            f"{self.hub.url}/services/cleanup-service/{path}",
            headers={"Authorization": f"token {self.token}"},
            params=params,
            timeout=60,
        )

    def run(self, task, **params):
        answer = self.ask(task, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module", params=[200, pytest.param(1_000, marks=pytest.mark.full)])
def people(request):
    """How many people the hub has."""
    return request.param


@pytest.fixture
def strangers(people):
    """So many that they have more than a fifth of what there is, with what earlier tests left."""
    return people // 2


@pytest.fixture(scope="module")
def hub(module_workspace_hub, people):
    return module_workspace_hub(CONFIG.replace("PEOPLE_COUNT", str(people)))


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture(scope="module")
def cleaner(hub, admin):
    return Cleaner(hub, admin.headers["Authorization"].split()[1])


@pytest.fixture
def place(hub):
    """What the place holds, and how to change it; nothing that a test left due stays."""

    class Place:
        def look(self):
            found = hub.browser().get("/hub/place").json()
            return {tuple(each) for each in found["resources"]}

        def list_running(self):
            return hub.browser().get("/hub/place").json()["running"]

        def change(self, **told):
            assert hub.browser().post("/hub/place", json=told).status_code == 200

    yield Place()
    Place().change()


def find(resources, *users):
    """Return what people have outside the trash, as cleanup names it."""
    return {each[:4] for each in resources if each[1] in users and not each[4]}


def name(items):
    return {(item["kind"], item["user"], item["server"], item["name"]) for item in items}


# what nobody owns


def test_what_unknown_people_and_servers_have_goes_at_the_second_pass_and_nothing_else(
    cleaner, place
):
    ghosts = [f"ghost-{number}" for number in range(20)]
    place.change(
        fill=[
            *({"user": user, "server": ""} for user in ghosts),
            {"user": "person-3", "server": "gone"},
            {"user": "foreign", "server": "", "origin": "other"},
            {"user": "buried", "server": "", "trashed_at": 5},
        ]
    )
    before = place.look()
    due = find(before, *ghosts) | {
        each[:4] for each in before if each[1] == "person-3" and each[2] == "gone"
    }
    assert len(due) == 20 * 3 + 2
    first = cleaner.run("users")
    assert name(first["waiting"]) == due
    assert not first["removed"]
    place.change(monotonic=GRACE - 60)
    assert not cleaner.run("users")["removed"]
    assert place.look() == before
    place.change(monotonic=60)
    assert name(cleaner.run("users", dry_run=1)["due"]) == due
    assert place.look() == before
    assert name(cleaner.run("users")["removed"]) == due
    after = place.look()
    # What was data is in the trash, all else of it is gone; what is not due is as it was.
    assert {each[:4] for each in before - after} == due
    assert {each[:4] for each in after - before} == {each for each in due if each[0] == "volume"}
    assert not cleaner.run("users")["due"]


@pytest.mark.parametrize("wrong", ["part", "nobody", "stale", "error"])
def test_an_answer_of_the_database_that_is_not_whole_removes_nothing(cleaner, place, wrong):
    before = place.look()
    place.change(census=wrong)
    cleaner.ask("users")
    place.change(census=wrong, monotonic=GRACE)
    answer = cleaner.ask("users")
    assert answer.status_code == 503, answer.text
    assert "nothing is removed" in answer.json()["message"]
    assert place.look() == before


@pytest.mark.parametrize("wrong", ["part that counts as whole", "other people"])
def test_a_wrong_answer_that_looks_whole_removes_nothing_even_where_it_is_confirmed(
    cleaner, place, people, wrong
):
    before = place.look()
    place.change(census=wrong)
    held = cleaner.run("users")
    assert len(held["held"]) > 2 * people
    assert not cleaner.run("users")["due"]
    if wrong != "other people":  # everybody is asked about once more, which takes its time
        place.change(census=wrong, monotonic=GRACE)
        confirmed = cleaner.run("users", confirm=held["confirm"])
        assert len(confirmed["kept"]) == len(confirmed["due"]) == len(held["held"])
    assert place.look() == before


def test_an_answer_of_the_place_that_does_not_come_removes_nothing(cleaner, place):
    before = place.look()
    for task, call in (
        ("users", "list_resources"),
        ("expired", "list_workspaces"),
        ("trash", "list_resources"),
    ):
        place.change(fail=call)
        answer = cleaner.ask(task)
        assert (answer.status_code, answer.json()["message"]) == (503, "The place is away.")
    assert place.look() == before
    assert "The place is away." in cleaner.run("status")["tasks"]["trash"]["problems"]


def test_one_object_that_cannot_be_removed_keeps_no_other_one(cleaner, place):
    place.change(fill=[{"user": f"stuck-{number}", "server": ""} for number in range(2)])
    cleaner.run("users")
    place.change(monotonic=GRACE, fail="remove")
    answer = cleaner.run("users")
    assert [each["message"] for each in answer["errors"]] == ["The place is away."]
    assert len(answer["removed"]) == 5
    assert len(cleaner.run("users")["removed"]) == 1


def test_who_comes_back_before_the_second_pass_keeps_what_they_have(admin, cleaner, place):
    place.change(fill=[{"user": "returns", "server": ""}])
    before = place.look()
    assert len(cleaner.run("users")["waiting"]) == 3
    admin.make_person("returns")
    place.change(monotonic=GRACE)
    assert not cleaner.run("users")["removed"]
    assert place.look() == before


def test_more_than_a_fifth_of_a_kind_waits_for_an_administrator_who_has_seen_just_that(
    cleaner, place, strangers
):
    many = [f"many-{number}" for number in range(strangers)]
    place.change(fill=[{"user": user, "server": ""} for user in many])
    before = place.look()
    held = cleaner.run("users", confirm="another word")
    assert len(held["held"]) == 3 * strangers
    assert "CLEANUP_MOST_PERCENT" in held["problems"][0]
    place.change(monotonic=GRACE)
    assert not cleaner.run("users")["removed"]
    assert place.look() == before
    assert len(cleaner.run("users", dry_run=1, confirm=held["confirm"])["due"]) == 3 * strangers
    assert not cleaner.run("users")["removed"]
    assert name(cleaner.run("users", confirm=held["confirm"])["removed"]) == find(before, *many)
    assert not find(place.look(), *many)


def test_what_was_confirmed_too_early_goes_with_a_later_pass(cleaner, place, strangers):
    place.change(fill=[{"user": f"early-{number}", "server": ""} for number in range(strangers)])
    held = cleaner.run("users")
    assert len(cleaner.run("users", confirm=held["confirm"])["waiting"]) == 3 * strangers
    place.change(monotonic=GRACE)
    assert len(cleaner.run("users")["removed"]) == 3 * strangers


# expired workspaces


def start(hub, admin, user, server="", days=1):
    admin.make_person(user)
    assert admin.start(user, {"days_to_live": days}, server).status_code in (201, 202)
    hub.wait_until(
        lambda: (admin.get_server(user, server) or {}).get("ready"), f"{user}/{server} is ready"
    )


def test_an_expired_workspace_is_stopped_leaves_the_hub_and_its_data_is_in_the_trash(
    hub, admin, cleaner, place
):
    start(hub, admin, "eve", "over")
    start(hub, admin, "eve", "longer", days=9)
    start(hub, admin, "eve")
    start(hub, admin, "eve", "stopped")
    admin.stop("eve", "stopped")
    hub.wait_until(lambda: "stopped" not in place.list_running(), "it has stopped")
    assert not cleaner.run("expired")["removed"]
    place.change(wall=2 * DAY)  # somebody sets the clock
    assert not cleaner.run("expired")["removed"]
    place.change(monotonic=GRACE)
    answer = cleaner.run("expired")
    assert {each["server"] for each in answer["removed"]} == {"over", "", "stopped"}, answer
    assert place.list_running() == ["longer"]
    assert [each[2] for each in find(place.look(), "eve") if each[0] == "volume"] == ["longer"]
    in_trash = {each[2] for each in place.look() if each[1] == "eve" and each[4]}
    assert in_trash == {"over", "", "stopped"}
    servers = admin.get("users/eve", params={"include_stopped_servers": 1}).json()["servers"]
    assert set(servers) - {""} == {"longer"}
    start(hub, admin, "eve", days=9)  # the default one begins anew
    assert not cleaner.run("expired")["removed"]
    place.change(wall=-2 * DAY)


def test_an_expired_workspace_that_was_granted_more_time_stays(hub, admin, cleaner, place):
    start(hub, admin, "ivy", "kept")
    place.change(wall=2 * DAY, monotonic=GRACE)
    cleaner.run("expired", dry_run=1)
    place.change(monotonic=GRACE)
    assert [each["user"] for each in cleaner.run("expired", dry_run=1)["due"]] == ["ivy"]
    path = "users/ivy/servers/kept/workspace"
    assert admin.patch(path, json={"days_to_live": 20}).status_code == 200
    assert not cleaner.run("expired")["removed"]
    assert "kept" in place.list_running()
    place.change(wall=-2 * DAY)


def test_a_start_while_an_expired_workspace_goes_is_refused_and_nothing_is_lost(
    hub, admin, cleaner, place
):
    start(hub, admin, "uma", "race")
    admin.stop("uma", "race")
    hub.wait_until(lambda: "race" not in place.list_running(), "it has stopped")
    place.change(wall=2 * DAY)
    cleaner.run("expired", dry_run=1)
    place.change(monotonic=GRACE)
    hold, answers = hub.directory / "hold-delete_workspace", []
    hold.touch()
    passing = threading.Thread(target=lambda: answers.append(cleaner.run("expired")))
    passing.start()
    try:
        hub.wait_until(
            lambda: (admin.get_server("uma", "race") or {}).get("pending") == "stop", "the pass"
        )
        assert admin.start("uma", {}, "race").status_code == 400
    finally:
        hold.unlink()
        passing.join()
    assert [each["user"] for each in answers[0]["removed"]] == ["uma"]
    assert not find(place.look(), "uma")
    start(hub, admin, "uma", "race")
    place.change(wall=-2 * DAY)


def test_what_is_starting_when_the_pass_comes_goes_on(hub, admin, cleaner, place):
    start(hub, admin, "zoe", "again")
    admin.stop("zoe", "again")
    hub.wait_until(lambda: "again" not in place.list_running(), "it has stopped")
    place.change(wall=2 * DAY)
    cleaner.run("expired", dry_run=1)
    place.change(monotonic=GRACE)
    hold = hub.directory / "hold-start"
    hold.touch()
    try:
        assert admin.start("zoe", {}, "again").status_code == 202
        answer = cleaner.run("expired")
    finally:
        hold.unlink()
    assert [each["message"] for each in answer["kept"]] == ["It is busy (spawn)."]
    hub.wait_until(lambda: "again" in place.list_running(), "the start is over")
    place.change(wall=-2 * DAY)


# the trash


def test_the_trash_is_emptied_of_what_was_kept_for_its_days(cleaner, place, hub):
    now = int(hub.directory.stat().st_mtime)
    place.change(
        fill=[
            {"user": "person-1", "server": "old", "trashed_at": now - 15 * DAY},
            {"user": "person-1", "server": "new", "trashed_at": now - 13 * DAY},
        ]
    )
    before = place.look()
    first = cleaner.run("trash")
    assert {each["server"] for each in first["waiting"]} >= {"old"}
    place.change(monotonic=GRACE)
    removed = {each["server"] for each in cleaner.run("trash")["removed"]}
    assert "old" in removed
    assert "new" not in removed
    gone = before - place.look()
    assert all(each[0] == "volume" and each[4] for each in gone)
    assert not any(each[2] == "new" for each in gone)


# who may, and how


def test_only_administrators_tokens_are_answered(hub, admin, cleaner, place):
    person = admin.make_person("person-5")
    plain = Cleaner(hub, person.headers["Authorization"].split()[1])
    for task in ("users", "expired", "trash", "status"):
        for asker in (plain, Cleaner(hub, "0" * 32)):
            assert asker.ask(task).status_code == 403
            assert asker.ask(task, "POST").status_code in (403, 405)
        assert cleaner.ask(task).status_code == 200
    assert cleaner.ask("users", "POST", dry_run=1).status_code == 200
    assert cleaner.ask("status", "POST").status_code == 405
    assert cleaner.ask("anything").status_code == 404


def test_a_token_needs_no_more_than_the_scope_of_its_task(hub, admin):
    made = admin.post("users/admin/tokens", json={"scopes": ["delete:servers"]})
    assert made.status_code == 201, made.text
    narrow = Cleaner(hub, made.json()["token"])
    assert narrow.ask("expired").status_code == 200
    assert narrow.ask("users").status_code == 403
    one = admin.post("users/admin/tokens", json={"scopes": ["delete:servers!user=admin"]})
    assert Cleaner(hub, one.json()["token"]).ask("expired").status_code == 403


def test_a_browser_sees_the_plan_and_only_a_form_with_its_token_carries_it_out(hub, cleaner, place):
    place.change(fill=[{"user": "seen", "server": ""}])
    cleaner.run("users")
    place.change(monotonic=GRACE)
    browser = hub.admin()
    page = browser.get("/services/cleanup-service/users")
    assert page.url == f"{hub.url}/hub/services/cleanup-service"
    assert page.status_code == 200
    assert "Remove 3" in page.text
    assert len(find(place.look(), "seen")) == 3
    to = "/hub/services/cleanup-service/users"
    assert browser.post(to).status_code == 403
    assert browser.post(to, data={"_xsrf": "made up"}).status_code == 403
    assert len(find(place.look(), "seen")) == 3
    dry = browser.submit("/hub/services/cleanup-service", {"dry_run": "1"}, to=to)
    assert dry.status_code == 200
    assert len(find(place.look(), "seen")) == 3
    done = browser.submit("/hub/services/cleanup-service", {}, to=to)
    assert browser.message(done) == "What nobody owns: 3 removed."
    assert not find(place.look(), "seen")
    person = hub.person("onlooker", "correct horse 42", browser)
    assert person.get("/hub/services/cleanup-service").status_code == 403
    assert "cleanup-service" not in person.get("/hub/home").text
    assert "cleanup-service" in browser.get("/hub/home").text
    assert "/hub/login" in hub.browser().get("/services/cleanup-service/users").url


def test_what_was_removed_is_in_the_record_and_in_the_metrics(hub, admin, cleaner, place):
    place.change(fill=[{"user": "recorded", "server": ""}])
    cleaner.run("users")
    place.change(monotonic=GRACE)
    cleaner.run("users")
    lines = (hub.directory / "audit" / "hub.jsonl").read_text().splitlines()
    found = [each for each in map(json.loads, lines) if each.get("about") == "recorded"]
    assert {(each["event"], each["service"], each["kind"]) for each in found} == {
        ("remove what nobody owns", "tests", kind) for kind in ("workspace", "volume", "network")
    }
    state = cleaner.run("status")["tasks"]["users"]
    assert state["passes"] >= 2
    assert state["last_run"]
    metrics = hub.admin().get("/hub/metrics").text
    assert 'mlhub_cleanup_removed_total{kind="volume",task="users"}' in metrics


def test_the_command_asks_the_hub(hub, cleaner, place, monkeypatch, capsys):
    monkeypatch.setenv("MLHUB_RUN_DIR", str(hub.directory))
    place.change(fill=[{"user": "commanded", "server": ""}])
    cleaner.run("users")
    place.change(monotonic=GRACE)
    assert main(["cleanup", "--dry-run"]) == 0
    assert "users: 3 would be removed" in capsys.readouterr().out
    assert len(find(place.look(), "commanded")) == 3
    assert main(["cleanup", "users", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["removed"]) == 3
    assert not find(place.look(), "commanded")
    assert main(["cleanup", "everything"]) == 1
    assert "'everything' is no task of cleanup" in capsys.readouterr().err
    place.change(fail="list_resources")
    assert main(["cleanup", "users"]) == 1
    assert capsys.readouterr().err == "mlhub: The place is away. (MLHUB-E050)\n"


def test_the_command_without_a_hub_says_where_it_belongs(hub, monkeypatch, capsys, tmp_path):
    settings = (hub.directory / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(settings.replace(str(hub.directory), str(tmp_path)))
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path))
    assert main(["cleanup"]) == 1
    assert "Run the command in the hub's container" in capsys.readouterr().err


# the timer

TIMED = """
import json
from mlhub.cleanup import service
from mlhub.errors import EngineUnreachableError
from mlhub.backends.fake import FakeBackend

settings = json.loads(Path("settings.json").read_text())
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
settings |= {"cleanup_interval_seconds": 1, "trash_retention_days": 0}
settings |= SETTINGS
Path("settings.json").write_text(json.dumps(settings))
start = service.Cleanup.start

def begin(self):
    # Later than the hub's own look at what runs.
    FakeBackend.of("mlhub").fail_next("list_resources", EngineUnreachableError("It is away."))
    start(self)

service.Cleanup.start = begin
find_expired, errors = service.find_expired, [ValueError("An error of ours.")]

def fail_once(*args, **named):
    if errors:
        raise errors.pop()
    return find_expired(*args, **named)

service.find_expired = fail_once
"""


def test_the_timer_goes_on_after_errors_and_a_trash_that_keeps_nothing_says_so_and_is_emptied(
    workspace_hub,
):
    hub = workspace_hub(TIMED.replace("SETTINGS", "{}"))
    admin = hub.service()
    cleaner = Cleaner(hub, admin.headers["Authorization"].split()[1])
    admin.make_person("ann")
    start(hub, admin, "ann", "work")
    browser = hub.browser()
    browser.log_in("ann", "any")
    for page in ("/hub/trash", "/hub/home"):  # the dialog before a deletion, too
        assert "lost at once" in browser.get(page).text, page
    assert admin.delete("users/ann/servers/work", json={"remove": True}).status_code in (202, 204)

    def is_done():
        tasks = cleaner.run("status")["tasks"]
        return tasks["trash"]["removed"] == 1 and tasks["expired"]["passes"] > 1

    hub.wait_until(is_done, "the trash is empty", 30)
    status = cleaner.run("status")
    assert status["next_run"]
    assert status["tasks"]["users"]["errors"] == status["tasks"]["expired"]["errors"] == 1
    assert "It is away." in hub.log
    assert "An error of ours." in hub.log


def test_a_timer_that_is_off_makes_no_pass_and_a_call_makes_one_all_the_same(workspace_hub):
    hub = workspace_hub(TIMED.replace("SETTINGS", '{"cleanup_interval_seconds": -1}'))
    cleaner = Cleaner(hub, hub.service().headers["Authorization"].split()[1])
    status = cleaner.run("status")
    assert (status["interval_seconds"], status["next_run"]) == (-1, None)
    assert {each["passes"] for each in status["tasks"].values()} == {0}
    assert cleaner.ask("users").status_code == 503  # the place is away once
    assert cleaner.ask("users").status_code == 200
    assert cleaner.run("status")["tasks"]["users"]["passes"] == 2


def test_a_hub_without_the_service_says_so(workspace_hub):
    hub = workspace_hub(TIMED.replace("SETTINGS", '{"is_cleanup_service_enabled": False}'))
    answer = Cleaner(hub, hub.service().headers["Authorization"].split()[1]).ask("users")
    assert answer.status_code == 404
    assert "IS_CLEANUP_SERVICE_ENABLED" in answer.json()["message"]


# how long it takes

MANY = 10_000
MEASURED = """
WORST, WATCHES = {"own": 0.0, "all": 0.0}, set()

async def watch():
    # What the loop's thread computes from one of its turns to the next, and how long that takes.
    while True:
        before = time.thread_time(), time.monotonic()
        await asyncio.sleep(0.001)
        WORST["own"] = max(WORST["own"], time.thread_time() - before[0])
        WORST["all"] = max(WORST["all"], time.monotonic() - before[1])

class Stalls(BaseHandler):
    async def get(self):
        WATCHES or WATCHES.add(asyncio.create_task(watch()))
        self.write({**WORST, "computed": time.process_time()})
        WORST.update(own=0.0, all=0.0)

c.JupyterHub.extra_handlers.append((r"/stalls", Stalls))
"""


@pytest.mark.full
def test_a_pass_over_ten_thousand_people_holds_up_nobody(workspace_hub):
    """In time of the processor, which other programs do not lengthen."""
    hub = workspace_hub(CONFIG.replace("PEOPLE_COUNT", str(MANY)) + MEASURED)
    cleaner = Cleaner(hub, hub.service().headers["Authorization"].split()[1])
    look = hub.browser()

    def measure(task: str) -> tuple[float, float]:
        before = look.get("/hub/stalls").json()
        assert not cleaner.run(task)["due"]
        after = look.get("/hub/stalls").json()
        return after["computed"] - before["computed"], after["own"]

    for task in ("users", "expired", "trash"):
        # A busy machine lengthens single ones even so, by its caches.
        took, stall = (min(each) for each in zip(*(measure(task) for _ in range(3)), strict=True))
        print(f"{task}: {took:.2f} s, stalls {stall * 1000:.0f} ms")
        assert took < 5, task
        assert stall < 0.05, task
