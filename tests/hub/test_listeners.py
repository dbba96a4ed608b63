"""A workspace asks the hub by the port for workspaces: it gets the REST API, as who it is, and
nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socket import AF_UNIX
from socketserver import TCPServer, UnixStreamServer
from threading import Thread

import pytest
import requests
from jupyterhub.httpclient import JupyterHubHTTPClient

from mlhub.backends.registry import read_settings
from mlhub.hub.front_numbers import read_front_numbers
from tests.support.hub_process import TESTS_TOKEN

CONFIG = """
from tornado import web

class Broken(web.RequestHandler):
    def check_xsrf_cookie(self):
        pass

    def get(self):
        raise RuntimeError("a fault of the hub's own")

    def post(self):
        raise web.HTTPError(500, "a fault about %s", self.request.uri)

c.JupyterHub.extra_handlers = [("/broken", Broken)]
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.load_roles.append({"name": "metrics", \
"services": ["tests"], "scopes": ["read:metrics"]})
"""
PAGES = (
    "/",
    "/hub/",
    "/hub/login",
    "/hub/signup",
    "/hub/home",
    "/hub/static/js/home.js",
    "/mlhub-static/mlhub.css",
    "/hub/api/oauth2/authorize",
)
DISGUISES = (
    "//hub/api/",
    "/hub//api/",
    "/hub/apix",
    "/hub/api/../login",
    "/hub/login?next=/hub/api/",
    "/hub/%61pi/",
    "/user/ann/hub/api/",
)
TOKEN = {"Authorization": f"token {TESTS_TOKEN}"}


@pytest.fixture(scope="module")
def server(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture
def ask(server):
    """Ask the port for workspaces."""
    with requests.Session() as session:
        session.trust_env = False

        def send(path: str, method: str = "GET", **options: object) -> requests.Response:
            request = session.prepare_request(
                requests.Request(method, f"http://127.0.0.1:{server.workspace_port}/", **options)
            )
            request.url = f"http://127.0.0.1:{server.workspace_port}{path}"
            return session.send(request, timeout=30, allow_redirects=False)

        yield send


def test_what_workspaces_probes_and_prometheus_ask_for_is_answered(server, ask):
    ann = server.service().make_person("ann").headers["Authorization"]
    assert server.service().start("ann").status_code == 201
    now = datetime.now(UTC).isoformat()
    activity = {"last_activity": now, "servers": {"": {"last_activity": now}}}
    asked = {
        "version": ask("/hub/api"),
        "with a slash": ask("/hub/api/"),
        "who am I": ask("/hub/api/user", headers={"Authorization": ann}),
        "activity": ask(
            "/hub/api/users/ann/activity", "POST", json=activity, headers={"Authorization": ann}
        ),
        "health": ask("/hub/health"),
        "metrics": ask("/hub/metrics", headers=TOKEN),
    }
    assert {what: answer.status_code for what, answer in asked.items()} == dict.fromkeys(asked, 200)
    assert asked["who am I"].json()["name"] == "ann"
    # Here is one who speaks OAuth, with an error of its own.
    assert ask("/hub/api/oauth2/token", "POST", data={"grant_type": "authorization_code"}).json()[
        "error"
    ]


class Numbers(BaseHTTPRequestHandler):
    """What listens where nginx tells its numbers."""

    def do_GET(self) -> None:
        if self.server.address_family != AF_UNIX:
            assert self.headers["Authorization"] == "token the-token-of-both"
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nmlhub_front_open_websockets 7\n")

    def address_string(self) -> str:
        return ""  # a unix socket's client has none

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def front(server):
    """Let something tell numbers where nginx does."""
    folder = server.directory / "front"
    folder.mkdir()
    listening = UnixStreamServer(str(folder / "numbers.sock"), Numbers)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield
    listening.shutdown()
    listening.server_close()
    shutil.rmtree(folder)


def test_prometheus_reads_nginx_s_numbers_beside_the_hubs_and_the_public_side_has_none(
    server, ask, front
):
    for path in ("/hub/metrics", "/hub/api/metrics"):
        told = ask(path, headers=TOKEN)
        assert "mlhub_front_open_websockets 7" in told.text
        assert "jupyterhub_total_users" in told.text
        public = requests.get(f"{server.url}{path}", headers=TOKEN, timeout=30)
        assert public.status_code == 200
        assert "jupyterhub_total_users" in public.text
        assert "mlhub_front" not in public.text
    assert ask("/hub/metrics").status_code == 403


def test_prometheus_reads_the_hubs_numbers_where_nginx_does_not_answer(ask):
    told = ask("/hub/metrics", headers=TOKEN)
    assert (told.status_code, "mlhub_front" in told.text) == (200, False)


def test_nginx_in_a_container_of_its_own_is_asked_with_the_token_of_both(tmp_path):
    with TCPServer(("127.0.0.1", 0), Numbers) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        settings = read_settings(
            {
                "EXECUTION_MODE": "k8s",
                "MLHUB_RUN_DIR": str(tmp_path),
                "MLHUB_PROXY_API_URL": f"http://127.0.0.1:{listening.server_address[1]}",
                "CONFIGPROXY_AUTH_TOKEN": "the-token-of-both",
            }
        )
        told = asyncio.run(read_and_close(settings))
        listening.shutdown()
    assert "mlhub_front_open_websockets 7" in told


async def read_and_close(settings) -> str:
    told = await read_front_numbers(settings)
    await JupyterHubHTTPClient.loop_instance().close()
    return told


@pytest.mark.parametrize("path", [*PAGES, *DISGUISES])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_page_is_answered_to_a_workspace(server, ask, path, method):
    answer = ask(path, method, headers=TOKEN)
    if path == "/hub/api/../login":  # below the API, where it is nothing
        assert answer.status_code == 404
        return
    assert answer.status_code == 403
    assert "answers the hub's REST API alone (below /hub/api/)" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_the_same_pages_are_answered_through_the_proxy(server, path):
    assert server.browser().get(path, allow_redirects=False).status_code in (200, 302, 403, 404)
    assert "REST API alone" not in server.browser().get(path).text


def test_a_forged_address_is_not_believed_from_a_workspace_and_is_from_the_proxy(server, ask):
    forged = ["X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Forwarded-Proto", "X-Scheme"]
    values = ["203.0.113.7", "203.0.113.7", "for=203.0.113.7;proto=https", "https", "https"]
    assert (
        ask("/hub/api/nowhere", headers=dict(zip(forged, values, strict=True))).status_code == 404
    )
    proxied = {"X-Forwarded-For": "203.0.113.8"}
    assert (
        requests.get(
            f"http://127.0.0.1:{server.hub_port}/hub/api/nowhere", headers=proxied, timeout=30
        ).status_code
        == 404
    )
    server.wait_until(lambda: "@203.0.113.8)" in server.log, "the proxy's request to be logged")
    assert "203.0.113.7" not in server.log


def test_nobody_signs_in_by_password_from_a_workspace(server, ask):
    body = {"auth": {"username": "admin", "password": "quite a good one"}}
    path = "/hub/api/users/admin/tokens"
    assert ask(path, "POST", json=body).status_code == 403
    assert (
        requests.post(
            f"http://127.0.0.1:{server.hub_port}{path}", json=body, timeout=30
        ).status_code
        == 201
    )


def test_a_browsers_cookie_means_nothing_by_the_port_for_workspaces(server, ask):
    browser = server.admin()
    assert browser.get("/hub/api/user").json()["name"] == "admin"
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    assert ask("/hub/api/user", headers={"Cookie": cookies}).status_code == 403


def test_an_error_of_the_hub_is_told_in_its_log_without_any_secret(server):
    kinds = (
        "bearer",
        "cookie",
        "odd-cookie",
        "xsrf-header",
        "csrf-header",
        "query-token",
        "query-xsrf",
        "nested-state",
        "referer-code",
        "body",
    )
    secret = {kind: f"hush-{kind}-hush" for kind in kinds}
    headers = {
        "Authorization": f"token {secret['bearer']}",
        "Cookie": (
            f"jupyterhub-session-id={secret['cookie']}; _xsrf={secret['cookie']}; "
            f"[odd]={secret['odd-cookie']}"
        ),
        "X-XSRFToken": secret["xsrf-header"],
        "X-CSRF-Token": secret["csrf-header"],
        "Referer": f"https://hub.example/hub/oauth_callback?code={secret['referer-code']}",
        "User-Agent": "an-agent-worth-knowing",
    }
    query = (
        f"token={secret['query-token']}&_xsrf={secret['query-xsrf']}&page=7"
        f"&next=%2Fhub%3Fa%3D1%26state%3D{secret['nested-state']}"
    )
    url = f"http://127.0.0.1:{server.hub_port}/hub/broken?{query}"
    before = len(server.log)
    assert requests.get(url, headers=headers, timeout=30).status_code == 500
    assert (
        requests.post(
            url,
            headers=headers,
            data={"_xsrf": secret["body"], "password": secret["body"]},
            timeout=30,
        ).status_code
        == 500
    )
    server.wait_until(
        lambda: server.log[before:].count("500 POST /hub/broken") >= 2, "both errors in the log"
    )
    told = server.log[before:]
    for worth_knowing in (
        "a fault of the hub's own",
        "an-agent-worth-knowing",
        "page=7",
        "Traceback",
        "token=[secret]",
        '"X-Xsrftoken": "[secret]"',
    ):
        assert worth_knowing in told
    assert [kind for kind in kinds if secret[kind] in told] == []
