"""A first day with the hub, by browser: sign up, sign in, work, stop, come back, a second server, tidy up."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

# Asks the workspace for the file as it is on its disk.
READ_SAVED_OUTPUT = """async wanted => {
    const token = document.cookie.match(/(?:^|; )_xsrf=([^;]+)/)[1];
    const answer = await fetch("/user/admin/api/contents/answer.ipynb", {headers: {"X-XSRFToken": token}});
    return answer.ok && JSON.stringify((await answer.json()).content.cells[0].outputs).includes(wanted);
}"""


def run_cell(me, code: str, answer: str) -> None:
    """Make a notebook from the launcher, run one cell, see its output, save."""
    page: Page = me.page
    me.wait_in_lab('.jp-LauncherCard[data-category="Notebook"]').click()
    # JupyterLab drops what is run before the kernel has answered once.
    page.get_by_role("button", name="| Idle").wait_for(timeout=60_000)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.type(code)
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-Notebook .jp-OutputArea-output").first).to_have_text(answer, timeout=60_000)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    # The first save of a new notebook asks for its name.
    name = page.get_by_role("textbox", name="File name")
    name.fill("answer.ipynb")
    page.keyboard.press("Enter")
    name.wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_first_day_from_the_setup_code_to_a_deleted_server(scheme, make_hub, open_window, setup_code):
    environment = {"SSL_ENABLED": "true", "MLHUB_HOSTNAMES": "127.0.0.1"} if scheme == "https" else {}
    hub = make_hub("", **environment)
    live_through_a_day(hub, open_window(hub), setup_code(hub))


def live_through_a_day(hub, me, code: str) -> None:
    """Go from the setup code to a deleted server."""
    for step in (sign_up_and_in, start_and_work, stop_and_come_back, add_and_delete_a_server, leave):
        step(hub, me, code)


def sign_up_and_in(hub, me, code: str) -> None:
    """Sign up with the one-time code, sign in."""
    page, scheme = me.page, hub.scheme
    me.visit(f"/hub/signup?setup={code}")
    me.shoot(f"{scheme}-1-sign-up")
    me.sign_up(setup_code=code)
    page.locator("#signin_link").click()
    me.sign_in("admin")
    page.wait_for_url("**/hub/home")
    expect(page.get_by_role("heading", name="Default workspace")).to_contain_text("Stopped")


def start_and_work(hub, me, code: str) -> None:
    """Start the default workspace; a cell runs over the WebSocket."""
    page, scheme = me.page, hub.scheme
    me.visit("/hub/home")
    page.get_by_role("link", name="Start the default workspace").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start the default workspace")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/admin")
    me.shoot(f"{scheme}-2-starting")
    page.wait_for_url("**/user/admin/lab*", timeout=60_000)
    run_cell(me, "print(6 * 7)", "42")
    channels = [url for url in me.sockets if re.search(r"/user/admin/api/kernels/[^/]+/channels", url)]
    assert channels
    assert all(url.startswith("wss:" if scheme == "https" else "ws:") for url in channels)
    page.wait_for_function(READ_SAVED_OUTPUT, arg="42", timeout=20_000)
    me.shoot(f"{scheme}-3-lab")


def stop_and_come_back(hub, me, code: str) -> None:
    """Stop and start again: the file is still there, with its output."""
    page = me.page
    me.visit("/hub/home")
    page.get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.", timeout=40_000)
    page.get_by_role("link", name="Start the default workspace").click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/admin/lab*", timeout=60_000, wait_until="commit")
    me.visit("/user/admin/lab/tree/answer.ipynb")
    expect(me.wait_in_lab(".jp-Notebook .jp-OutputArea-output")).to_have_text("42")


def add_and_delete_a_server(hub, me, code: str) -> None:
    """Add a named server, start it, see it run, stop it, delete it."""
    page, scheme = me.page, hub.scheme
    me.visit("/hub/home")
    page.get_by_label("Add a server").fill("second-try")
    page.get_by_label("Add a server").press("Enter")
    page.get_by_role("link", name="Start second-try").click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/admin/second-try/lab*", timeout=60_000, wait_until="commit")
    me.visit("/hub/home")
    expect(page.get_by_role("row", name="second-try")).to_contain_text("Running")
    me.shoot(f"{scheme}-4-home")
    assert len(hub.containers()) == 2
    page.get_by_role("button", name="Stop second-try").click()
    page.get_by_role("button", name="Delete second-try").click(timeout=40_000)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#home-notice")).to_have_text("“second-try” is deleted. Its data is in the trash.")
    expect(page.get_by_role("row", name="second-try")).to_have_count(0)


def leave(hub, me, code: str) -> None:
    """Sign out: the workspace is closed to whoever sits here next."""
    me.visit("/hub/home")
    me.page.locator("#logout").click()
    me.visit("/user/admin/lab")
    expect(me.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not me.list_complaints()
