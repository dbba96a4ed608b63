"""One shared port through the real front: its guest reaches that program and nothing else."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

import pytest

from tests.support.hub_container import CONFIG, Hub, docker
from tests.support.hub_process import Browser
from tests.support.streams import EVENTS, open_stream
from tests.support.tool_addresses import list_spellings
from tests.support.tool_program import start_tool
from tests.support.websockets import is_open, open_websocket

PORT, OTHER, INNER = 8501, 8502, 8503  # the last one's program listens on 127.0.0.1 alone
PATH = f"/user/nora/tools/{PORT}/"
SECONDS = 5.0
SHARES = "users/nora/server/port-shares"
APP, APP_PORT = "/hub/apps/nour/listing", 8700
SOURCE = f"""
import socket
server = socket.create_server(("127.0.0.1", {APP_PORT}))
while True:
    connection = server.accept()[0]
    if connection.recv(65536):
        connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nThis is the app.")
    connection.close()
"""
COMMAND = f"echo $$ >/tmp/app; exec python3 -c {shlex.quote(f'exec({SOURCE!r})')}"
SCRIPT = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.fixture(scope="module")
def hub(make_hub, tmp_path_factory, wait_for: Callable) -> Hub:
    """Return a hub where nora's workspace and nils' own have programs at these ports."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.parent.chmod(0o755)
    policy.write_text("everyone: {port_sharing: true, publishing: true}\n")
    mounts = (f"{policy.parent}:/etc/mlhub:ro",)
    hub = make_hub(CONFIG, mounts=mounts, POLICY_FILE="/etc/mlhub/policy.yaml")
    for name in ("nora", "nils"):
        hub.start_workspace(name)
        workspace = f"ws-{hub.name}--{name}"
        for port in (PORT, OTHER):
            start_tool(workspace, port, f"{name}'s program {port}", wait_for)
        start_tool(workspace, INNER, f"{name}'s program {INNER}", wait_for, "127.0.0.1")
    return hub


def sign_in(hub: Hub, name: str) -> Browser:
    browser = Browser(hub.url)
    browser.log_in(name, "any")
    return browser


def enter(hub: Hub, name: str, path: str) -> dict[str, str]:
    """Open a tool as a browser does; return the cookie that it has there."""
    browser = sign_in(hub, name)
    page = browser.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 200, page.text[:500]
    (cookie,) = [each for each in browser.cookies if each.name == "mlhub-tools"]
    return {"Cookie": f"mlhub-tools={cookie.value}"}


def make_token(hub: Hub, name: str) -> dict[str, str]:
    return {"Authorization": f"token {hub.api('POST', f'users/{name}/tokens', {})['token']}"}


def share(hub: Hub, port: int, **whom: str) -> int:
    """Have nora share a port by REST; return the number of the share."""
    body = {"port": port, "days": 1, **whom}
    return int(hub.api("POST", SHARES, body)["id"])


def hear(hub: Hub, headers: dict[str, str], path: str) -> str:
    """Return whose program answers, "" where none does."""
    _, _, body = hub.request("GET", path, headers={**SCRIPT, **headers})
    head = body.split(b"\n")[0].decode(errors="replace")
    return head if "'s program" in head else ""


def opens(hub: Hub, headers: dict[str, str], path: str) -> bool:
    try:
        open_websocket(hub.url, path, headers).close()
    except ConnectionError:
        return False
    return True


def wait_for_the_end(what: str, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_over():
        assert time.monotonic() < deadline, f"{what} goes on"
        time.sleep(0.05)


def test_a_guest_reaches_the_shared_port_by_http_and_websocket_and_nothing_else(hub):
    hub.request("POST", "/hub/api/users/nell", b"")
    for port in (PORT, INNER):
        share(hub, port, user="nell")
    nell = {"cookie": enter(hub, "nell", PATH), "token": make_token(hub, "nell")}
    strangers = {"cookie": enter(hub, "nils", PATH.replace("nora", "nils"))}
    strangers["token"] = make_token(hub, "nils")
    owner = make_token(hub, "nora")
    places = {
        f"/user/nora/tools/{PORT}/": f"nora's program {PORT}",
        f"/user/nora/tools/absolute/{PORT}/": f"nora's program {PORT}",
    }
    inner = f"/user/nora/tools/{INNER}/"
    hub.wait_for(lambda: hear(hub, owner, inner), "the relay runs", 30)
    for by, headers in nell.items():
        for path, program in {**places, inner: f"nora's program {INNER}"}.items():
            assert hear(hub, headers, path) == program, (by, path)
            assert opens(hub, headers, path), (by, path)
        for port in (OTHER, f"absolute/{OTHER}", 8080, 8888, 2222, 2223):
            path = f"/user/nora/tools/{port}/"
            assert hub.request("GET", path, headers={**SCRIPT, **headers})[0] == 403, (by, path)
            assert not opens(hub, headers, path), (by, path)
        # These name no port: they are led to the workspace's own server, which has the hub sign
        # people in (tests/hub/test_port_sharing.py tries that; the server here asks nobody).
        for port in (65536 + PORT, f"0{PORT}", f"-{PORT}", f"absolute/0{PORT}", f"%30{PORT}"):
            assert hear(hub, headers, f"/user/nora/tools/{port}/") == "", (by, port)
        assert hear(hub, headers, f"/user/nora/proxy/{PORT}/") == "", by
        for spelling in list_spellings(OTHER):
            assert "nora" not in hear(hub, headers, spelling), (by, spelling)
        for around in ("..", "%2e%2e", "..%2f..", "%2f..", "..;"):
            path = f"{PATH}{around}/{OTHER}/"
            assert hear(hub, headers, path) in ("", f"nora's program {PORT}"), (by, path)
    for by, headers in strangers.items():
        for path in (*places, inner):
            assert hear(hub, headers, path) == "", (by, path)
            assert not opens(hub, headers, path), (by, path)


def test_what_a_guest_has_open_ends_within_five_seconds_of_taking_it_back(hub):
    hub.request("POST", "/hub/api/users/noel", b"")
    number, kept = share(hub, PORT, user="noel"), share(hub, OTHER, user="noel")
    cookie, token = enter(hub, "noel", PATH), make_token(hub, "noel")
    opened = [open_websocket(hub.url, PATH, headers) for headers in (cookie, token)]
    own = open_websocket(hub.url, "/user/nils/tools/8501/", make_token(hub, "nils"))
    assert hear(hub, cookie, PATH)
    assert hub.request("DELETE", f"/hub/api/{SHARES}/{number}")[0] == 204
    for headers in (cookie, token):
        wait_for_the_end("a guest", lambda headers=headers: not hear(hub, headers, PATH))
    wait_for_the_end("a WebSocket", lambda: not any(map(is_open, opened)))
    for headers in (cookie, token):
        assert not opens(hub, headers, PATH)
        assert hear(hub, headers, PATH.replace(str(PORT), str(OTHER)))
    assert is_open(own)
    assert hear(hub, make_token(hub, "nora"), PATH)
    page = sign_in(hub, "noel").get(PATH, headers={"Accept": "text/html"})
    assert page.status_code == 403
    assert "Ask nora to share it with you" in page.text
    assert hub.request("DELETE", f"/hub/api/{SHARES}/{kept}")[0] == 204


def test_what_a_deleted_guest_has_open_ends_within_five_seconds_and_anothers_goes_on(hub):
    shown = {}
    for name in ("neal", "nina"):
        hub.request("POST", f"/hub/api/users/{name}", b"")
        share(hub, PORT, user=name)
        shown[name] = [enter(hub, name, PATH), make_token(hub, name)]
    opened = {
        name: [open_stream(hub.url, PATH + EVENTS, headers) for headers in those]
        + [open_websocket(hub.url, PATH, headers) for headers in those]
        for name, those in shown.items()
    }
    assert hub.request("DELETE", "/hub/api/users/neal")[0] == 204
    wait_for_the_end("a stream", lambda: not any(map(is_open, opened["neal"])))
    assert not any(hear(hub, headers, PATH) for headers in shown["neal"])
    assert all(map(is_open, opened["nina"]))
    assert all(hear(hub, headers, PATH) for headers in shown["nina"])


def test_an_app_comes_back_when_it_dies_and_its_workspace_when_a_visitor_comes(hub):
    hub.start_workspace("nour")
    hub.request("POST", "/hub/api/users/noor", b"")
    body = {"port": APP_PORT, "title": "Listing", "command": COMMAND, "starts": True}
    hub.api("POST", "users/nour/server/apps", body)
    hub.api("POST", "users/nour/server/port-shares", {"port": APP_PORT, "user": "noor"})
    noor, nils, workspace = sign_in(hub, "noor"), sign_in(hub, "nils"), f"ws-{hub.name}--nour"

    def reaches() -> bool:
        page = noor.get(APP, headers={"Accept": "text/html"})
        return page.status_code == 200 and "This is the app." in page.text

    def read_pid() -> str:
        return docker("exec", workspace, "cat", "/tmp/app", check=False)

    def find_use() -> str:
        data = hub.api("GET", "proxy")["/user/nour/"]["data"]
        return str(data["last_activity"])

    # Nobody opened it before, and nobody is there who starts it.
    hub.wait_for(lambda: read_pid().isdecimal(), "the first start", 30)
    hub.wait_for(reaches, "the app", 30)
    first, used = read_pid(), find_use()
    docker("exec", workspace, "sh", "-c", f"kill -9 {first}")
    hub.wait_for(lambda: read_pid() not in ("", first), "the second start", 30)
    hub.wait_for(reaches, "the app once more", 30)
    # Whoever uses it keeps the workspace running.
    assert find_use() > used
    assert hub.request("DELETE", "/hub/api/users/nour/server")[0] in (202, 204)
    hub.wait_for(lambda: "It does not run now." in noor.get(APP).text, "the stop", 30)
    assert nils.submit("/hub/home", {}, to=APP).status_code == 404
    assert "It does not run now." in noor.get(APP).text
    assert noor.submit("/hub/home", {}, to=APP).status_code == 200
    hub.wait_for(reaches, "the app in a workspace that was started for it", 60)
