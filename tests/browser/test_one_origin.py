"""A workspace's page in the administrator's browser, on the origin that it shares with the hub:
what it tries, and gets nothing of.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from tests.support.hub_container import CONFIG

# Pages of the hub that a script may ask for; each would bring the XSRF token, error pages too.
ADDRESSES = [
    "/hub/home",
    "/hub/token",
    "/hub/no-such-page",
    "/hub/metrics",
    "/hub/security/csp-report",
    "/hub/user/nobody/api/x",
    "/user/admin/",
    "/hub/api/oauth2/authorize",
]
# Each returns what it got. `wait` asks until there is something, for as long as a page takes.
WAYS = {
    "fetch": "all(path => fetch(path).then(answer => answer.text()))",
    "fetch by POST": "all(path => fetch(path, {method: 'POST'}).then(answer => answer.text()))",
    "fetch with the Referer of a page of the hub": (
        "fetch('/hub/home', {referrer: '/hub/home'}).then(answer => answer.text())"
    ),
    "fetch out of the browser's cache": (
        "fetch('/hub/home', {cache: 'force-cache'}).then(answer => answer.text())"
    ),
    "fetch of what was fetched ahead": "prefetched('/hub/home')",
    "fetch of the API without CORS": (
        "fetch('/hub/api/users', {mode: 'no-cors'}).then(answer => answer.text())"
    ),
    "fetch of the API out of the browser's cache": (
        "fetch('/hub/api/user', {cache: 'force-cache', mode: 'no-cors'}).then(answer => "
        "answer.text())"
    ),
    "XMLHttpRequest": "requested('/hub/home')",
    "frame": "framed('iframe', 'src', '/hub/home')",
    "frame with the API": "framed('iframe', 'src', '/hub/api/users')",
    "object": "framed('object', 'data', '/hub/home')",
    "embed": "framed('embed', 'src', '/hub/home')",
    "window": "opened('/hub/home')",
    "window with the API": "opened('/hub/api/users')",
    "shared worker": "fromWorker('worker.js')",
    "service worker for all of the origin": (
        "navigator.serviceWorker.register('everywhere.js', {scope: '/'}).then(it => it.scope)"
    ),
    "events": "fromEvents('/hub/api/users/admin/server/progress')",
    "WebSocket": "fromSocket('/hub/api/users/admin/server/progress')",
}
HELPERS = """
    const wait = async question => {
        for (const end = Date.now() + 4000; Date.now() < end; await new Promise(next => setTimeout(next, 50))) {
            try { const found = question(); if (found) return found; } catch { /* not yet, or never */ }
        }
        return "";
    };
    const all = async ask => (await Promise.all(ADDRESSES.map(ask))).join("\\n");
    const textOf = view => view && view.location.href !== "about:blank" && view.document.readyState === "complete"
        && view.document.documentElement.outerHTML;
    const requested = path => new Promise(done => {
        const request = new XMLHttpRequest();
        request.open("GET", path);
        request.onloadend = () => done(request.responseText);
        request.send();
    });
    const framed = (kind, attribute, path) => {
        const frame = document.createElement(kind);
        frame.setAttribute(attribute, path);
        document.body.append(frame);
        return wait(() => textOf(frame.contentWindow || frame.getSVGDocument()?.defaultView || window[window.length - 1]));
    };
    const opened = async path => {
        const view = window.open(path);
        const text = await wait(() => textOf(view));
        view?.close();
        return text;
    };
    const prefetched = async path => {
        const link = document.createElement("link");
        const loaded = new Promise(done => { link.onload = link.onerror = done; });
        Object.assign(link, {rel: "prefetch", href: path + "?ahead"});
        document.head.append(link);
        await loaded;
        return (await fetch(path + "?ahead", {cache: "only-if-cached", mode: "same-origin"})).text();
    };
    const fromWorker = script => new Promise(done => {
        const worker = new SharedWorker(script);
        worker.port.onmessage = message => done(message.data);
        worker.onerror = () => done("");
    });
    const fromEvents = path => {
        let heard = "";
        const source = new EventSource(path);
        source.onmessage = message => { heard = message.data; };
        return wait(() => heard);
    };
    const fromSocket = path => new Promise(done => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + path);
        socket.onopen = () => done('"progress": 0');
        socket.onerror = () => done("");
    });
"""  # noqa: E501
# Sends a form as a window does.
SEND_FORM = """fields => {
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action: "/hub/new"});
    for (const [name, value] of Object.entries(fields))
        form.append(Object.assign(document.createElement("input"), {name, value}));
    document.body.append(form);
    form.submit();
}"""
WORKER = (
    "onconnect = async event => event.ports[0].postMessage("
    "await (await fetch('/hub/home')).text());"
)
# Answers with a page that has the opener policy of the hub's own pages, whatever the proxy in front
# takes away.
SERVICE_WORKER = """
addEventListener('install', () => skipWaiting());
addEventListener('fetch', event => event.request.url.includes('alike') && event.respondWith(new Response('<title>alike</title>', {
    headers: {'Content-Type': 'text/html', 'Cross-Origin-Opener-Policy': new URL(event.request.url).searchParams.get('policy')}})));
"""  # noqa: E501
# What gives a person's rights away: the token in a page, what only an administrator may read, or
# every address of the origin.
LOOT = re.compile(
    r"xsrf_token: \"[^\"]+|_xsrf\W{1,10}value=\"[^\"]+"
    r"|\"admin\": ?true|\"progress\":|^https?://[^/]+/$"
)


@pytest.fixture(scope="module")
def hub(make_hub, prepare_hub):
    """Return a hub where mallory's workspace serves what mallory likes."""
    service = CONFIG.replace('authenticator_class = "dummy"', 'authenticator_class = "native"')
    hub = prepare_hub(make_hub(service.replace("c.Authenticator.allow_all = True", "")))
    hub.start_workspace("mallory")
    keep(hub, "page", "<!DOCTYPE html><title>mallory</title><body>")
    keep(hub, "worker.js", WORKER, "text/javascript")
    keep(hub, "service-worker.js", SERVICE_WORKER, "text/javascript")
    keep(hub, "everywhere.js", SERVICE_WORKER, "text/javascript", **{"Service-Worker-Allowed": "/"})
    return hub


def keep(hub: Any, name: str, body: str, kind: str = "text/html", **headers: str) -> None:
    """Have mallory's workspace answer with something."""
    answer = {"headers": {"Content-Type": kind, **headers}, "body": body}
    requests.put(
        f"{hub.url}/user/mallory/kept/{name}", data=json.dumps(answer), timeout=20
    ).raise_for_status()


def attempt(page: Any, ways: dict[str, str], addresses: list[str] = ADDRESSES) -> dict[str, str]:
    """Try ways to what is the hub's, all at once; return what each brought, of those that brought
    something.
    """
    tries = "".join(f"{json.dumps(name)}: () => {way}," for name, way in ways.items())
    script = f"""async ADDRESSES => {{
        {HELPERS}
        const take = async way => {{ try {{ return await way(); }} catch (error) {{ return String(error); }} }};
        const taken = Object.entries({{{tries}}}).map(async ([name, way]) => [name, await take(way)]);
        return Object.fromEntries(await Promise.all(taken));
    }}"""  # noqa: E501
    brought = page.evaluate(script, addresses)
    assert brought.keys() == ways.keys()
    return {name: found[0] for name, text in brought.items() if (found := LOOT.search(text))}


def test_no_page_of_a_workspace_gets_what_is_the_hubs(hub, admin):
    admin.visit("/hub/api/user")  # into the browser's cache, if it may
    loot = attempt(admin.visit("/user/mallory/kept/page"), WAYS)
    for found in loot.values():
        if token := re.match(r'xsrf_token: "(.+)', found):
            script = """token => fetch('/hub/api/users/mallory', {method: 'PATCH', body: '{"admin": true}',
                headers: {'X-XSRFToken': token, 'Content-Type': 'application/json'}}).then(answer => answer.status)"""  # noqa: E501
            admin.page.evaluate(script, token[1])
    assert (sorted(loot), hub.api("GET", "users/mallory").get("admin", False)) == ([], False)


def test_each_way_works_to_a_page_that_is_no_secret(hub, admin):
    """What finds nothing above is able to find something."""
    shown = '<!DOCTYPE html><p>xsrf_token: "shown"'
    own = "/user/mallory/kept/shown"
    keep(hub, "shown", shown, **{"Cache-Control": "max-age=600"})
    keep(hub, "events", 'data: {"progress": 1}\n\n', "text/event-stream")
    keep(hub, "own-worker.js", WORKER.replace("/hub/home", own), "text/javascript")
    ways = {
        name: re.sub(r"/hub/[\w/]+", own, way).replace("'worker.js'", "'own-worker.js'")
        for name, way in WAYS.items()
    }
    ways["events"] = "fromEvents('/user/mallory/kept/events')"
    ways["WebSocket"] = "fromSocket('/user/mallory/socket')"
    # Its own address, and nothing above it, is what a service worker may answer for.
    del ways["service worker for all of the origin"]
    page = admin.visit("/user/mallory/kept/page")
    assert sorted(attempt(page, ways, [own])) == sorted(ways)


def test_neither_history_nor_cookies_of_its_own_let_a_page_act_for_its_visitor(hub, admin):
    page = admin.visit("/user/mallory/kept/page")
    # An address of the hub's makes the cookies of its path the page's own.
    found = page.evaluate("() => { history.pushState({}, '', '/hub/new'); return document.cookie }")
    assert "_xsrf" not in found
    assert "jupyterhub" not in found
    # A session and its token that mallory has got, for that path before the visitor's own.
    own = requests.Session()
    sign_in = own.get(f"{hub.url}/hub/login", timeout=20)
    token = re.search(r'name="_xsrf" value="([^"]+)"', sign_in.text)[1]
    assert "_xsrf" in own.cookies
    for cookie in own.cookies:
        text = f"{cookie.name}={cookie.value}; path=/hub/new"
        page.evaluate("text => { document.cookie = text }", text)
    with page.expect_response("**/hub/new") as answer:
        page.evaluate(SEND_FORM, {"_xsrf": html.unescape(token), "name": "planted"})
    assert answer.value.status == 403
    assert "planted" not in hub.api("GET", "users/admin")["servers"]


def test_a_window_of_the_hub_is_out_of_reach_whatever_opener_policy_a_page_gives_itself(hub, admin):
    page = admin.visit("/user/mallory/kept/page")
    page.evaluate(
        "navigator.serviceWorker.register('service-worker.js').then(() => "
        "navigator.serviceWorker.ready)"
    )
    reached = []
    for policy in (
        "unsafe-none",
        "same-origin",
        "same-origin-allow-popups",
        "noopener-allow-popups",
    ):
        admin.visit(f"/user/mallory/kept/alike?policy={policy}")
        expect(page).to_have_title("alike")
        reached += [policy for _ in attempt(page, {"window": WAYS["window"]})]
    assert reached == []


def test_the_hubs_own_pages_go_on_working(hub, admin):
    page = admin.page
    for path in (
        "home",
        "admin",
        "admin/jupyterhub",
        "token",
        "ssh-keys",
        "change-password",
        "authorize",
        "spawn",
        "logo",
    ):
        admin.visit(f"/hub/{path}")
    admin.visit("/hub/admin/jupyterhub")
    expect(page.get_by_test_id("user-name-div-mallory")).to_be_visible()
    admin.visit("/hub/token").wait_for_function("window._jupyterhub_page_loaded")
    page.get_by_role("button", name="Request new API token").click()
    expect(page.locator("#token-result")).to_have_text(re.compile(r"\w{20,}"))
    # The page after this one hears events.
    admin.visit("/hub/home").get_by_role("button", name="Start the default workspace").click()
    page.wait_for_url("**/user/admin/")
    assert json.loads(page.locator("body").inner_text())["path"] == "/user/admin/"
    admin.visit("/hub/home").get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.")
    assert admin.list_complaints() == []
