"""A first day with the hub, by browser, step by step."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

# Asks the workspace for the file as it is on its disk.
READ_SAVED_OUTPUT = """async wanted => {
    const token = document.cookie.match(/(?:^|; )_xsrf=([^;]+)/)[1];
    const answer = await fetch("/user/admin/api/contents/answer.ipynb", {headers: {"X-XSRFToken": token}});
    return answer.ok && JSON.stringify((await answer.json()).content.cells[0].outputs).includes(wanted);
}"""  # noqa: E501


READ_PROTOCOL = "() => performance.getEntriesByType('navigation')[0].nextHopProtocol"
LAUNCHER = '.jp-LauncherCard[data-category="Notebook"]'
# What JupyterLab's first load may take on the wire.
LAB_BYTES = 1_800_000


def count_bytes(page: Page) -> list[int]:
    """Return a list that grows by the bytes of each answer that Chromium gets from now on."""
    session, found = page.context.new_cdp_session(page), []
    session.send("Network.enable")
    session.on(
        "Network.loadingFinished", lambda event: found.append(int(event["encodedDataLength"]))
    )
    return found


def run_cell(me, code: str, answer: str) -> None:
    """Make a notebook from the launcher, run one cell, see its output, save."""
    page: Page = me.page
    # JupyterLab asks which kernel it is to be where it did not know them all in time.
    page.add_locator_handler(
        page.get_by_role("button", name="Select", exact=True), lambda button: button.click()
    )
    me.wait_in_lab(LAUNCHER).click()
    # JupyterLab drops what is run before the kernel has answered once.
    expect(page.get_by_role("button", name="| Idle")).to_be_visible()
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.type(code)
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-Notebook .jp-OutputArea-output").first).to_have_text(answer)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    # The first save of a new notebook asks for its name.
    name = page.get_by_role("textbox", name="File name")
    name.fill("answer.ipynb")
    page.keyboard.press("Enter")
    name.wait_for(state="detached")


def live_through_a_day(hub, me, code: str, *, keeps_default: bool = False) -> None:
    """Go from the setup code to deleted workspaces, or keep the default one of them."""
    for step in (
        sign_up_and_in,
        start_and_work,
        stop_and_come_back,
        add_and_delete_a_server,
        *(() if keeps_default else (delete_the_default_one,)),
        leave,
    ):
        step(hub, me, code)


def sign_up_and_in(hub, me, code: str) -> None:
    """Sign up with the one-time code, which signs in."""
    page, scheme = me.page, hub.scheme
    me.visit(f"/hub/signup?setup={code}")
    me.shoot(f"{scheme}-1-sign-up")
    me.sign_up(setup_code=code)
    page.wait_for_url("**/hub/admin/checklist")
    me.shoot(f"{scheme}-1-checklist")
    page.get_by_role("link", name="Your workspaces").click()
    expect(page.get_by_role("heading", name="Default workspace")).to_contain_text("Stopped")


def start_and_work(hub, me, code: str) -> None:
    """Start the default workspace; a cell runs over the WebSocket."""
    page, scheme = me.page, hub.scheme
    me.visit("/hub/home")
    me.shoot(f"{scheme}-2-home")
    loaded = count_bytes(page)
    page.get_by_role("button", name="Start the default workspace").click()
    me.shoot(f"{scheme}-2-starting")
    page.wait_for_url("**/user/admin/lab*", wait_until="commit")
    me.wait_in_lab(LAUNCHER)
    assert 500_000 < sum(loaded) < LAB_BYTES
    # What the page came by; its WebSockets have connections of their own beside it.
    assert page.evaluate(READ_PROTOCOL) == ("h2" if scheme == "https" else "http/1.1")
    run_cell(me, "print(6 * 7)", "42")
    channels = [
        url for url in me.sockets if re.search(r"/user/admin/api/kernels/[^/]+/channels", url)
    ]
    assert channels
    assert all(url.startswith("wss:" if scheme == "https" else "ws:") for url in channels)
    page.wait_for_function(READ_SAVED_OUTPUT, arg="42")
    me.shoot(f"{scheme}-3-lab")


def stop_and_come_back(hub, me, code: str) -> None:
    """Stop and start again: the file is still there, with its output."""
    page = me.page
    me.visit("/hub/home")
    page.get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.")
    page.get_by_role("button", name="Start the default workspace").click()
    page.wait_for_url("**/user/admin/lab*", wait_until="commit")
    me.visit("/user/admin/lab/tree/answer.ipynb")
    expect(me.wait_in_lab(".jp-Notebook .jp-OutputArea-output")).to_have_text("42")


def add_and_delete_a_server(hub, me, code: str) -> None:
    """Start a second workspace by one click, see it run, stop it, delete it."""
    page, scheme = me.page, hub.scheme
    me.visit("/hub/home")
    page.locator("#new-server-name").fill("second-try")
    page.get_by_role("button", name="Start a new workspace").click()
    page.wait_for_url("**/user/admin/second-try/lab*", wait_until="commit")
    me.visit("/hub/home")
    expect(page.get_by_role("article", name="second-try")).to_contain_text("Running")
    me.shoot(f"{scheme}-4-home")
    assert len(hub.containers()) == 2
    page.get_by_role("button", name="Stop second-try").click()
    expect(page.locator("#home-notice")).to_have_text("“second-try” is stopped.")
    open_its_bookmark(me, "second-try")
    page.get_by_role("button", name="Delete second-try").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#home-notice")).to_have_text(
        "“second-try” is deleted. Its data is in the trash."
    )
    expect(page.get_by_role("article", name="second-try")).to_have_count(0)


def open_its_bookmark(me, name: str) -> None:
    """Open a workspace that does not run, while the default one does."""
    me.visit(f"/user/admin/{name}/lab/tree/answer.ipynb")
    expect(me.page.get_by_role("heading", level=1)).to_have_text(f"“{name}” is not running")
    expect(me.page.get_by_role("button", name="Start")).to_be_visible()
    me.shoot(f"{me.hub.scheme}-5-not-running")
    # The page has a status of its own, which the browser writes down.
    me.complaints[:] = [line for line in me.complaints if f"/user/admin/{name}/lab" not in line]
    me.visit("/hub/home")


def delete_the_default_one(hub, me, code: str) -> None:
    """Delete the default workspace, which begins anew."""
    page = me.page
    page.get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.")
    page.get_by_role("button", name="Delete the default workspace").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("its next start begins anew")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#home-notice")).to_have_text(
        "The default workspace is deleted. Its data is in the trash."
    )
    expect(page.get_by_role("article", name="Default workspace")).to_contain_text("never")


def leave(hub, me, code: str) -> None:
    """Sign out: the workspace is closed to whoever sits here next."""
    me.visit("/hub/home")
    me.page.locator("#logout").click()
    me.visit("/user/admin/lab")
    expect(me.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not me.list_complaints()
