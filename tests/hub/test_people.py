"""A person is renamed never, and deleted as a whole or not at all; whoever takes a free name finds
nothing.
"""

from __future__ import annotations

import json
import threading

import pytest

GOOD = "correct horse 42"
CONFIG = """
c.Authenticator.admin_users = {"admin"}
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0, "slow_stop_timeout": 1}
c.FakeSpawner.workspace_images = ["fake/slow", "fake/stuck", "fake/workspace:1"]

import asyncio
from pathlib import Path

from jupyterhub.handlers.base import BaseHandler
from mlhub.backends.fake import FakeBackend

class Place(BaseHandler):
    # What the place where workspaces run holds; a POST has it answer or not.
    async def get(self):
        place = FakeBackend.of("mlhub")
        place.is_away, was_away = False, place.is_away
        found = await place.list_resources()
        place.is_away = was_away
        running = [each.identity.server for each in await place.list_workspaces(self.get_argument("user"))] if not was_away else []
        self.write({
            "running": running,
            "resources": [[r.kind, r.user, r.server, r.name, r.trashed_at is not None] for r in found if r.user == self.get_argument("user")],
        })

    def check_xsrf_cookie(self):
        return

    async def post(self):
        FakeBackend.of("mlhub").is_away = self.get_argument("away") == "yes"

c.JupyterHub.extra_handlers.append((r"/place", Place))

async def linger(spawner):
    # For as long as a test says.
    while Path(f"hold-{spawner.name}").exists():
        await asyncio.sleep(0.05)

c.Spawner.pre_spawn_hook = linger
"""  # noqa: E501


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def look(hub, user):
    """Return what the place holds of a person: what runs, live volumes, volumes in the trash."""
    place = hub.browser().get("/hub/place", params={"user": user}).json()
    kept = {
        is_trashed: sorted(
            name
            for kind, _, _, name, trashed in place["resources"]
            if kind == "volume" and trashed is is_trashed
        )
        for is_trashed in (False, True)
    }
    workspaces = [server for kind, _, server, _, _ in place["resources"] if kind == "workspace"]
    return workspaces, kept[False], kept[True]


def is_there(admin, user):
    return admin.get(f"users/{user}").status_code == 200


def wait_until_ready(hub, admin, user, server=""):
    hub.wait_until(
        lambda: (admin.get_server(user, server) or {}).get("ready"), f"{user}/{server} is ready", 20
    )


# renaming


@pytest.mark.parametrize(
    "body", [{"name": "robert"}, {"name": "robert", "admin": True}, {"name": "ROBERT"}]
)
def test_a_person_is_not_renamed_and_the_sentence_says_why(admin, body):
    admin.make_person("bob")
    answer = admin.patch("users/bob", json=body)
    assert answer.status_code == 400
    assert "'bob' cannot be renamed" in answer.json()["message"]
    assert is_there(admin, "bob")
    assert not is_there(admin, "robert")
    assert admin.get("users/bob").json()["admin"] is False


@pytest.mark.parametrize("name", ["ruth", "Ruth"])
def test_a_name_that_stays_hinders_no_other_change(hub, name):
    admin = hub.admin()
    admin.api("POST", "users/ruth")
    answer = admin.api("PATCH", "users/ruth", json={"name": name, "admin": True})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["name"], answer.json()["admin"]) == ("ruth", True)
    assert (
        admin.api("PATCH", "users/ruth", json={"name": name, "admin": False}).json()["admin"]
        is False
    )


def test_a_name_that_is_no_text_is_refused(admin):
    admin.make_person("bob")
    assert admin.patch("users/bob", json={"name": 7}).status_code == 400
    assert admin.patch("users/nobody", json={"name": "somebody"}).status_code == 404


# deleting


def test_deleting_a_person_stops_everything_and_moves_all_data_to_the_trash(hub, admin):
    token = admin.make_person("dana")
    for server in ("", "work", "idle"):
        admin.start("dana", server=server)
        wait_until_ready(hub, admin, "dana", server)
    admin.stop("dana")
    admin.stop("dana", "idle")
    hub.wait_until(lambda: not admin.get_server("dana", "idle")["pending"], "it has stopped", 10)
    _, data, _ = look(hub, "dana")
    assert len(data) == 3
    answer = admin.delete("users/dana")
    assert answer.status_code == 204, answer.text
    assert look(hub, "dana") == ([], [], data)
    assert not is_there(admin, "dana")
    assert token.get("user").status_code == 403
    assert admin.delete("users/dana").status_code == 404
    assert hub.query(
        "select count(*) from spawners left join users on spawners.user_id = users.id "
        "where users.id is null"
    ) == [(0,)]


def test_deleting_a_person_whose_server_is_starting_leaves_nothing_that_runs(hub, admin):
    admin.make_person("erin")
    for server in ("", "work"):
        assert admin.start("erin", {"image": "fake/slow"}, server).status_code == 202
    hub.wait_until(lambda: look(hub, "erin")[0], "it is there", 10)
    answer = admin.delete("users/erin")
    assert answer.status_code == 204, answer.text
    workspaces, live, trashed = look(hub, "erin")
    assert (workspaces, live) == ([], [])
    assert trashed
    assert not is_there(admin, "erin")


def test_a_deletion_wins_over_starts_that_come_in_while_it_is_under_way(hub, admin):
    admin.make_person("fred")
    admin.start("fred", {"image": "fake/slow"})
    is_over = threading.Event()
    starts = []

    def start_again_and_again(number):
        while not is_over.is_set():
            starts.append(hub.service().start("fred", server=f"late-{number}").status_code)

    threads = [threading.Thread(target=start_again_and_again, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    hub.wait_until(lambda: starts, "starts come in", 10)
    answer = admin.delete("users/fred")
    is_over.set()
    for thread in threads:
        thread.join()
    assert answer.status_code == 204, answer.text
    assert look(hub, "fred")[:2] == ([], [])
    assert not is_there(admin, "fred")


def test_two_deletions_and_a_start_at_the_same_time_end_with_nothing(hub, admin):
    admin.make_person("finn")
    admin.start("finn", {"image": "fake/slow"})
    answers = []
    asks = [
        lambda: admin.delete("users/finn"),
        lambda: hub.service().delete("users/finn"),
        lambda: hub.service().start("finn", server="late"),
    ]
    threads = [
        threading.Thread(target=lambda ask=ask: answers.append(ask().status_code)) for ask in asks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 204 in answers
    hub.wait_until(lambda: look(hub, "finn")[:2] == ([], []), "nothing is left", 10)
    assert not is_there(admin, "finn")


def test_a_person_with_a_server_that_cannot_be_stopped_stays_as_they_are(hub, admin):
    token = admin.make_person("gina")
    admin.start("gina", server="work")
    wait_until_ready(hub, admin, "gina", "work")
    admin.stop("gina", "work")
    admin.start("gina", {"image": "fake/stuck"})
    wait_until_ready(hub, admin, "gina")
    before = look(hub, "gina")
    answer = admin.delete("users/gina")
    assert answer.status_code == 503
    assert "'gina' is not deleted" in answer.json()["message"]
    assert "does not stop" in answer.json()["message"]
    assert look(hub, "gina") == before
    assert token.get("user").json()["name"] == "gina"
    # Nobody is left half deleted: servers of theirs start as before.
    assert admin.start("gina", server="work").status_code in (201, 202)


def test_nothing_changes_where_the_place_does_not_answer(hub, admin):
    token = admin.make_person("hugo")
    admin.start("hugo", server="work")
    wait_until_ready(hub, admin, "hugo", "work")
    before = look(hub, "hugo")
    hub.browser().post("/hub/place", params={"away": "yes"})
    try:
        answer = admin.delete("users/hugo")
    finally:
        hub.browser().post("/hub/place", params={"away": "no"})
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["message"]
    assert look(hub, "hugo") == before
    assert admin.get_server("hugo", "work")["ready"]
    assert token.get("user").status_code == 200
    assert admin.delete("users/hugo").status_code == 204
    assert look(hub, "hugo")[:2] == ([], [])


def test_nobody_deletes_themselves(hub):
    answer = hub.admin().api("DELETE", "users/admin")
    assert (answer.status_code, answer.json()["message"]) == (400, "Cannot delete yourself!")


def test_deleting_a_server_that_is_starting_leaves_its_data_in_the_trash_and_the_person_as_they_are(
    hub, admin
):
    token = admin.make_person("iris")
    admin.start("iris", {"image": "fake/slow"}, "work")
    hub.wait_until(lambda: look(hub, "iris")[0], "it is there", 10)
    answer = admin.delete("users/iris/servers/work", json={"remove": True})
    assert answer.status_code in (202, 204), answer.text
    hub.wait_until(lambda: look(hub, "iris")[:2] == ([], []), "it is gone", 10)
    assert token.get("user").status_code == 200
    assert len(look(hub, "iris")[2]) == 1


def test_a_start_that_is_cancelled_is_said_to_have_failed_and_never_to_be_ready(hub, admin):
    admin.make_person("lena")
    (hub.directory / "hold-watched").touch()
    assert admin.start("lena", server="watched").status_code == 202
    with admin.get("users/lena/servers/watched/progress", stream=True) as stream:
        lines = (json.loads(line[6:]) for line in stream.iter_lines() if line)
        events = [next(lines)]  # it is watched by now
        assert hub.service().delete("users/lena/servers/watched").status_code == 204
        events += lines
    assert [event for event in events if event.get("ready")] == []
    assert events[-1]["failed"]
    server = admin.get_server("lena", "watched")
    assert (server["ready"], server["pending"], look(hub, "lena")[0]) == (False, None, [])


def test_whoever_registers_a_discarded_name_finds_nothing_of_the_one_before(hub, admin):
    boss = hub.admin()
    hub.person("judy", GOOD, boss)
    admin.start("judy")
    wait_until_ready(hub, admin, "judy")
    first = hub.query("select created from users where name = 'judy'")
    assert boss.manage("authorize", "judy", action="withdraw").status_code == 302
    assert boss.manage("discard", "judy").status_code == 302
    assert look(hub, "judy")[:2] == ([], [])
    hub.person("judy", GOOD + "!", boss)
    admin.start("judy")
    wait_until_ready(hub, admin, "judy")
    assert hub.query("select created from users where name = 'judy'") != first
    _, live, trashed = look(hub, "judy")
    assert (len(live), len(trashed)) == (1, 1)


def test_a_sign_up_that_never_came_in_is_discarded_as_before(hub):
    hub.browser().sign_up("kara", GOOD)
    assert hub.admin().manage("discard", "kara").status_code == 302
    assert hub.query("select count(*) from users_info where username = 'kara'") == [(0,)]


def test_a_sign_up_under_a_persons_name_says_nothing_of_that_person(hub, admin):
    token = admin.make_person("bot")
    admin.start("bot")
    wait_until_ready(hub, admin, "bot")
    hub.browser().sign_up("bot", GOOD)
    assert hub.query("select is_authorized from users_info where username = 'bot'") == [(None,)]
    assert token.get("user").status_code == 200
    # Nor does whoever waits for authorization come in, or take the person along when discarded.
    stranger = hub.browser()
    stranger.log_in("bot", GOOD)
    assert not stranger.is_signed_in()
    assert hub.admin().manage("discard", "bot").status_code == 302
    assert token.get("user").status_code == 200
    assert look(hub, "bot")[0] == [""]
    assert admin.get_server("bot")["ready"]
