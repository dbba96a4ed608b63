"""A first day with the hub, by browser: sign up, sign in, work, stop, come back, a second server, tidy up."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module", params=["http", "https"])
def fresh_hub(request, make_hub):
    """Return a hub that nobody has used yet."""
    environment = {"SSL_ENABLED": "true", "MLHUB_HOSTNAMES": "127.0.0.1"} if request.param == "https" else {}
    return make_hub("", **environment)


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


def test_a_first_day_from_the_setup_code_to_a_deleted_server(fresh_hub, open_window, setup_code):
    me = open_window(fresh_hub)
    page, scheme = me.page, fresh_hub.scheme

    # Sign up with the one-time code, sign in.
    me.visit(f"/hub/signup?setup={setup_code(fresh_hub)}")
    me.shoot(f"{scheme}-1-sign-up")
    me.sign_up(setup_code=setup_code(fresh_hub))
    page.locator("#signin_link").click()
    me.sign_in("admin")
    page.wait_for_url("**/hub/home")
    expect(page.get_by_role("heading", name="Default workspace")).to_contain_text("Stopped")

    # Start; a cell runs over the WebSocket.
    page.get_by_role("link", name="Start the default workspace").click()
    page.wait_for_url("**/hub/spawn-pending/admin")
    me.shoot(f"{scheme}-2-starting")
    page.wait_for_url("**/user/admin/lab*", timeout=60_000)
    run_cell(me, "print(6 * 7)", "42")
    channels = [url for url in me.sockets if re.search(r"/user/admin/api/kernels/[^/]+/channels", url)]
    assert channels
    assert all(url.startswith("wss:" if scheme == "https" else "ws:") for url in channels)
    page.wait_for_function("async () => (await (await fetch('/user/admin/api/contents/answer.ipynb')).text()).includes('42')")
    me.shoot(f"{scheme}-3-lab")

    # Stop; start again: the file is still there, with its output.
    me.visit("/hub/home")
    page.get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.", timeout=40_000)
    page.get_by_role("link", name="Start the default workspace").click()
    page.wait_for_url("**/user/admin/lab*", timeout=60_000, wait_until="commit")
    me.visit("/user/admin/lab/tree/answer.ipynb")
    expect(me.wait_in_lab(".jp-Notebook .jp-OutputArea-output")).to_have_text("42")

    # A named server: add, start, see it run, stop, delete.
    me.visit("/hub/home")
    page.get_by_label("Add a server").fill("second-try")
    page.get_by_label("Add a server").press("Enter")
    page.get_by_role("link", name="Start second-try").click()
    page.wait_for_url("**/user/admin/second-try/lab*", timeout=60_000, wait_until="commit")
    me.visit("/hub/home")
    expect(page.get_by_role("row", name="second-try")).to_contain_text("Running")
    me.shoot(f"{scheme}-4-home")
    assert len(fresh_hub.containers()) == 2
    page.get_by_role("button", name="Stop second-try").click()
    page.get_by_role("button", name="Delete second-try").click(timeout=40_000)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#home-notice")).to_have_text("“second-try” is deleted. Its data is in the trash.")
    expect(page.get_by_role("row", name="second-try")).to_have_count(0)

    # Sign out: the workspace is closed to whoever sits here next.
    page.locator("#logout").click()
    me.visit("/user/admin/lab")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not me.list_complaints()
