"""Whoever loses the right to be here loses everything at once, whatever they hold; everybody else
keeps all of it.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mlhub.workspaces.belief import BELIEF_SECONDS
from tests.support.hub_process import Service
from tests.support.websockets import is_open, open_websocket

GOOD = "quite a good one"
SECONDS = 5.0
PAUSE = 0.1  # what is tried takes hub and proxy six requests
HOLDINGS = {"cookie", "page", "token", "workspace", "workspace's token", "WebSocket"}
CONFIG = f"""
c.JupyterHub.authenticator_class = 'native'
c.MLHubNativeAuthenticator.admin_password = {GOOD!r}
c.MLHubNativeAuthenticator.minimum_password_length = 8
c.MLHub.correction_seconds = 7
c.JupyterHub.tornado_settings = {{{{"slow_spawn_timeout": 0}}}}
allow_list_file = "{{directory}}/list.txt"

import asyncio

async def keep_token(spawner):
    while spawner.name == "slow" and Path("{{directory}}", "hold").exists():
        await asyncio.sleep(0.05)
    Path("{{directory}}", f"token-{{{{spawner.user.name}}}}-{{{{spawner.name}}}}")\
.write_text(spawner.api_token)

c.Spawner.pre_spawn_hook = keep_token
# As on Docker, where the container of a stopped workspace is kept with the token in it.
from mlhub.backends.fake import FakeSpawner
FakeSpawner.will_resume = True
"""


class AllowList:
    """The file with the names of all who may be here."""

    def __init__(self, file: Path) -> None:
        self.file, self.names = file, ["admin"]

    def add(self, *names: str) -> None:
        self.names += names
        self.write()

    def remove(self, *names: str) -> None:
        self.names = [name for name in self.names if name not in names]
        self.write()

    def write(self) -> None:
        self.file.write_text("".join(f"{name}\n" for name in self.names))


class Person:
    """Somebody who holds all that gives access: two cookies, a token, and a workspace that runs,
    with its token and a WebSocket.
    """

    def __init__(self, place, name: str, server: str = "", *, has_browser: bool = True) -> None:
        hub, allow_list, admin = place
        allow_list.add(name)
        self.hub, self.name, self.server = hub, name, server
        self.browser = hub.person(name, GOOD, admin) if has_browser else None
        self.token = hub.service().make_person(name)
        self.start(server)
        self.workspace_token = Service(
            hub.url, (allow_list.file.parent / f"token-{name}-{server}").read_text()
        )
        self.socket = open_websocket(hub.url, f"/user/{name}/{server}")

    def start(self, server: str = "") -> None:
        assert self.token.start(self.name, {}, server).status_code in (201, 202)
        self.hub.wait_until(
            lambda: (self.hub.service().get_server(self.name, server) or {}).get("ready"),
            "the workspace",
        )

    def list_held(self) -> set[str]:
        """Try everything, and list what still works."""
        tries = {
            "token": lambda: self.token.get("user").status_code == 200,
            "workspace's token": lambda: self.workspace_token.get("user").status_code == 200,
            "WebSocket": lambda: is_open(self.socket),
        }
        of_browser = {
            "cookie": lambda: (
                self.browser.get("/hub/api/user", headers={"Referer": self.hub.url}).status_code
                == 200
            ),
            "page": lambda: self.browser.is_signed_in(),
            "workspace": lambda: (
                '"version": "fake"' in self.browser.get(f"/user/{self.name}/{self.server}").text
            ),
        }
        return {
            name
            for name, works in {**tries, **(of_browser if self.browser else {})}.items()
            if works()
        }


def wait_for_held(person: Person, held: set[str], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while (found := person.list_held()) != held:
        assert time.monotonic() < deadline, (
            f"{person.name} still has {sorted(found - held)}, and lacks {sorted(held - found)}"
        )
        time.sleep(PAUSE)


def assert_keeps(person: Person, held: set[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert person.list_held() == held
        time.sleep(PAUSE)


@pytest.fixture(scope="module")
def place(module_workspace_hub, tmp_path_factory):
    """Return a hub with accounts and an allow-list, the list, and an administrator's browser."""
    directory = tmp_path_factory.mktemp("list")
    allow_list = AllowList(directory / "list.txt")
    allow_list.write()
    hub = module_workspace_hub(CONFIG.format(directory=directory))
    return hub, allow_list, hub.admin(GOOD)


@pytest.fixture(scope="module")
def twin(place) -> Person:
    """Return somebody from whom nothing is withdrawn."""
    return Person(place, "twin")


@pytest.mark.parametrize("way", ["allow-list", "account", "user"])
def test_who_may_not_be_here_any_more_keeps_nothing(place, twin, way):
    hub, allow_list, admin = place
    leaver = Person(place, f"leaver-{way}")
    wait_for_held(leaver, HOLDINGS)
    if way == "allow-list":
        allow_list.remove(leaver.name)
    elif way == "account":
        admin.manage("authorize", leaver.name, action="withdraw")
    else:
        assert hub.service().delete(f"users/{leaver.name}").status_code == 204
    wait_for_held(leaver, set())
    assert leaver.token.start(leaver.name).status_code in (403, 404)
    if way != "user":
        assert hub.service().start(leaver.name).status_code in (201, 202)
        hub.wait_until(
            lambda: hub.service().get_server(leaver.name)["stopped"],
            "the end of what somebody else started",
            SECONDS,
        )
    assert twin.list_held() == HOLDINGS


def test_a_workspace_of_old_is_not_told_whose_token_it_holds(place, twin):
    hub, allow_list, _ = place

    def ask(person: Person) -> int:
        secret = person.token.headers["Authorization"].removeprefix("token ")
        return hub.service().get(f"authorizations/token/{secret}").status_code

    leaver = Person(place, "leaver-of-old")
    assert ask(leaver) == 200
    allow_list.remove(leaver.name)
    hub.wait_until(lambda: ask(leaver) == 404, "the hub knows nobody by that token", SECONDS)
    assert ask(twin) == 200


def test_who_is_listed_again_has_all_of_it_back_and_starts_the_workspace_again(place):
    _, allow_list, _ = place
    person = Person(place, "returner")
    allow_list.remove(person.name)
    wait_for_held(person, set())
    allow_list.add(person.name)
    wait_for_held(person, {"cookie", "page", "token"})
    person.start()
    wait_for_held(person, HOLDINGS - {"workspace's token", "WebSocket"})


def test_a_new_password_ends_what_was_opened_with_the_old_one(place, twin):
    _, _, admin = place
    person = Person(place, "forgetful")
    other = "another good one"
    admin.submit(
        f"/hub/change-password/{person.name}",
        {"new_password": other, "new_password_confirmation": other},
    )
    wait_for_held(person, HOLDINGS - {"cookie", "page"})
    assert twin.list_held() == HOLDINGS


@pytest.mark.parametrize("note", ["", "Server at /user/careless/"])
def test_a_token_that_is_revoked_opens_nothing_and_the_others_go_on(place, twin, note):
    """Whatever it is called: hers have the names that the hub gives to those of workspaces."""
    hub, _, _ = place
    person = Person(place, f"careless-{len(note)}", has_browser=False)
    asked = {"note": note.replace("careless", person.name)}
    made = [hub.service().post(f"users/{person.name}/tokens", json=asked).json() for _ in range(2)]
    assert hub.service().delete(f"users/{person.name}/tokens/{made[0]['id']}").status_code == 204
    assert [Service(hub.url, each["token"]).get("user").status_code for each in made] == [403, 200]
    # Whether the WebSocket was opened with it nobody knows.
    wait_for_held(person, {"token", "workspace's token"})
    person.socket = open_websocket(hub.url, f"/user/{person.name}/")
    assert twin.list_held() == HOLDINGS


def test_so_it_is_while_another_workspace_starts_whose_own_token_ends_nothing(place, twin):
    """Of that one alone what was opened ends by itself, whatever a token is called."""
    hub, allow_list, _ = place
    person, admin = Person(place, "hasty", has_browser=False), hub.service()
    held = person.list_held()
    person.start("slow")
    admin.stop(person.name, "slow")
    assert_keeps(person, held, BELIEF_SECONDS + 1)
    made = admin.post(f"users/{person.name}/tokens", json={"note": "Server at /user/hasty/slow/"})
    hold = allow_list.file.parent / "hold"
    hold.touch()
    try:
        assert admin.start(person.name, {}, "slow").status_code == 202
        path = f"users/{person.name}/tokens/{made.json()['id']}"
        assert admin.delete(path).status_code == 204
        wait_for_held(person, held - {"WebSocket"})
        assert admin.get_server(person.name, "slow")["pending"] == "spawn"
    finally:
        hold.unlink()
    assert twin.list_held() == HOLDINGS
    assert admin.delete(f"users/{person.name}").status_code == 204


def test_who_is_no_administrator_any_more_has_an_administrators_rights_no_more(place):
    _, _, admin = place
    person = Person(place, "deputy", has_browser=False)
    assert admin.api("PATCH", f"users/{person.name}", json={"admin": True}).status_code == 200
    assert person.token.get("users/twin").status_code == 200
    assert admin.api("PATCH", f"users/{person.name}", json={"admin": False}).status_code == 200
    assert person.token.get("users/twin").status_code in (403, 404)
    assert person.list_held() == {"token", "workspace's token", "WebSocket"}


@pytest.mark.parametrize("way", ["stopped", "deleted"])
def test_the_token_of_a_workspace_ends_with_it(place, twin, way):
    hub, _, _ = place
    person = Person(place, f"owner-{way}", server="work", has_browser=False)
    assert person.list_held() == {"token", "workspace's token", "WebSocket"}
    body = {"json": {"remove": True}} if way == "deleted" else {}
    assert hub.service().delete(f"users/{person.name}/servers/work", **body).status_code in (
        202,
        204,
    )
    wait_for_held(person, {"token"})
    notes = [
        token["note"]
        for token in hub.service().get(f"users/{person.name}/tokens").json()["api_tokens"]
    ]
    assert not [note for note in notes if "work" in note]
    assert twin.list_held() == HOLDINGS


def test_a_list_that_is_written_anew_takes_nothing_from_those_whom_it_names_in_the_end(place, twin):
    _, allow_list, _ = place
    content = allow_list.file.read_bytes()
    allow_list.file.write_bytes(b"")
    assert twin.list_held() == HOLDINGS, "half-way through"
    allow_list.file.write_bytes(content)
    wait_for_held(twin, HOLDINGS)


@pytest.mark.parametrize("content", [b"ann\xff\xfe\n", None])
def test_a_list_that_can_not_be_understood_takes_nothing_from_those_who_are_in(
    place, twin, content
):
    _, allow_list, _ = place
    allow_list.file.unlink()
    allow_list.file.write_bytes(content) if content else allow_list.file.mkdir()
    try:
        assert_keeps(twin, HOLDINGS, 2.5)
    finally:
        allow_list.file.unlink() if content else allow_list.file.rmdir()
        allow_list.write()


def test_a_list_that_names_nobody_closes_everything_and_stops_nothing(place, twin):
    hub, allow_list, _ = place
    allow_list.file.write_text("# all of them, later\n")
    try:
        wait_for_held(twin, {"workspace", "WebSocket"})  # the fake one asks nobody
        assert_keeps(twin, {"workspace", "WebSocket"}, 2)
        hub.wait_until(lambda: "names nobody" in hub.log, "a warning")
    finally:
        allow_list.write()
    wait_for_held(twin, HOLDINGS)


def test_a_list_that_would_stop_most_workspaces_waits_for_its_correction(place, twin):
    hub, allow_list, _ = place
    for person in hub.service().get("users", params={"state": "active"}).json():
        if person["name"] != twin.name:
            hub.service().stop(person["name"])
    people = [Person(place, f"class-{number}", has_browser=False) for number in range(4)]
    held = people[0].list_held()
    allow_list.remove(*(person.name for person in people))
    for person in people:
        wait_for_held(person, {"WebSocket"})
    hub.wait_until(lambda: "4 of the 5 people" in hub.log, "a warning")
    allow_list.add(people[0].name)
    wait_for_held(people[0], held)
    for person in people[1:]:
        wait_for_held(person, set(), 15)
    assert people[0].list_held() == held
    assert twin.list_held() == HOLDINGS


@pytest.mark.parametrize(
    "way", ["share", "shared group", "group's member", "visitor's place in the list"]
)
def test_who_may_not_enter_somebody_elses_workspace_any_more_loses_its_websockets(place, twin, way):
    hub, allow_list, _ = place
    service, guest, group = (
        hub.service(),
        f"guest-{way.partition(' ')[0]}",
        f"group-{way.partition(' ')[0]}",
    )
    allow_list.add(guest)
    service.make_person(guest, groups=(group,))
    to = {"user": guest} if way in ("share", "visitor's place in the list") else {"group": group}
    assert service.post(f"shares/{twin.name}/", json=to).status_code == 200
    opened = open_websocket(hub.url, f"/user/{twin.name}/")
    other = Person(place, f"other-{guest}", has_browser=False)
    # The hub looks four times a second who has been let in: for less nobody has opened anything.
    assert_keeps(twin, HOLDINGS, 1.5)
    if way == "share":
        assert service.patch(f"shares/{twin.name}/", json=to).status_code == 200
    elif way == "shared group":
        assert service.delete(f"shares/{twin.name}/").status_code == 204
    elif way == "group's member":
        assert service.delete(f"groups/{group}/users", json={"users": [guest]}).status_code in (
            200,
            204,
        )
    else:
        allow_list.remove(guest)
    hub.wait_until(lambda: not is_open(opened), "the end of the WebSocket", SECONDS)
    # Whose it was the proxy does not know; who may opens theirs again.
    twin.socket = open_websocket(hub.url, f"/user/{twin.name}/")
    assert is_open(other.socket)
    assert twin.list_held() == HOLDINGS
    service.delete(f"shares/{twin.name}/")


def test_nobody_shares_a_workspace_unless_the_site_lets_them(place, twin):
    """Sharing is JupyterHub's scope ``shares``, which it gives to nobody by itself."""
    hub, allow_list, _ = place
    allow_list.add("friend")
    friend, service, to = hub.service().make_person("friend"), hub.service(), {"user": "friend"}

    def enters() -> bool:
        scopes = friend.get("user").json()["scopes"]
        return any("access:servers" in scope and f"={twin.name}" in scope for scope in scopes)

    for who in (twin.token, twin.workspace_token, friend):
        assert who.post(f"shares/{twin.name}/", json=to).status_code in (403, 404)
        assert who.post(f"share-codes/{twin.name}/").status_code in (403, 404)
        assert not enters()
    assert twin.browser.api("POST", f"shares/{twin.name}/", json=to).status_code in (
        403,
        404,
    )
    assert not enters()
    # The site may.
    assert service.post(f"shares/{twin.name}/", json=to).status_code == 200
    assert enters()
    service.delete(f"shares/{twin.name}/")


def test_who_is_blocked_in_the_configuration_keeps_nothing_after_the_restart(place, twin):
    hub, _, _ = place
    person = Person(place, "blocked")
    hub.stop()
    hub.config_file.write_text(
        hub.config_file.read_text() + "\nc.Authenticator.blocked_users = {'blocked'}\n"
    )
    hub.start()
    wait_for_held(person, set())
    wait_for_held(twin, {"cookie", "page", "token"})
