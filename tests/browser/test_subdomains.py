"""Host names per person, by one variable: what is the hub's alone, and what each person's
workspaces have for themselves.

The same hub is one that a learning platform may frame, which its own setting says.
"""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.support.hub_container import CONFIG
from tests.support.ports import find_free_port
from tests.support.tool_program import start_tool

JUPYTER = "mltooling/mlhub-workspace:latest"
FRAMED = """
c.JupyterHub.tornado_settings = \
{{"headers": {{"Content-Security-Policy": "frame-ancestors {platform}"}}}}
c.Authenticator.admin_users = {{"boss"}}
c.Spawner.workspace_images = [c.Spawner.image, "{jupyter}"]

# As if nobody had used any workspace for three quarters of an hour.
from mlhub.workspaces import idle
plan_stop = idle.plan_stop
idle.plan_stop = lambda limits, started, used: plan_stop(limits, started - 2700, used - 2700)
"""
# What JupyterLab tells, the button beside it, and what that opens.
NOTICES = [
    (
        r"This workspace is stopped in \d+ minutes, because by then nobody has used it for 1 hour\."
        r" Its files stay\.",
        "Your workspaces",
        ("button", "Keep it running"),
    ),
    (
        r"This workspace is stopped in \d+ minutes by its schedule\. Its files stay\.",
        "Schedule",
        ("heading", "Schedule of the default"),
    ),
    (
        r"This workspace expires in \d+ hours\. Then it is stopped, and its data moves to the"
        r" trash\.",
        "Extend",
        ("heading", "Extend the default"),
    ),
]
OPEN_SOCKET = """address => new Promise(done => {
    const socket = new WebSocket(address);
    socket.onopen = () => done("open");
    socket.onerror = () => done("closed");
})"""
PORT = 8501
FETCH = "path => fetch(path, {credentials: 'include'}).then(answer => answer.text()).catch(String)"


@pytest.fixture(scope="module")
def platform():
    """Return the address of a site whose page has a frame, of which its query says the address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(
                (
                    f'<!DOCTYPE html><title>platform</title><iframe src="{self.path[2:]}"></iframe>'
                ).encode()
            )

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://platform.localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def hub(make_hub, platform):
    """Return a hub that browsers know as hub.localhost; tests call its API at the address."""
    port = find_free_port()
    config = CONFIG + FRAMED.format(platform=platform, jupyter=JUPYTER)
    hub = make_hub(
        config,
        arguments=("--publish", f"127.0.0.1:{port}:8080"),
        MLHUB_SUBDOMAIN_HOST=f"http://hub.localhost:{port}",
        MLHUB_CULL_ENABLED="true",
        MLHUB_CULL_EVERY="86400",  # told of, and not done
    )
    hub.port = port
    return hub


@pytest.fixture
def site(hub):
    """Return the same hub by its name."""
    return dataclasses.replace(hub, host="hub.localhost")


def ask(hub, host, path):
    """Ask for a path of a host name; return status, target of a redirect, and text."""
    line = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
    line.request("GET", path, headers={"Host": host})
    answer = line.getresponse()
    return answer.status, answer.getheader("Location", ""), answer.read().decode()


def test_a_person_works_at_a_host_name_of_their_own_where_jupyterlab_tells_of_each_end_to_come(
    hub, site, open_window
):
    ann = open_window(site)
    ann.sign_in("ann")
    ann.page.wait_for_url("**/hub/home")
    soon = datetime.now(UTC) + timedelta(minutes=12)
    options = {"image": JUPYTER, "schedule": f"-{soon:%H:%M} UTC", "days_to_live": 2}
    assert ann.call("POST", "users/ann/server", options)[0] in (201, 202)
    ann.visit("/hub/spawn-pending/ann")
    own = f"http://ann.hub.localhost:{hub.port}/user/ann"
    ann.page.wait_for_url(f"{own}/lab*", wait_until="commit")
    ann.wait_in_lab(".jp-LauncherCard")
    ann.page.get_by_text("This workspace expires").first.wait_for()
    ann.shoot("jupyterlab-notices")
    for notice, button, (role, name) in NOTICES:
        expect(ann.page.get_by_text(re.compile(notice)).first).to_be_visible()
        with ann.page.context.expect_page() as opened:
            ann.page.get_by_role("button", name=button, exact=True).first.click()
        expect(opened.value.get_by_role(role, name=name)).to_be_visible()
        assert opened.value.url.startswith(f"{site.url}/hub/")
        opened.value.close()
    ann.visit("/hub/home")
    expect(ann.page.get_by_role("heading", name="Default workspace")).to_contain_text("Running")
    ann.page.locator("#logout").click()
    ann.page.goto(f"{own}/lab")
    expect(ann.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert ann.page.url.startswith(site.url)
    assert ann.list_complaints() == []


def test_a_page_elsewhere_opens_no_websocket_to_its_visitors_jupyterlab(hub, site, open_window):
    hub.start_workspace("bob")
    eve = open_window(site)
    eve.sign_in("eve")
    eve.page.wait_for_url("**/hub/home")
    assert eve.call("POST", "users/eve/server", {"image": JUPYTER})[0] in (201, 202)
    eve.visit("/hub/spawn-pending/eve")
    own = f"http://eve.hub.localhost:{hub.port}/user/eve"
    eve.page.wait_for_url(f"{own}/lab*", wait_until="commit")
    eve.wait_in_lab(".jp-LauncherCard")
    address = f"{own.replace('http', 'ws', 1)}/api/events/subscribe"
    # The twin: their own page, with the same cookies.
    assert eve.page.evaluate(OPEN_SOCKET, address) == "open"
    eve.page.goto(f"http://bob.hub.localhost:{hub.port}/user/bob/")
    assert eve.page.evaluate(OPEN_SOCKET, address) == "closed"


def test_ports_of_workspaces_are_for_those_who_may_enter(hub, site, open_window, wait_for):
    hub.start_workspace("dora")
    start_tool(f"ws-{hub.name}--dora", PORT, "dora's program", wait_for)
    tool = f"http://dora.hub.localhost:{hub.port}/user/dora/tools/{PORT}/"
    dora, carl = open_window(site), open_window(site)
    for name, person in (("dora", dora), ("carl", carl)):
        person.sign_in(name)
        person.page.wait_for_url("**/hub/home")
        person.page.goto(tool)
    expect(dora.page.locator("body")).to_contain_text("dora's program")
    assert dora.page.url == tool
    # The hub's own host name has no ports.
    dora.page.goto(f"{site.url}/user/dora/tools/{PORT}/")
    expect(dora.page.locator("body")).to_contain_text("dora's program")
    assert dora.page.url.startswith(tool)
    expect(carl.page.get_by_text("Ask dora to share it")).to_be_visible()


def test_the_hub_is_not_answered_at_the_host_name_of_a_workspace(hub):
    hub.start_workspace("bob")
    host = f"hub.localhost:{hub.port}"
    for path in (
        "/hub/login",
        "/hub/home",
        "/hub/api/",
        "/hub/api/users",
        "/hub/static/js/jhapi.js",
        "/hub/logo",
        "/hub/user/bob/",
    ):
        for name in (
            f"bob.{host}",
            f"BOB.Hub.Localhost:{hub.port}",
            f"bob.hub.localhost.:{hub.port}",
            f"nobody.{host}",
            f"a.b.{host}",
        ):
            status, _, text = ask(hub, name, path)
            assert (status, text) == (
                404,
                "This host name is a workspace's. The hub has another one.\n",
            ), (name, path)
    assert ask(hub, host, "/hub/login")[0] == 200
    assert ask(hub, f"bob.{host}", "/user/bob/")[0] == 200
    # Each at its own place: the hub sends there who asks elsewhere.
    assert ask(hub, host, "/user/bob/")[:2] == (302, f"http://{host}/hub/user/bob/")
    assert ask(hub, f"nobody.{host}", "/user/nobody/")[:2] == (
        302,
        f"http://{host}/hub/user/nobody/",
    )
    assert ask(hub, f"nobody.{host}", "/user/bob/")[:2] == (302, f"http://{host}/hub/user/bob/")


def test_a_page_of_a_workspace_reaches_neither_the_hub_nor_another_workspace(
    hub, site, open_window
):
    for name in ("bob", "carl"):
        hub.start_workspace(name)
    boss = open_window(site)
    boss.sign_in("boss")
    boss.page.wait_for_url("**/hub/home")
    boss.page.goto(f"http://bob.hub.localhost:{hub.port}/user/bob/")
    for address in (
        f"{site.url}/hub/home",
        f"{site.url}/hub/api/users",
        f"http://carl.hub.localhost:{hub.port}/user/carl/",
    ):
        assert "Failed to fetch" in boss.page.evaluate(FETCH, address), address
    assert '"path": "/user/bob/"' in boss.page.evaluate(FETCH, "/user/bob/")


def test_the_one_site_that_the_configuration_names_may_frame_the_hub(
    hub, site, open_window, platform
):
    person = open_window(site)
    person.page.goto(f"{platform}/?{site.url}/hub/login")
    expect(
        person.page.frame_locator("iframe").get_by_role("heading", name="Sign in")
    ).to_be_visible()
    hub.start_workspace("bob")
    person.page.goto(f"http://bob.hub.localhost:{hub.port}/user/bob/")
    script = """address => new Promise(done => {
        const frame = document.body.appendChild(document.createElement("iframe"));
        frame.onload = () => done(true);
        frame.src = address;
    })"""
    person.page.evaluate(script, f"{site.url}/hub/login")
    expect(
        person.page.frame_locator("iframe").get_by_role("heading", name="Sign in")
    ).to_have_count(0)
    assert any("frame-ancestors" in line for line in person.complaints)
