"""What the hub says of requests for ports of workspaces: whose they are, and whether they may."""

from __future__ import annotations

import pytest
import requests

from mlhub.tools.check import FRONT_HEADER
from tests.support.hub_process import TESTS_TOKEN, Browser, WorkspaceHub
from tests.support.websockets import is_open, open_websocket

GOOD = "quite a good one"
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"abe"}
c.JupyterHub.proxy_class = "mlhub.hub.proxy.TellingProxy"
"""
POLICY = """
images:
  - name: science
    image: "fake/science:1"
    tools: [{name: VS Code, port: 8500, path: "/?a=b"}, {name: Dash, port: 8050, absolute: true}]
  - name: web
    image: "fake/web:1"
    kind: web
everyone: {}
groups:
  closed: {tools: false}
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub) -> WorkspaceHub:
    return module_workspace_hub(CONFIG, policy=POLICY)


def sign_in(hub: WorkspaceHub, name: str) -> Browser:
    browser = hub.browser()
    browser.log_in(name, "any")
    return browser


def start(
    hub: WorkspaceHub, name: str, server: str = "", groups: tuple[str, ...] = (), image: str = ""
) -> None:
    service = hub.service()
    service.make_person(name, groups=groups)
    options = {"image": image} if image else {}
    assert service.start(name, options, server).status_code in (201, 202)
    hub.wait_until(lambda: (service.get_server(name, server) or {}).get("ready"), "the workspace")


def enter(browser: Browser, path: str) -> requests.Response:
    """Open an address of a tool as the front sends a browser there that it does not know."""
    return browser.get("/hub/tools", params={"next": path}, allow_redirects=False)


def read_cookie(browser: Browser) -> str:
    (cookie,) = [each for each in browser.cookies if each.name == "mlhub-tools"]
    return f"mlhub-tools={cookie.value}"


def put(hub: WorkspaceHub, user: str, server: str, port: str | None, headers: dict[str, str]):
    """Put the front's question."""
    return requests.get(
        f"{hub.url}/hub/api/mlhub/tools",
        params={"user": user, "server": server, **({"port": port} if port else {})},
        headers=headers,
        timeout=30,
    )


def hear(
    hub: WorkspaceHub, user: str, server: str = "", port: str | None = "80", **headers: str
) -> tuple[int, list[str]]:
    """Ask as the front does; return the status and the words of the answer."""
    answer = put(hub, user, server, port, {**headers, FRONT_HEADER: hub.proxy_token})
    return answer.status_code, answer.headers.get("X-MLHub-Word", "").split()


def ask(hub: WorkspaceHub, user: str, server: str = "", **headers: str) -> tuple[int, str]:
    """Ask as the front does; return the status, and how who asks is known."""
    status, words = hear(hub, user, server, **headers)
    return status, " ".join(words[:2])


def test_a_cookie_opens_the_ports_of_one_workspace_and_nothing_else(hub):
    for server in ("", "second"):
        start(hub, "ann", server)
    start(hub, "ben")
    ann = sign_in(hub, "ann")
    answer = enter(ann, "/user/ann/second/tools/8501/app?x=1")
    assert answer.headers["Location"] == "/user/ann/second/tools/8501/app?x=1"
    said = answer.headers["Set-Cookie"]
    assert "Path=/user/ann/second/tools/;" in said
    assert "HttpOnly" in said
    assert "SameSite=Lax" in said
    cookie = read_cookie(ann)
    assert ask(hub, "ann", "second", Cookie=cookie) == (204, "cookie ann")
    # A page can lay others over it.
    both = f"mlhub-tools=x; a=b; {cookie}; mlhub-tools=2|1"
    assert ask(hub, "ann", "second", Cookie=both) == (204, "cookie ann")
    for user, server in (("ann", ""), ("ben", ""), ("nobody", "")):
        assert ask(hub, user, server, Cookie=cookie)[0] in (401, 403), (user, server)
    # It is neither a token nor a sign-in.
    value = cookie.partition("=")[2].strip('"')
    for headers in ({"Authorization": f"token {value}"}, {"Cookie": cookie}):
        assert requests.get(f"{hub.url}/hub/api/user", headers=headers, timeout=30).status_code in (
            400,
            403,
        )
    changed = cookie.replace("|", "|1", 1)
    assert ask(hub, "ann", "second", Cookie=changed)[0] == 401
    # Whoever comes again has the same row.
    enter(ann, "/user/ann/second/tools/80/")
    assert len(hub.query("select id from api_tokens where note like 'Tools at %second%'")) == 1


def test_signing_out_taking_the_row_back_and_a_stop_each_end_it(hub):
    start(hub, "cas")
    for way in ("sign-out", "row", "stop"):
        cas = sign_in(hub, "cas")
        enter(cas, "/user/cas/tools/80/")
        cookie = read_cookie(cas)
        assert ask(hub, "cas", Cookie=cookie)[0] == 204
        if way == "sign-out":
            cas.get("/hub/logout")
        elif way == "row":
            rows = hub.query("select id from api_tokens where note like 'Tools at %cas%'")
            for (row,) in rows:
                hub.service().delete(f"users/cas/tokens/a{row}")
        else:
            hub.service().stop("cas")
        hub.wait_until(lambda cookie=cookie: ask(hub, "cas", Cookie=cookie)[0] != 204, way, 5)


def test_the_way_to_a_port_is_told_to_the_front_alone(hub):
    start(hub, "pia")
    pia, own = sign_in(hub, "pia"), hub.service().make_person("pia").headers["Authorization"]
    enter(pia, "/user/pia/tools/80/")
    cookie = {"Cookie": read_cookie(pia)}
    everybody = [{"Authorization": own}, {"Authorization": f"token {TESTS_TOKEN}"}, cookie, {}]
    for headers in everybody:
        for shown in (None, "", "x", own.split()[1], TESTS_TOKEN, f"token {hub.proxy_token}", "é"):
            said = {**headers, **({} if shown is None else {FRONT_HEADER: shown.encode()})}
            answer = put(hub, "pia", "", "80", said)
            assert answer.status_code == 403, (headers, shown)
            assert "X-MLHub-Word" not in answer.headers
            assert "front" in answer.json()["message"]
    # Nor is it a token for anything else.
    proxys = {"Authorization": f"token {hub.proxy_token}"}
    assert requests.get(f"{hub.url}/hub/api/user", headers=proxys, timeout=30).status_code == 403
    assert put(hub, "pia", "", "80", proxys).status_code == 403
    # The twin: the front is told, whoever of them asks it.
    for headers in everybody[:3]:
        status, words = hear(hub, "pia", **headers)
        assert (status, words[3:]) == (204, ["direct"])
    assert hub.proxy_token not in hub.log


def test_a_token_opens_what_its_scopes_say(hub):
    start(hub, "dee")
    start(hub, "eva")
    dee, service = hub.service().make_person("dee"), hub.service()
    own = dee.headers["Authorization"]
    assert ask(hub, "dee", Authorization=own) == (204, "token dee")
    assert ask(hub, "eva", Authorization=own)[0] == 403
    small = service.post("users/dee/tokens", json={"scopes": ["read:users!user=dee"]}).json()
    assert ask(hub, "dee", Authorization=f"token {small['token']}")[0] == 403
    named = {"scopes": ["access:servers!server=dee/"], "expires_in": 1}
    brief = service.post("users/dee/tokens", json=named).json()
    hub.wait_until(
        lambda: ask(hub, "dee", Authorization=f"Bearer {brief['token']}")[0] == 401, "its end", 10
    )
    for body in ({"expires_in": 3000}, {}):
        made = service.post("users/dee/tokens", json=body).json()["token"]
        _, _, seconds, way = hear(hub, "dee", Authorization=f"token {made}")[1]
        assert 0 < int(seconds) <= 3000 if body else seconds == "-"
        assert way == "direct"
    assert ask(hub, "dee", Authorization="token wrong")[0] == 401
    assert ask(hub, "dee")[0] == 401


def test_whom_a_workspace_is_shared_with_is_let_in_and_nobody_else_is_told_of_it(hub):
    start(hub, "fay")
    guest, stranger = sign_in(hub, "gus"), sign_in(hub, "hal")
    path = "/user/fay/tools/8501/"
    assert enter(guest, path).status_code == 403
    assert hub.service().post("shares/fay/", json={"user": "gus"}).status_code == 200
    assert enter(guest, path).status_code == 302
    cookie = read_cookie(guest)
    assert ask(hub, "fay", Cookie=cookie) == (204, "cookie gus")
    assert hub.service().patch("shares/fay/", json={"user": "gus"}).status_code == 200
    assert ask(hub, "fay", Cookie=cookie)[0] == 403
    page = enter(stranger, path)
    assert page.status_code == 403
    assert "Ask fay to share it" in page.text
    # Whether there is such a person and workspace is not to be learned here.
    assert enter(stranger, "/user/nobody/tools/80/").status_code == 403
    signed_out = enter(hub.browser(), path)
    assert signed_out.headers["Location"].startswith("/hub/login?next=")


def test_the_policy_closes_the_ports_at_once_and_opens_them_again(hub):
    start(hub, "ida", groups=("closed",))
    ida, token = sign_in(hub, "ida"), hub.service().make_person("ida").headers["Authorization"]
    assert ask(hub, "ida", Authorization=token)[0] == 403
    assert "closed by the site" in enter(ida, "/user/ida/tools/80/").text
    hub.policy(f"{POLICY}users:\n  ida: {{tools: true}}\n")
    try:
        hub.wait_until(lambda: ask(hub, "ida", Authorization=token)[0] == 204, "the policy", 10)
        assert enter(ida, "/user/ida/tools/80/").status_code == 302
        hub.policy(POLICY)
        cookie = read_cookie(ida)
        hub.wait_until(lambda: ask(hub, "ida", Cookie=cookie)[0] == 403, "the policy", 10)
    finally:
        hub.policy(POLICY)


def test_what_is_open_ends_once_the_policy_closes_ports_that_somebody_had_come_into(
    hub,
):
    for name in ("ike", "jay"):
        start(hub, name)
    token = hub.service().make_person("ike").headers["Authorization"]
    assert ask(hub, "ike", Authorization=token)[0] == 204
    closed, other = (open_websocket(hub.url, f"/user/{name}/") for name in ("ike", "jay"))
    hub.policy(f"{POLICY}users:\n  ike: {{tools: false}}\n")
    try:
        hub.wait_until(lambda: not is_open(closed), "its end", 5)
        assert is_open(other)
        again = open_websocket(hub.url, "/user/ike/")
        hub.policy(f"{POLICY}users:\n  ike: {{tools: false}}\n  jay: {{ssh: true}}\n")
        assert hub.service().get_server("ike")["ready"]
        assert is_open(again)
    finally:
        hub.policy(POLICY)


def test_an_administrators_token_that_is_taken_back_ends_what_it_opened(hub):
    for name in ("mia", "mel"):
        start(hub, name)
    hub.service().make_person("abe")
    made = hub.service().post("users/abe/tokens", json={}).json()
    assert ask(hub, "mia", Authorization=f"token {made['token']}") == (204, "token abe")
    opened, other = (open_websocket(hub.url, f"/user/{name}/") for name in ("mia", "mel"))
    hub.service().delete(f"users/abe/tokens/{made['id']}")
    hub.wait_until(lambda: not is_open(opened), "its end", 5)
    assert is_open(other)


def test_a_web_image_is_behind_the_check_as_a_whole(hub):
    start(hub, "wim", image="web")
    start(hub, "won")
    wim, won = sign_in(hub, "wim"), sign_in(hub, "won")
    token = hub.service().make_person("wim").headers["Authorization"]
    others = hub.service().make_person("won").headers["Authorization"]
    answer = enter(wim, "/user/wim/app?x=1")
    assert answer.headers["Location"] == "/user/wim/app?x=1"
    assert "Path=/user/wim/;" in answer.headers["Set-Cookie"]
    cookie = read_cookie(wim)
    known = (204, ["cookie", "wim"])
    status, words = hear(hub, "wim", port=None, Cookie=cookie)
    assert (status, words[:2]) == known
    assert hear(hub, "wim", port=None, Authorization=token)[0] == 204
    assert hear(hub, "wim", port=None, Authorization=others)[0] == 403
    assert hear(hub, "wim", port=None)[0] == 401
    assert enter(won, "/user/wim/").status_code == 403
    # Other images check by themselves, and are not led to by this word.
    assert hear(hub, "won", port=None, Authorization=others)[0] == 403
    # A proxy that knows nothing of it leads nobody there, whoever asks.
    for headers in ({"Cookie": cookie}, {"Authorization": token}, {}):
        assert requests.get(f"{hub.url}/user/wim/", headers=headers, timeout=30).status_code == 503
    assert requests.get(f"{hub.url}/user/won/", timeout=30).ok
    # It is none of the ports, which the policy may close.
    hub.policy(f"{POLICY}users:\n  wim: {{tools: false}}\n")
    try:
        hub.wait_until(lambda: ask(hub, "wim", Cookie=cookie)[0] == 403, "the policy", 10)
        assert hear(hub, "wim", port=None, Cookie=cookie)[0] == 204
    finally:
        hub.policy(POLICY)


def test_who_may_enter_a_workspace_sees_its_ports_and_nobody_else(hub):
    start(hub, "lea")
    lea, leo = sign_in(hub, "lea"), sign_in(hub, "leo")
    ports = "/hub/tools/ports?next=/user/lea/tools/"
    link = 'href="/hub/tools/ports?next=/user/lea/tools/"'
    assert link in lea.get("/hub/workspace/lea").text
    page = lea.get(ports)
    assert page.status_code == 200
    assert "No program of this workspace listens" in page.text
    assert leo.get(ports).status_code == 403
    assert hub.browser().get(ports, allow_redirects=False).status_code == 302
    hub.service().stop("lea")
    hub.wait_until(lambda: "is not running" in lea.get(ports).text, "the stop", 10)


def test_a_card_has_a_button_for_each_program_that_the_catalogue_names(hub):
    buttons = ("/user/kim/tools/8500/?a=b", "/user/kim/tools/absolute/8050/")
    start(hub, "kim")
    kim = sign_in(hub, "kim")
    page = kim.get("/hub/home").text
    assert all(f'href="{url}"' in page for url in buttons)
    assert ">VS Code<" in page
    hub.policy(f"{POLICY}users:\n  kim: {{tools: false}}\n")
    try:
        hub.wait_until(lambda: "VS Code" not in kim.get("/hub/home").text, "the policy", 10)
    finally:
        hub.policy(POLICY)
    hub.wait_until(lambda: "VS Code" in kim.get("/hub/home").text, "the policy", 10)
    hub.service().stop("kim")
    hub.wait_until(lambda: "VS Code" not in kim.get("/hub/home").text, "the stop", 10)


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example/user/ann/tools/80/", "/hub/home", ""]
)
def test_nobody_is_led_anywhere_else(hub, address):
    assert enter(sign_in(hub, "jon"), address).status_code == 404
