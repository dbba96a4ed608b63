"""The hub's own pages: what they say, what they refuse, and that nothing on them runs which somebody typed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

# Each would call `pwned()` or open a dialog if a page took it for anything but text.
PAYLOADS = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<svg/onload=pwned()>",
    '"><img src=x onerror=pwned()>',
    "' autofocus onfocus='pwned()",
    '" onmouseover="pwned()" style="position:fixed;inset:0" x="',
    "</script><script>pwned()</script>",
    "</title><svg onload=alert(1)>",
    "javascript:pwned()//",
    "<a href=javascript:pwned()>x</a>",
    "<details open ontoggle=pwned()>",
    "<iframe srcdoc='<script>parent.pwned()</script>'>",
    "{{ ''.__class__ }}${pwned()}",
    "<!--<img src='--><img src=x onerror=pwned()>'",
]
# The hub's process: the one that was given the hub's configuration.
KILL_HUB = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    words = (entry / "cmdline").read_bytes().split(b"\\0") if (entry / "cmdline").exists() else []
    if any(word.endswith(b"/jupyterhub_config.py") for word in words):
        os.kill(int(entry.name), signal.SIGKILL)
        print("killed")
"""


# Starts that take their time, and one that fails after a while.
CONFIG = """
import asyncio

from mlhub.errors import WorkspaceError


async def linger(spawner):
    if spawner.name == "slow":
        await asyncio.sleep(60)
    if spawner.name == "hopeless":
        await asyncio.sleep(4)
        raise WorkspaceError("The disk of <b>this</b> host is full. Ask your administrator.")


c.Spawner.pre_spawn_hook = linger
"""


@pytest.fixture(scope="module")
def hub(make_hub, prepare_hub):
    """Return a hub whose administrator is set up, and where some servers start slowly."""
    return prepare_hub(make_hub(CONFIG))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Enter a name."),
        ("My GPU", "“My GPU” can not be a server's name. “my-gpu” could."),
        ("a--b", "“a--b” can not be a server's name. “a-b” could."),
        ("-", "“-” can not be a server's name."),
        ("x" * 31, "The name has 31 characters. Choose one of at most 30."),
    ],
)
def test_a_name_that_is_no_server_name_is_refused_with_one_that_would_do(admin, name, sentence):
    admin.page.get_by_label("Add a server").fill(name)
    admin.page.get_by_role("button", name="Add server").click()
    expect(admin.page.locator("#new-server-error")).to_have_text(sentence)
    expect(admin.page.get_by_label("Add a server")).to_be_focused()
    admin.shoot("home-name-refused")


def test_a_server_is_deleted_only_after_a_yes(admin):
    page = admin.page
    page.get_by_label("Add a server").fill("keep-me")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#home-notice")).to_have_text("“keep-me” is added. Start it when you need it.")
    page.get_by_label("Add a server").fill("keep-me")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#new-server-error")).to_have_text("You have a server “keep-me” already. Choose another name.")
    page.get_by_role("button", name="Delete keep-me").click()
    expect(page.get_by_role("dialog")).to_contain_text("moved to the trash")
    admin.shoot("home-delete")
    page.get_by_role("button", name="Keep it").click()
    admin.visit("/hub/home")
    page.get_by_role("button", name="Delete keep-me").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("row", name="keep-me")).to_have_count(0)
    assert not admin.list_complaints()


def test_an_action_without_its_xsrf_token_is_refused(admin):
    for header in ("undefined", "'wrong'"):
        script = f"""async () => {{
            const headers = {{"Content-Type": "application/json"}};
            if ({header}) headers["X-XSRFToken"] = {header};
            return (await fetch("/hub/api/users/admin/servers/forged", {{method: "PUT", headers, body: "{{}}"}})).status;
        }}"""
        assert admin.page.evaluate(script) == 403
    assert "forged" not in admin.visit("/hub/home").content()


def test_a_start_that_is_refused_shows_the_sentence_and_a_way_out(admin):
    status, answer = admin.call("POST", "users/admin/servers/odd", {"image": "<img src=x onerror=pwned()>"})
    assert status == 400
    assert "is not the name of an image" in answer["message"]
    admin.visit("/hub/spawn-pending/admin/odd")
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("“odd” did not start")
    expect(admin.page.locator(".alert")).to_contain_text("image='<img src=x onerror=pwned()>' is not the name of an image.")
    expect(admin.page.get_by_role("link", name="Try again")).to_be_visible()
    admin.shoot("start-refused")
    admin.call("DELETE", "users/admin/servers/odd", {"remove": True})
    assert not admin.executed


def test_a_start_can_be_cancelled_and_the_right_server_is_stopped(admin):
    page = admin.page
    assert admin.call("PUT", "users/admin/servers/slow", {})[0] == 201
    admin.visit("/hub/spawn/admin/slow").get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/admin/slow")
    expect(page.get_by_role("heading", level=1)).to_have_text("“slow” is starting")
    admin.shoot("starting")
    # Home knows that it is starting, and the page's back button leads there again.
    page.get_by_role("link", name="Your workspaces").click()
    expect(page.get_by_role("row", name="slow")).to_contain_text("Starting")
    page.get_by_role("link", name="Show progress slow").click()
    page.get_by_role("button", name="Cancel the start").click()
    page.wait_for_url("**/hub/home")
    expect(page.get_by_role("row", name="slow")).to_contain_text("Stopped")
    assert admin.call("DELETE", "users/admin/servers/slow", {"remove": True})[0] == 204
    assert not admin.list_complaints()


def test_a_start_that_fails_while_one_watches_says_why(admin):
    assert admin.call("PUT", "users/admin/servers/hopeless", {})[0] == 201
    admin.visit("/hub/spawn/admin/hopeless").get_by_role("button", name="Start").click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("The workspace did not start", timeout=20_000)
    expect(admin.page.locator("#failure-message")).to_contain_text("The disk of <b>this</b> host is full.")
    expect(admin.page.get_by_role("link", name="Try again")).to_be_visible()
    expect(admin.page.get_by_role("button", name="Cancel the start")).to_be_hidden()
    admin.shoot("start-failed")
    admin.call("DELETE", "users/admin/servers/hopeless", {"remove": True})


def test_a_start_from_an_image_that_nobody_has_says_so(admin):
    missing = "127.0.0.1:9/none/such:1"  # nobody answers there
    page = admin.visit("/hub/spawn/admin")
    page.get_by_role("radio", name="Another image").check()
    page.get_by_label("Reference of the other image").fill(missing)
    page.get_by_role("button", name="Start").click()
    # In the form, where it is filled in as before, if that is known at once; else where one watches the start.
    alert = page.locator("main .alert-danger:visible")
    expect(alert).to_contain_text(f"The image '{missing}' can not be pulled: ", timeout=20_000)
    expect(alert).to_contain_text("Check its name and the registry's access.")
    admin.shoot("image-missing")
    admin.visit("/hub/spawn-pending/admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your workspace did not start")
    expect(alert).to_contain_text(f"The image '{missing}' can not be pulled: ")
    expect(page.get_by_role("link", name="Try again")).to_be_visible()


def test_what_people_typed_is_text_on_every_page(admin, open_window, hub):
    for number, text in enumerate(PAYLOADS):
        server = f"users/admin/servers/typed-{number}"
        assert admin.call("PUT", server, {"display_name": text})[0] == 201
        assert admin.call("PATCH", server, {"user_options": {"image": text, "env": {text: text}}})[0] == 200
    # A username has neither spaces nor slashes; what is left would do for an attack all the same.
    names = [text.replace(" ", ";") for text in PAYLOADS if "/" not in text]
    assert len(names) >= 5
    assert admin.call("POST", "users", {"usernames": names[3:]})[0] == 201
    for text in names[:3]:
        stranger = open_window(hub)
        stranger.sign_up(text)
        expect(stranger.page.get_by_role("alert")).to_contain_text("Your sign-up was received")

    page = admin.visit("/hub/home")
    assert set(page.locator(".server-title").all_text_contents()) == set(PAYLOADS)
    assert set(page.locator("td[data-label=Image]").all_text_contents()) == set(PAYLOADS)
    admin.shoot("home-payloads")
    touch_everything(page)
    page.locator("#delete-typed-3").click()
    expect(page.get_by_role("dialog")).to_contain_text(PAYLOADS[3])
    page.get_by_role("button", name="Keep it").click()

    for number, text in enumerate(PAYLOADS):
        admin.visit(f"/hub/spawn/admin/typed-{number}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(text)
        expect(page.get_by_label("Reference of the other image")).to_have_value(text)
        expect(page.locator("#option-env")).to_have_value(f"{text}={text}")
        touch_everything(page)
    admin.shoot("form-payloads")

    admin.visit("/hub/admin")
    expect(page.locator("body")).to_contain_text(names[3].lower())
    page.evaluate("document.querySelectorAll('[data-testid*=collapse]').forEach(opener => opener.click())")
    expect(page.locator("body")).to_contain_text(PAYLOADS[1])
    touch_everything(page)
    admin.shoot("admin-payloads")

    admin.visit("/hub/authorize")
    for text in names[:3]:
        expect(page.locator("table")).to_contain_text(text.lower())
    touch_everything(page)
    for path in (
        "login?next=%22%3E%3Cscript%3Epwned()%3C/script%3E",
        "%3Cimg%20src=x%20onerror=pwned()%3E",
        "user/%3Csvg%20onload=pwned()%3E",
    ):
        admin.visit(f"/hub/{path}")
    assert admin.executed == []

    admin.visit("/hub/home")
    for number in range(len(PAYLOADS)):
        assert admin.call("DELETE", f"users/admin/servers/typed-{number}", {"remove": True})[0] == 204


def touch_everything(page: Page) -> None:
    """Send each element what a pointer and a keyboard would, for handlers that wait for it."""
    page.evaluate("""() => {
        for (const element of document.querySelectorAll("body *"))
            for (const kind of ["mouseover", "mouseenter", "focus", "toggle", "load"]) element.dispatchEvent(new Event(kind));
    }""")


def test_a_page_waits_by_itself_while_the_hub_is_started_anew(hub, admin):
    admin.page.get_by_label("Add a server").fill("later")
    assert hub.exec("python", "-I", "-c", KILL_HUB).strip() == "killed"
    # What is on the screen says why nothing happens…
    admin.page.get_by_role("button", name="Add server").click()
    expect(admin.page.locator("#new-server-error")).to_have_text("The hub is starting anew. Try again in a few seconds.")
    # …and what is opened now waits, and goes on without a click.
    admin.visit("/hub/home")
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("One moment")
    expect(admin.page.get_by_role("status")).to_contain_text("tries again by itself")
    admin.shoot("waiting")
    expect(admin.page.get_by_role("heading", name="Default workspace")).to_be_visible(timeout=60_000)
    assert admin.call("GET", "user")[0] == 200


def test_the_signed_in_pages_have_no_barriers_and_no_errors(admin, find_barriers):
    for path in ("/hub/home", "/hub/spawn", "/hub/change-password", "/hub/authorize", "/hub/no-such-page"):
        page = admin.visit(path)
        assert find_barriers(page) == [], path
        assert page.locator("script:not([src])").count() <= 1, f"{path} has inline scripts beside JupyterHub's own"
    assert [line for line in admin.list_complaints() if "no-such-page" not in line] == []


def test_home_fits_a_phone_and_the_dark_mode(hub, open_window, admin):
    admin.call("PUT", "users/admin/servers/a-name-of-thirty-characters-xy", {})
    phone = open_window(hub, viewport={"width": 375, "height": 740}, color_scheme="dark")
    phone.sign_in("admin")
    phone.page.wait_for_url("**/hub/home")
    assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    phone.shoot("phone-home")
    admin.call("DELETE", "users/admin/servers/a-name-of-thirty-characters-xy", {"remove": True})


def test_the_logo_is_our_own(hub, open_window):
    person = open_window(hub)
    image = person.visit("/hub/login").locator("#jupyterhub-logo img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [500, 128]
    assert re.search(r"mlhub-static/mlhub/favicon\.svg", person.page.content())
