"""The hub's pages, its API and its sessions, as a workspace's page on the same origin would ask for
them, and as the hub's own do.
"""

from __future__ import annotations

import gzip
import re
from urllib.parse import parse_qs, urlsplit

import pytest

APP = "an-app-of-the-tests-0123456789abcdef"
CONFIG = f"""
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.services += [{{
    "name": "app", "api_token": "{APP}", "oauth_client_id": "service-app", \
"oauth_redirect_uri": "/services/app/back",
    "oauth_no_confirm": True,
}}]
"""
WINDOW = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NO_WINDOWS = {
    "fetch": {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    "fetch that forges a Referer": {
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Dest": "empty",
        "Referer": "/hub/home",
    },
    "fetch without CORS": {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
    "frame": {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    "object": {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
    "embed": {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"},
    "image": {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "worker": {"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "sharedworker"},
    "service worker": {
        "Sec-Fetch-Mode": "same-origin",
        "Sec-Fetch-Dest": "serviceworker",
        "Service-Worker": "script",
    },
    "prefetch": {
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Sec-Purpose": "prefetch;prerender",
    },
}
AUTHORIZE = (
    "/hub/api/oauth2/authorize?client_id=service-app&response_type=code"
    "&redirect_uri=/services/app/back"
)
# Every kind of answer that is a page: JupyterHub's, ours, an error's, one outside /hub/, one below
# /hub/api/.
PAGES = {
    "/hub/home": 200,
    "/hub/token": 200,
    "/hub/admin": 200,
    "/hub/ssh-keys": 200,
    "/hub/change-password": 200,
    "/hub/authorize": 200,
    "/hub/spawn": 200,
    "/hub/accept-share?code=none": 410,
    "/hub/no-such-page": 404,
    "/hub/user/nobody/": 404,
    "/user/admin/": 424,
    "/hub/api/oauth2/authorize?client_id=none": 400,
}


@pytest.fixture(scope="module")
def server(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(server):
    return server.admin()


@pytest.mark.parametrize("kind", NO_WINDOWS)
def test_no_page_of_the_hub_is_for_a_script_or_a_frame(server, admin, kind):
    for path in PAGES:
        for method in ("GET", "POST"):
            answer = admin.request(method, path, headers={**SAME_ORIGIN, **NO_WINDOWS[kind]})
            assert "<html" not in answer.text.lower(), (method, path)
            assert "xsrf" not in answer.text.lower(), (method, path)
            assert answer.status_code in (403, 404, 424), (method, path)
    for path in (
        "/hub/metrics",
        "/hub/security/csp-report",
        "/hub/user/nobody/api/x",
        "/no/such/place",
    ):
        answer = admin.post(path, headers={**SAME_ORIGIN, **NO_WINDOWS[kind]})
        assert "<html" not in answer.text.lower(), path
        assert "xsrf_token" not in answer.text, path


@pytest.mark.parametrize("headers", [WINDOW, {}], ids=["window", "program"])
def test_a_window_gets_every_page_and_so_does_a_client_that_says_nothing(admin, headers):
    for path, status in PAGES.items():
        answer = admin.get(path, headers=headers)
        assert answer.status_code == status, path
        assert "xsrf_token" in answer.text, path


def test_a_form_is_sent_by_a_window(admin):
    for headers, status in ((WINDOW, 403), ({**WINDOW, "Sec-Fetch-Dest": "iframe"}, 403)):
        assert admin.post("/hub/authorize/nobody", headers=headers).status_code == status
    assert admin.submit("/hub/spawn", {}, headers=WINDOW, allow_redirects=False).status_code == 302
    admin.api("DELETE", "users/admin/server")


def test_an_authorization_code_is_not_fetched(admin):
    fetched = admin.get(
        AUTHORIZE, headers={**SAME_ORIGIN, **NO_WINDOWS["fetch"]}, allow_redirects=False
    )
    assert (fetched.status_code, "Location" in fetched.headers) == (403, False)
    assert (
        "code=" in admin.get(AUTHORIZE, headers=WINDOW, allow_redirects=False).headers["Location"]
    )


def test_the_api_reads_nothing_to_a_script_without_the_xsrf_token(server, admin):
    for kind in NO_WINDOWS:
        assert (
            admin.get("/hub/api/users", headers={**SAME_ORIGIN, **NO_WINDOWS[kind]}).status_code
            == 403
        ), kind
    token = {"X-XSRFToken": admin.xsrf("/hub/change-password")}
    fetch = NO_WINDOWS["fetch"]
    assert admin.get("/hub/api/users", headers={**SAME_ORIGIN, **fetch, **token}).status_code == 200
    assert (
        admin.get(
            "/hub/api/users", headers={**fetch, **token, "Sec-Fetch-Site": "cross-site"}
        ).status_code
        == 403
    )
    assert admin.get("/hub/api/users", headers=WINDOW).status_code == 200
    for kind in set(NO_WINDOWS) - {"service worker"}:
        assert (
            server.service()
            .get("users", headers={**NO_WINDOWS[kind], "Sec-Fetch-Site": "cross-site"})
            .status_code
            == 200
        ), kind


def test_the_api_of_a_workspace_that_does_not_run_is_told_so(admin):
    for path in ("/user/admin/api/kernels", "/user/admin/static/lab.js", "/user/admin/"):
        answer = admin.get(path, headers={**SAME_ORIGIN, **NO_WINDOWS["fetch"]})
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            424,
            "application/json",
        ), path
        assert "Restart the server at" in answer.json()["message"]


def test_styles_scripts_and_the_logo_are_for_everybody_but_no_service_worker(admin):
    script = {**SAME_ORIGIN, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    for path in ("/hub/mlhub-static/mlhub/home.js", "/hub/static/js/jhapi.js", "/hub/logo"):
        assert admin.get(path, headers=script).status_code == 200, path
        assert (
            admin.get(path, headers={**script, **NO_WINDOWS["service worker"]}).status_code == 403
        ), path


def test_the_sign_in_page_needs_little_and_browsers_keep_it(server):
    page = server.browser().get("/hub/login")
    asked = re.findall(
        r'<(?:script|img|link)[^>]*? (?:src|href)="([^"]+\.[a-z]+(?:\?[^"]*)?|[^"]*/logo)"',
        page.text,
    )
    sizes = {"page": len(page.content)}
    for address in asked:
        answer = server.browser().get(address)
        kind = answer.headers["Content-Type"]
        # As nginx hands them on (resources/templates/nginx-light.j2).
        is_light = kind.startswith(("text/css", "text/javascript", "image/svg"))
        sizes[address] = len(gzip.compress(answer.content, 5) if is_light else answer.content)
        if "?v=" in address:
            assert "max-age=315360000" in answer.headers["Cache-Control"], address
    assert len(sizes) == 8, sizes
    assert sum(sizes.values()) < 90_000, sizes
    # A font of icons would be more than all of it.
    assert 'class="fa' not in page.text


def test_every_answer_keeps_its_window_to_itself(server, admin):
    for path in (*PAGES, "/hub/api/user", "/hub/", "/"):
        headers = admin.get(path, headers=WINDOW, allow_redirects=False).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert headers["X-Frame-Options"] == "DENY", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] in ("strict-origin", "no-referrer"), path
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", path
        assert headers["Cache-Control"] == "no-store", path
    chromium = {**WINDOW, "Sec-CH-UA": '"Chromium";v="140", "Not=A?Brand";v="24"'}
    assert (
        admin.get("/hub/home", headers=chromium).headers["Cross-Origin-Opener-Policy"]
        == "noopener-allow-popups"
    )


def test_no_script_reads_a_cookie_of_the_hub(server):
    browser = server.browser()
    browser.get("/hub/login")
    browser.log_in("admin", "quite a good one")
    assert browser.is_signed_in()
    cookies = {cookie.name: cookie for cookie in browser.cookies}
    assert set(cookies) >= {"_xsrf", "jupyterhub-hub-login", "jupyterhub-session-id"}
    for cookie in cookies.values():
        assert cookie.has_nonstandard_attr("HttpOnly"), cookie.name
        assert cookie.get_nonstandard_attr("SameSite") == "Lax", cookie.name


def authorize(browser):
    """Return a client of the API with a token that is bound to the browser's session."""
    address = browser.get(AUTHORIZE, headers=WINDOW, allow_redirects=False).headers["Location"]
    fields = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(address).query)["code"][0],
    }
    fields |= {
        "client_id": "service-app",
        "client_secret": APP,
        "redirect_uri": "/services/app/back",
    }
    token = browser.post("/hub/api/oauth2/token", data=fields).json()["access_token"]
    return lambda: (
        type(browser)(browser.url)
        .get("/hub/api/user", headers={"Authorization": f"token {token}"})
        .status_code
    )


def session_of(browser):
    return {cookie.value for cookie in browser.cookies if cookie.name == "jupyterhub-session-id"}


def test_a_session_id_that_was_there_before_somebody_signs_in_is_replaced(server):
    browser = server.browser()
    browser.cookies.set("jupyterhub-session-id", "fixed-by-mallory", domain="127.0.0.1", path="/")
    browser.log_in("admin", "quite a good one")
    assert browser.is_signed_in()
    assert len(session_of(browser)) == 1
    assert session_of(browser) != {"fixed-by-mallory"}


def test_signing_out_ends_what_was_opened_in_a_session_and_in_the_one_before(server):
    browser = server.browser()
    browser.log_in("admin", "quite a good one")
    first, before = session_of(browser), authorize(browser)
    # The same person once more, as a learning platform sends them: open tabs go on.
    again = browser.submit(
        "/hub/change-password",
        {"username": "admin", "password": "quite a good one"},
        to="/hub/login",
    )
    assert again.history[0].status_code == 302
    assert session_of(browser) == first
    # The hub's cookie has expired.
    browser.cookies.clear("127.0.0.1", "/hub/", "jupyterhub-hub-login")
    browser.log_in("admin", "quite a good one")
    assert session_of(browser) != first
    now = authorize(browser)
    assert (before(), now()) == (200, 200)
    browser.get("/hub/logout", headers=WINDOW)
    assert (before(), now()) == (403, 403)
