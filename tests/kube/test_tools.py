"""Ports of workspaces on a real cluster: through the proxy's pod, exactly those get there who may;
programs of the pod's loopback among them.
"""

from __future__ import annotations

import secrets

import pytest

from tests.support.cluster import WORKSPACE_IMAGE
from tests.support.helm_release import address, find_reached, pod
from tests.support.hub_process import Browser
from tests.support.started_tool import PORT as STARTED_PORT
from tests.support.tool_addresses import list_spellings
from tests.support.tool_source import SOURCE, WEB, WEB_PORT
from tests.support.websockets import is_open, open_websocket

PORT, INNER_PORT = 8501, 8503
SECONDS = 5.0
# The tests' own image as ever, and by its longer name as a web server.
CATALOGUE = [
    {"name": "plain", "image": WORKSPACE_IMAGE},
    {
        "name": "web",
        "image": f"docker.io/library/{WORKSPACE_IMAGE}",
        **WEB,
        "uid": 1000,
        "gid": 1000,
    },
]
PEOPLE = ("nora", "nils")
# Bytes that a container may not give back, by either version of cgroups.
COUNTED = (
    "cd /sys/fs/cgroup; cat memory.stat memory/memory.stat 2>/dev/null"
    " | awk '/^(total_)?(anon|rss) /{ held = $2 } END { print held }'"
)


@pytest.fixture(scope="module")
def hub(release, wait_for):
    """The shared release, where nora and nils have workspaces with a program at the same port, and
    nora's is shared with nell.
    """
    for name in PEOPLE:
        release.start_workspace(name)
        start_tool(release, name, PORT, "0.0.0.0", wait_for)
    start_tool(release, "nora", INNER_PORT, "127.0.0.1", wait_for)
    release.request("POST", "/hub/api/users/nell", b"")
    release.api("POST", "shares/nora/", {"user": "nell"})
    yield release
    for name in PEOPLE:
        release.stop_workspace(name)


def start_tool(release, name: str, port: int, at: str, wait_for) -> None:
    words = ("nohup", "python3", "-c", SOURCE, at, str(port), f"{name}'s program")
    script = 'exec "$@" >/dev/null 2>&1 &'
    release.execute(pod(release, name), "sh", "-c", script, "sh", *words)
    look = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"

    def listens() -> bool:
        said = release.execute(
            pod(release, name), "python3", "-c", f"{look}; print('yes')", check=False
        )
        return "yes" in said

    wait_for(listens, f"{name}'s program listens", 30)


def make_path(name: str, port: int = PORT) -> str:
    return f"/user/{name}/tools/{port}/"


def make_token(hub, name: str, **body: object) -> dict[str, str]:
    return {
        "Authorization": f"token {hub.api('POST', f'users/{name}/tokens', dict(body))['token']}"
    }


def enter(hub, name: str, whose: str = "nora", path: str = "") -> dict[str, str]:
    """Open somebody's tool as a browser does; return the cookie that it has there."""
    browser = Browser(hub.url)
    browser.log_in(name, "any")
    page = browser.get(path or make_path(whose), headers={"Accept": "text/html"})
    assert page.status_code == 200, page.text[:500]
    (cookie,) = [each for each in browser.cookies if each.name == "mlhub-tools"]
    return {"Cookie": f"mlhub-tools={cookie.value}"}


def is_led_on(hub, headers: dict[str, str], path: str) -> bool:
    status, _, body = hub.request("GET", path, headers=headers)
    assert (status == 200) == body.startswith(b"nora's program"), (status, body[:200])
    return status == 200


def opens(hub, headers: dict[str, str], path: str) -> bool:
    try:
        open_websocket(hub.url, path, headers).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("port", [PORT, INNER_PORT])
def test_exactly_those_who_may_enter_a_workspace_reach_its_ports(hub, port):
    path = make_path("nora", port)
    gone = hub.api("POST", "users/nora/tokens", {})
    hub.request("DELETE", f"/hub/api/users/nora/tokens/{gone['id']}")
    allowed = {
        "own cookie": enter(hub, "nora"),
        "own token": make_token(hub, "nora"),
        "cookie of whom it is shared with": enter(hub, "nell"),
        "token of whom it is shared with": make_token(hub, "nell"),
        "an administrator's token": hub.headers,
    }
    refused = {
        "nothing": {},
        "another's cookie": enter(hub, "nils", "nils"),
        "another's token": make_token(hub, "nils"),
        "a token that was revoked": {"Authorization": f"token {gone['token']}"},
        "a token without the scope": make_token(hub, "nora", scopes=["read:users!user=nora"]),
        "a cookie that was made up": {"Cookie": "mlhub-tools=2|1:0|10:1|11:mlhub-tools|4:eHg=|00"},
    }
    # The relay comes with the SSH server, which a pod fetches once its workspace answers.
    hub.wait_for(lambda: is_led_on(hub, allowed["own token"], path), "the way is open", 60)
    for who, headers in allowed.items():
        assert is_led_on(hub, headers, path), who
        assert opens(hub, headers, path), who
    for who, headers in refused.items():
        status, _, body = hub.request("GET", path, headers=headers)
        assert status in (401, 403), (who, status)
        assert b"program" not in body, who
        assert not opens(hub, headers, path), who


def test_what_a_pod_takes_is_told_without_any_right_of_the_hub_in_the_cluster(hub):
    def look() -> list[list[float]]:
        points = hub.api("GET", "users/nora/server/workspace/use")["points"]
        return points if len(points) > 1 else []

    at, cores, memory = hub.wait_for(look, "two looks", 60)[-1]
    assert at > 0
    assert cores >= 0
    held = hub.execute(pod(hub, "nora"), "sh", "-c", COUNTED)
    assert 0.5 * int(held) < memory < 2 * int(held)


def test_no_spelling_leads_to_anothers_port(hub):
    nils = [enter(hub, "nils", "nils"), make_token(hub, "nils")]
    for path in list_spellings(PORT):
        for headers in nils:
            assert b"nora's program" not in hub.request("GET", path, headers=headers)[2], path
    assert is_led_on(hub, make_token(hub, "nora"), make_path("nora"))


def test_another_persons_pod_reaches_neither_the_port_nor_the_relay(hub):
    targets = [f"{address(hub, pod(hub, 'nora'))}:{port}" for port in (PORT, 2223)]
    assert find_reached(hub, pod(hub, "nils"), targets) == set()
    assert find_reached(hub, hub.find_pod("hub"), targets, container="hub") == set(targets)


def test_a_declared_tool_is_started_by_whoever_opens_it_first(hub):
    path, token = make_path("nils", STARTED_PORT), make_token(hub, "nils")
    assert hub.request("GET", path, headers=make_token(hub, "nora"))[0] == 403
    hub.wait_for(lambda: hub.request("GET", path, headers=token)[0] == 200, "the tool", 90)
    assert hub.request("GET", path, headers=token)[2].startswith(b"started for nils in /")


def test_a_websocket_ends_with_a_lost_share_and_with_its_token(hub):
    path = make_path("nora")
    own = open_websocket(hub.url, path, make_token(hub, "nora", expires_in=3000))
    brief = open_websocket(hub.url, path, make_token(hub, "nora", expires_in=3))
    hub.wait_for(lambda: not is_open(brief), "the end of its token", 3 + SECONDS)
    assert is_open(own)
    guests = open_websocket(hub.url, path, make_token(hub, "nell"))
    hub.api("PATCH", "shares/nora/", {"user": "nell"})
    try:
        hub.wait_for(lambda: not is_open(guests), "the end of the share", SECONDS)
    finally:
        hub.api("POST", "shares/nora/", {"user": "nell"})


@pytest.fixture
def web(hub):
    """The path of wim's workspace, a web server that asks nobody who is there."""
    wanted = {"image": "web"}
    hub.request("POST", "/hub/api/users/wim", b"")
    hub.install({"policy": {"images": CATALOGUE}})
    # The kubelet renews a pod's volumes within a minute, or when the pod changes.
    mark = f"mlhub.test/look={secrets.token_hex(3)}"
    hub.kubectl("annotate", "--overwrite", "pod", hub.find_pod("hub"), mark)
    explained = {"user": "wim", "options": wanted}
    hub.wait_for(
        lambda: hub.api("POST", "policy/explain", explained)["granted"], "the catalogue", 100
    )
    hub.start_workspace("wim", options=wanted)
    yield "/user/wim/"
    if hub.is_workspace_ready("wim"):
        hub.stop_workspace("wim")
    hub.install()


def test_a_web_image_is_reached_by_those_who_may_enter_and_by_nobody_else(hub, web):
    own = make_token(hub, "wim")
    for headers in (enter(hub, "wim", path=web), own, hub.headers):
        status, _, body = hub.request("GET", f"{web}a%2Fb?x=1", headers=headers)
        assert (status, body.startswith(b"web\nGET /a%2Fb?x=1 HTTP/1.1")) == (200, True), body[:200]
        assert opens(hub, headers, web)
    assert b"x-forwarded-user: wim" in hub.request("GET", web, headers=own)[2].lower()
    for headers in ({}, make_token(hub, "nils"), enter(hub, "nils", "nils")):
        status, _, body = hub.request("GET", web, headers=headers)
        assert (status in (401, 403), body.startswith(b"web")) == (True, False)
        assert not opens(hub, headers, web)
    target = f"{address(hub, pod(hub, 'wim'))}:{WEB_PORT}"
    assert find_reached(hub, pod(hub, "nils"), [target]) == set()
    assert find_reached(hub, hub.find_pod("hub"), [target], container="hub") == {target}
    opened = open_websocket(hub.url, web, own)
    hub.stop_workspace("wim")
    hub.wait_for(lambda: not is_open(opened), "its end with the workspace", SECONDS)
    assert b"web\n" not in hub.request("GET", web, headers=own)[2][:4]
