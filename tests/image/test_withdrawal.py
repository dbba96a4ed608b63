"""Access that is withdrawn ends on the real image within five seconds, whatever was open: pages,
tokens, WebSockets, SSH.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, HubMaker, docker
from tests.support.hub_process import Browser
from tests.support.ssh_client import OWN, Person
from tests.support.websockets import is_open, open_websocket

SECONDS = 5.0
SHARING = CONFIG.replace(
    '"tokens"]', '"tokens", "inherit", "shares", "groups", "admin:groups"]'
).replace(TEST_IMAGE, OWN)
HUB_ITSELF = {"hub by cookie", "hub by token"}
WORKSPACE = {
    "workspace by cookie",
    "workspace by token",
    "WebSocket by cookie",
    "WebSocket by token",
}
OWNERS = {"hub by the workspace's token", "SSH"}


class Holder:
    """Somebody who holds all that gives access to a workspace, their own or somebody else's."""

    def __init__(self, hub: Hub, name: str, folder: Path, owner: str = "") -> None:
        self.hub, self.name, self.owner = hub, name, owner or name
        self.is_owner = self.owner == name
        self.prefix = f"/user/{self.owner}"
        self.browser = Browser(hub.url)
        self.browser.log_in(name, "any")
        if self.is_owner:
            self.start()
            self.workspace_token = get_workspace_token(hub, name)
        made = hub.api("POST", f"users/{name}/tokens", {})
        self.token = {"Authorization": f"token {made['token']}"}
        self.token_id = made["id"]
        self.enter()
        self.cookies = {
            "Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.browser.cookies)
        }
        self.open_sockets()
        self.session = self.open_session(folder) if self.is_owner else None

    def start(self) -> None:
        """Start the workspace.

        The first one of a hub waits until SSH is laid out for all of them.
        """
        self.hub.request("POST", f"/hub/api/users/{self.name}", b"")
        if not self.hub.is_workspace_ready(self.name):
            self.hub.api("POST", f"users/{self.name}/server", {})
            self.hub.wait_for(
                lambda: self.hub.is_workspace_ready(self.name),
                f"{self.name}'s workspace is ready",
                180,
            )

    def enter(self) -> None:
        """Open the workspace as a browser does; where it is somebody else's, the hub asks once."""
        page = self.browser.get(f"{self.prefix}/lab")
        if not self.is_owner:
            fields = re.findall(r'name="(_xsrf|scopes)"\s+value="([^"]*)"', page.text)
            page = self.browser.post(
                page.url, data=[(name, html.unescape(text)) for name, text in fields]
            )
        assert page.status_code == 200, page.text[-500:]
        assert self.browser.get(f"{self.prefix}/api/status").status_code == 200

    def open_sockets(self) -> None:
        """Open new ones.

        These answer no pings, and the workspace gives up on them after a while.
        """
        terminal = self.make_terminal()
        self.sockets = {
            "WebSocket by cookie": self.open_terminal(terminal, self.cookies),
            "WebSocket by token": self.open_terminal(terminal, self.token),
        }

    def make_terminal(self) -> str:
        status, _, body = self.hub.request(
            "POST", f"{self.prefix}/api/terminals", b"", headers=self.token
        )
        assert status == 200, body
        return str(json.loads(body)["name"])

    def open_terminal(self, name: str, headers: dict[str, str]) -> object:
        return open_websocket(
            self.hub.url, f"{self.prefix}/terminals/websocket/{quote(name)}", headers
        )

    def open_session(self, folder: Path) -> subprocess.Popen:
        person = Person(self.hub, self.name, folder).join()
        command = ["ssh", "-F", str(person.config), person.alias, "echo in; exec sleep 600"]
        session = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert session.stdout.readline() == "in\n"
        return session

    def list_held(self) -> set[str]:
        """Try everything, and list what still works."""

        def answers(path: str, headers: dict[str, str]) -> bool:
            return self.hub.request("GET", path, headers=headers)[0] == 200

        tries = {
            "hub by cookie": self.browser.is_signed_in,
            "hub by token": lambda: answers("/hub/api/user", self.token),
            "workspace by cookie": lambda: (
                self.browser.get(f"{self.prefix}/api/status", allow_redirects=False).status_code
                == 200
            ),
            "workspace by token": lambda: answers(f"{self.prefix}/api/status", self.token),
            **{
                name: lambda socket=socket: is_open(socket) for name, socket in self.sockets.items()
            },
        }
        if self.is_owner:
            tries["hub by the workspace's token"] = lambda: answers(
                "/hub/api/user", self.workspace_token
            )
            tries["SSH"] = lambda: self.session.poll() is None
        return {name for name, works in tries.items() if works()}


def wait_for_held(holder: Holder, held: set[str], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while (found := holder.list_held()) != held:
        assert time.monotonic() < deadline, (
            f"{holder.name} still has {sorted(found - held)}, and lacks {sorted(held - found)}"
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder that is mounted as /resources/users."""
    folder = tmp_path_factory.mktemp("users")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker, folder: Path) -> Hub:
    write(folder, "ann", "bob", "vic", "wil")
    return make_hub(
        SHARING, mounts=(f"{folder}:/resources/users:ro",), DYNAMIC_WHITELIST_ENABLED="true"
    )


def write(folder: Path, *names: str) -> None:
    (folder / "dynamic_whitelist.txt").write_text("".join(f"{name}\n" for name in names))


def get_workspace_token(hub: Hub, name: str) -> dict[str, str]:
    container = f"ws-{hub.name}--{name}"
    environment = dict(
        line.partition("=")[::2] for line in docker("exec", container, "env").splitlines()
    )
    return {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}


@pytest.fixture
def hold(hub: Hub, tmp_path: Path) -> Callable[..., Holder]:
    return lambda name, owner="": Holder(hub, name, tmp_path / name, owner)


@pytest.fixture
def bob(hub: Hub, hold: Callable[..., Holder]) -> Holder:
    """Return somebody from whom nothing is withdrawn."""
    return hold("bob")


def test_whoever_is_taken_out_of_the_list_keeps_nothing(hub, hold, bob, folder):
    ann = hold("ann")
    bob.open_sockets()
    assert ann.list_held() == HUB_ITSELF | WORKSPACE | OWNERS
    write(folder, "bob", "vic", "wil")
    try:
        wait_for_held(ann, set())
        assert bob.list_held() == HUB_ITSELF | WORKSPACE | OWNERS
    finally:
        write(folder, "ann", "bob", "vic", "wil")
    # The container is kept, and with it the token in its environment.
    hub.stop_workspace("ann")  # waits for the end of a stop
    ann.start()
    assert get_workspace_token(hub, "ann") == ann.workspace_token
    assert {"hub by cookie", "hub by token", "hub by the workspace's token"} <= ann.list_held()


def test_whoever_loses_a_share_keeps_nothing_of_the_workspace_and_others_keep_all(hub, hold, bob):
    for guest in ("vic", "wil"):
        hub.request("POST", f"/hub/api/users/{guest}", b"")
        hub.api("POST", "shares/bob/", {"user": guest})
    vic, wil = hold("vic", "bob"), hold("wil", "bob")
    assert vic.list_held() == wil.list_held() == HUB_ITSELF | WORKSPACE
    hub.api("PATCH", "shares/bob/", {"user": "vic"})
    wait_for_held(vic, HUB_ITSELF)
    assert wil.list_held() >= HUB_ITSELF | {"workspace by cookie", "workspace by token"}
    assert bob.list_held() >= HUB_ITSELF | OWNERS | {"workspace by cookie", "workspace by token"}
    assert bob.open_terminal(bob.make_terminal(), bob.token)


# Ways to write the path of bob's workspace, as somebody might who is let into her own.
SPELLINGS = (
    "/user/bob/{}",
    "/user/%62ob/{}",
    "/user/%2562ob/{}",
    "//user/bob/{}",
    "/user//bob/{}",
    "/user/bob//{}",
    "/user/BOB/{}",
    "/user/ann/../bob/{}",
    "/user/ann/%2e%2e/bob/{}",
    "/user/ann/..%2fbob/{}",
    "/user/ann/..;/bob/{}",
    "/user/bob;/{}",
    "/user/bob/{};x=/user/ann/",
    "/user/ann/%2fuser/bob/{}",
    "/hub/user/bob/{}",
)


def test_nobody_enters_a_workspace_that_is_not_theirs_by_whatever_spelling(hub, hold, bob):
    ann = hold("ann")
    gone = hub.api("POST", "users/bob/tokens", {})
    hub.request("DELETE", f"/hub/api/users/bob/tokens/{gone['id']}")
    notes = {"type": "file", "format": "text", "content": "bob's own words"}
    path = "api/contents/notes.txt"
    status, _, body = hub.request("PUT", f"/user/bob/{path}", notes, headers=bob.token)
    assert status in (200, 201), body
    terminal = bob.make_terminal()
    strangers = {
        "nothing": {},
        "another's cookies": ann.cookies,
        "another's token": ann.token,
        "another workspace's token": ann.workspace_token,
        "a token that was revoked": {"Authorization": f"token {gone['token']}"},
        "no token": {"Authorization": "token "},
    }
    asked = [(spelling, "GET") for spelling in SPELLINGS]
    asked += [(SPELLINGS[0], method) for method in ("HEAD", "PUT", "PATCH", "POST", "DELETE")]
    for who, headers in strangers.items():
        for spelling, method in asked:
            changed = {**notes, "content": f"by {who}"} if method[0] == "P" else None
            answer = hub.request(method, spelling.format(path), changed, headers=headers)
            assert b"bob's own" not in answer[2], (who, spelling, method)
        for spelling in SPELLINGS[:4]:
            address = spelling.format(f"terminals/websocket/{terminal}")
            with pytest.raises(ConnectionError):
                open_websocket(hub.url, address, headers)
    # Nothing was changed, and what is his he has.
    for headers in (bob.cookies, bob.token):
        status, _, body = hub.request("GET", f"/user/bob/{path}", headers=headers)
        assert (status, json.loads(body)["content"]) == (200, notes["content"])
        assert bob.open_terminal(terminal, headers)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "http://{host}.evil.example"]
)
def test_a_page_of_another_site_opens_no_websocket_with_its_visitors_cookies(hub, bob, origin):
    terminal = bob.make_terminal()
    address = f"{bob.prefix}/terminals/websocket/{quote(terminal)}"
    foreign = origin.format(host=f"{hub.host}:{hub.port}")
    with pytest.raises(ConnectionError, match="403"):
        open_websocket(hub.url, address, bob.cookies, foreign)
    assert is_open(open_websocket(hub.url, address, bob.cookies))


def test_whoever_signs_out_takes_everything_of_that_browser_along(hub, bob):
    def answer(headers: dict[str, str]) -> int:
        return hub.request("GET", "/user/bob/api/status", headers=headers)[0]

    assert answer(bob.cookies) == answer(bob.token) == 200
    bob.browser.get("/hub/logout")
    deadline = time.monotonic() + SECONDS
    while answer(bob.cookies) == 200 or is_open(bob.sockets["WebSocket by cookie"]):
        assert time.monotonic() < deadline, "a copy of the cookies still opens the workspace"
    assert answer(bob.token) == 200
    assert bob.list_held() >= {"hub by token", "workspace by token"} | OWNERS
