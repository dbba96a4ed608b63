"""The hub's own pages: what they say, what they refuse, and that nothing on them runs which
somebody typed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.hub_container import docker

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


# What takes as long as a test says: it ends when the file is gone that says that it goes on. A
# start of the hub, or of the server "slow"; that of "hopeless" fails then.
CONFIG = """
import asyncio
import time
from pathlib import Path

from mlhub.errors import WorkspaceError

while Path("/data/hold-hub").exists():
    time.sleep(0.1)


async def linger(spawner):
    while Path(f"/data/hold-{spawner.name}").exists():
        await asyncio.sleep(0.1)
    if spawner.name == "hopeless":
        raise WorkspaceError("The disk of <b>this</b> host is full. Ask your administrator.")


c.Spawner.pre_spawn_hook = linger
"""


@pytest.fixture(scope="module")
def hub(make_hub, prepare_hub):
    """Return a hub whose administrator is set up, and whose starts can be held."""
    return prepare_hub(make_hub(CONFIG))


@pytest.fixture
def hold(hub):
    """Return a function that has a start last until the block is left: ``with hold("slow"): …``."""

    @contextlib.contextmanager
    def last(name: str) -> Iterator[None]:
        hub.exec("touch", f"/data/hold-{name}")
        try:
            yield
        finally:
            hub.exec("rm", "--force", f"/data/hold-{name}")

    return last


@pytest.fixture
def add_server(admin):
    """Return a function that adds a server of the administrator's, which is gone after the test."""
    names: list[str] = []

    def add(name: str, **model: object) -> None:
        assert admin.call("PUT", f"users/admin/servers/{name}", model)[0] == 201
        names.append(name)

    yield add
    admin.visit("/hub/home")
    for name in names:
        admin.call("DELETE", f"users/admin/servers/{name}", {"remove": True})


def test_a_name_that_cannot_be_is_told_beside_the_field(admin):
    admin.page.locator("#new-server-name").fill("lab")
    admin.page.get_by_role("button", name="Start a new workspace").click()
    expect(admin.page.locator("#new-server-error")).to_contain_text(
        "A workspace cannot be called 'lab': that is the address of a page"
    )
    expect(admin.page.locator("#new-server-name")).to_be_focused()
    expect(admin.page.locator("#new-server-name")).to_have_value("lab")
    admin.shoot("home-name-refused")


def test_a_server_is_deleted_only_after_a_yes(admin):
    page = admin.page
    # Made elsewhere: the page shows it by itself.
    assert admin.call("PUT", "users/admin/servers/keep-me", {})[0] == 201
    page.get_by_role("button", name="Delete keep-me").click()
    expect(page.get_by_role("dialog")).to_contain_text("moves to the trash")
    admin.shoot("home-delete")
    page.get_by_role("button", name="Keep it").click()
    admin.visit("/hub/home")
    page.get_by_role("button", name="Delete keep-me").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("article", name="keep-me")).to_have_count(0)
    assert not admin.list_complaints()


def test_an_action_without_its_xsrf_token_is_refused(admin):
    for header in ("undefined", "'wrong'"):
        script = f"""async () => {{
            const headers = {{"Content-Type": "application/json"}};
            if ({header}) headers["X-XSRFToken"] = {header};
            return (await fetch("/hub/api/users/admin/servers/forged", {{method: "PUT", headers, body: "{{}}"}})).status;
        }}"""  # noqa: E501
        assert admin.page.evaluate(script) == 403
    assert "forged" not in admin.visit("/hub/home").content()


def test_a_start_that_is_refused_shows_the_sentence_and_a_way_out(admin):
    status, answer = admin.call(
        "POST", "users/admin/servers/odd", {"image": "<img src=x onerror=pwned()>"}
    )
    assert status == 400
    assert "is not the name of an image" in answer["message"]
    admin.visit("/hub/spawn-pending/admin/odd")
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("“odd” did not start")
    expect(admin.page.locator(".alert")).to_contain_text(
        "image='<img src=x onerror=pwned()>' is not the name of an image."
    )
    expect(admin.page.get_by_role("link", name="Start with other options")).to_be_visible()
    admin.shoot("start-refused")
    admin.call("DELETE", "users/admin/servers/odd", {"remove": True})
    assert not admin.executed


def test_a_start_can_be_cancelled_and_the_right_server_is_stopped(admin, add_server, hold):
    page = admin.page
    add_server("slow")
    with hold("slow"):
        admin.visit("/hub/spawn/admin/slow").get_by_role("button", name="Start").click()
        page.wait_for_url("**/hub/spawn-pending/admin/slow")
        expect(page.get_by_role("heading", level=1)).to_have_text("“slow” is starting")
        admin.shoot("starting")
        # Home knows that it is starting, and the page's back button leads there again.
        page.get_by_role("link", name="Your workspaces").click()
        expect(page.get_by_role("article", name="slow")).to_contain_text("Starting")
        page.get_by_role("link", name="Show progress slow").click()
        page.get_by_role("button", name="Cancel the start").click()
        page.wait_for_url("**/hub/home")
        expect(page.get_by_role("article", name="slow")).to_contain_text("Stopped")
    assert not admin.list_complaints()


def test_a_start_that_fails_while_one_watches_says_why(admin, add_server, hold):
    add_server("hopeless")
    with hold("hopeless"):
        admin.visit("/hub/spawn/admin/hopeless").get_by_role("button", name="Start").click()
        expect(admin.page.get_by_role("heading", level=1)).to_have_text("“hopeless” is starting")
    # By the event that says so, or by the page that is loaded again where the event comes late.
    expect(admin.page.get_by_role("heading", level=1)).to_contain_text("did not start")
    expect(admin.page.locator("main .alert-danger:visible")).to_contain_text(
        "The disk of <b>this</b> host is full."
    )
    expect(admin.page.get_by_role("link", name="Start with other options")).to_be_visible()
    expect(admin.page.get_by_role("button", name="Cancel the start")).to_be_hidden()
    admin.shoot("start-failed")


def test_a_start_from_an_image_that_nobody_has_says_so(admin):
    missing = "127.0.0.1:9/none/such:1"  # nobody answers there
    page = admin.visit("/hub/spawn/admin")
    page.get_by_role("radio", name="Another image").check()
    page.get_by_label("Reference of the other image").fill(missing)
    page.get_by_role("button", name="Start").click()
    # In the form, where it is filled in as before, if that is known at once; else where one watches
    # the start.
    alert = page.locator("main .alert-danger:visible")
    expect(alert).to_contain_text(f"The image '{missing}' cannot be pulled: ")
    expect(alert).to_contain_text("Check its name and the registry's access.")
    admin.shoot("image-missing")
    admin.visit("/hub/spawn-pending/admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your workspace did not start")
    expect(alert).to_contain_text(f"The image '{missing}' cannot be pulled: ")
    expect(page.get_by_role("link", name="Start with other options")).to_be_visible()


def test_what_people_typed_is_text_on_every_page(admin, add_server, open_window, hub):
    for number, text in enumerate(PAYLOADS):
        add_server(f"typed-{number}", display_name=text)
        options = {"user_options": {"image": text, "env": {text: text}}}
        assert admin.call("PATCH", f"users/admin/servers/typed-{number}", options)[0] == 200
    # A username has neither spaces nor slashes; what is left would do for an attack all the same.
    names = [text.replace(" ", ";") for text in PAYLOADS if "/" not in text]
    assert len(names) >= 5
    assert admin.call("POST", "users", {"usernames": names[3:]})[0] == 201
    for text in names[:3]:
        stranger = open_window(hub)
        stranger.sign_up(text)
        expect(stranger.page.get_by_role("alert")).to_contain_text("Your sign-up was received")

    page = admin.visit("/hub/home")
    rows = page.locator("article[data-server-name^=typed-]")
    assert set(rows.locator(".server-title").all_text_contents()) == set(PAYLOADS)
    assert set(rows.locator(".server-image").all_text_contents()) == set(PAYLOADS)
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
    rows = page.locator(".workspace-row")
    assert set(PAYLOADS) <= set(rows.locator("[data-label=Image]").all_text_contents())
    expect(page.locator("body")).to_contain_text(PAYLOADS[1])
    page.locator("[data-server-name=typed-1] .delete-workspace").click()
    expect(page.get_by_role("dialog")).to_contain_text(PAYLOADS[1])
    page.get_by_role("button", name="Keep it").click()
    touch_everything(page)
    admin.shoot("admin-payloads")
    admin.visit("/hub/workspace/admin/typed-1")
    expect(page.get_by_role("heading", level=1)).to_contain_text(PAYLOADS[1])
    touch_everything(page)

    admin.visit("/hub/admin/jupyterhub")
    expect(page.locator("body")).to_contain_text(names[3].lower())
    page.evaluate(
        "document.querySelectorAll('[data-testid*=collapse]').forEach(opener => opener.click())"
    )
    expect(page.locator("body")).to_contain_text(PAYLOADS[1])
    touch_everything(page)

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


def touch_everything(page: Page) -> None:
    """Send each element what a pointer and a keyboard would, for handlers that wait for it."""
    page.evaluate("""() => {
        for (const element of document.querySelectorAll("body *"))
            for (const kind of ["mouseover", "mouseenter", "focus", "toggle", "load"]) element.dispatchEvent(new Event(kind));
    }""")  # noqa: E501


def test_a_page_waits_by_itself_while_the_hub_is_started_anew(hub, admin, add_server, hold):
    add_server("later")
    admin.visit("/hub/home").get_by_role("button", name="Delete later").click()
    with hold("hub"):
        assert hub.exec("python", "-I", "-c", KILL_HUB).strip() == "killed"
        # What is on the screen says why nothing happens…
        admin.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(admin.page.locator("#home-error")).to_have_text(
            "The hub is starting anew. Try again in a few seconds."
        )
        # …and what is opened now waits, and goes on without a click.
        admin.visit("/hub/home")
        expect(admin.page.get_by_role("heading", level=1)).to_have_text("One moment")
        expect(admin.page.get_by_role("status")).to_contain_text("tries again by itself")
        admin.shoot("waiting")
    expect(admin.page.get_by_role("heading", name="Default workspace")).to_be_visible()
    assert admin.call("GET", "user")[0] == 200


SIGNED_IN_PAGES = (
    "home",
    "admin",
    "workspace/admin/seen",
    "spawn",
    "delete/admin/seen",
    "ssh-keys",
    "record",
    "trash",
    "admin/trash",
    "services/cleanup-service",
    "schedule",
    "change-password",
    "authorize",
    "discard/waits",
    "invite",
    "user/admin/seen/lab",
    "usage",
    "admin/usage",
    "admin/checklist",
    "admin/announcement",
    "share/admin/seen",
    "ssh-access/admin/seen",
    "no-such-page",
)


def test_the_signed_in_pages_have_no_barriers_and_no_errors(
    hub, admin, add_server, open_window, find_barriers
):
    add_server("seen", display_name="Seen by all")
    stranger = open_window(hub)
    stranger.sign_up("waits")
    expect(stranger.page.get_by_role("alert")).to_contain_text("Your sign-up was received")
    phone = open_window(hub, viewport={"width": 375, "height": 740}, color_scheme="dark")
    phone.sign_in("admin")
    phone.page.wait_for_url("**/hub/home")
    for path in SIGNED_IN_PAGES:
        for person, kind in ((admin, "light"), (phone, "phone-dark")):
            page = person.visit(f"/hub/{path}")
            assert find_barriers(page) == [], (path, kind)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            person.shoot(f"{kind}-{path.replace('/', '-')}", full_page=True)
        assert page.locator("script:not([src])").count() <= 1, (
            f"{path} has inline scripts beside JupyterHub's own"
        )
    expected = ("no-such-page", "user/admin/seen/lab")
    for person in (admin, phone):
        complaints = person.list_complaints()
        assert [line for line in complaints if not any(path in line for path in expected)] == []


def test_a_deleted_server_comes_back_from_the_trash_and_leaves_it_for_good_after_a_yes(
    hub, admin, find_barriers, open_window, wait_for
):
    def delete() -> None:
        admin.visit("/hub/trash")  # the home page would ask for it just when it goes
        assert admin.call("DELETE", "users/admin/servers/lost", {"remove": True})[0] in (202, 204)
        known = "users/admin?include_stopped_servers=1"
        wait_for(lambda: "lost" not in admin.call("GET", known)[1]["servers"], "it is gone", 30)

    assert admin.call("POST", "users/admin/servers/lost", {})[0] in (201, 202)
    wait_for(
        lambda: admin.call("GET", "users/admin")[1]["servers"].get("lost", {}).get("ready"),
        "it runs",
        60,
    )
    delete()
    wait_for(lambda: admin.call("GET", "users/admin/trash")[1], "its data is in the trash", 30)
    page = admin.visit("/hub/home")
    page.get_by_role("link", name="Trash").click()
    expect(page.get_by_role("row", name="lost")).to_contain_text("deleted")
    assert find_barriers(page) == []
    admin.shoot("trash")
    page.get_by_role("button", name="Restore lost").click()
    expect(page.get_by_role("alert")).to_have_text("The workspace “lost” is back.")
    expect(admin.visit("/hub/home").get_by_role("article", name="lost")).to_have_count(1)
    delete()
    phone = open_window(hub, viewport={"width": 375, "height": 740}, color_scheme="dark")
    phone.sign_in("admin")
    for path in ("/hub/trash", "/hub/admin/trash"):
        page = phone.visit(path)
        expect(page.get_by_role("row", name="lost")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        phone.shoot(f"phone{path.replace('/', '-')}")
    page.get_by_role("link", name="Restore as… lost").click()
    expect(page.get_by_label("As the workspace")).to_have_value("lost")
    assert find_barriers(page) == []
    phone.shoot("phone-trash-restore")
    page.get_by_role("link", name="Back").click()
    page.get_by_role("link", name="Remove lost for good").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Remove lost of admin for good?")
    assert find_barriers(page) == []
    phone.shoot("phone-trash-remove")
    page.get_by_role("button", name="Remove for good").click()
    expect(page.get_by_role("alert")).to_have_text("It is removed for good.")
    expect(page.get_by_role("row", name="lost")).to_have_count(0)
    assert not admin.list_complaints()
    assert not phone.list_complaints()


def test_an_administrator_deletes_several_only_after_typing_what(
    hub, admin, open_window, find_barriers
):
    for name in ("bulk-1", "bulk-2", "stays"):
        assert admin.call("PUT", f"users/admin/servers/{name}", {})[0] == 201
    page = admin.visit("/hub/home")
    page.get_by_role("navigation").get_by_role("link", name="Admin", exact=True).click()
    for name in ("bulk-1", "bulk-2"):
        page.get_by_role("checkbox", name=f"Choose “{name}” of admin").check()
    page.locator("#bulk-delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(["“bulk-1” of admin", "“bulk-2” of admin"])
    expect(page.locator("#bulk-typed")).to_be_focused()
    assert find_barriers(page) == []
    admin.shoot("admin-bulk")
    page.keyboard.type("delete")
    page.keyboard.press("Enter")
    expect(page.locator("#bulk-error")).to_have_text("This is not “delete 2”.")
    page.locator("#bulk-typed").fill("delete 2")
    page.keyboard.press("Enter")
    expect(page.locator("#page-notice")).to_have_text("2 deleted. Their data is in the trash.")
    expect(page.get_by_role("row", name="bulk-")).to_have_count(0)
    phone = open_window(hub, viewport={"width": 375, "height": 740}, color_scheme="dark")
    phone.sign_in("admin")
    phone.page.wait_for_url("**/hub/home")
    page = phone.visit("/hub/admin")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_barriers(page) == []
    phone.shoot("phone-admin", full_page=True)
    page.get_by_role("button", name="Delete “stays” of admin").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#page-notice")).to_have_text(
        "“stays” of admin is deleted. Its data is in the trash."
    )
    assert not admin.list_complaints()


def test_home_fits_a_phone_and_the_dark_mode(hub, open_window, add_server):
    add_server("a-name-of-thirty-characters-xy")
    phone = open_window(hub, viewport={"width": 375, "height": 740}, color_scheme="dark")
    phone.sign_in("admin")
    phone.page.wait_for_url("**/hub/home")
    assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    phone.shoot("phone-home")


@pytest.fixture
def orphan(hub):
    """Make a volume of somebody whom the hub does not know."""
    owner = f"mlhub.origin={hub.name}", "mlhub.user=somebody who is gone", "mlhub.server_name=lab"
    words = [word for label in owner for word in ("--label", label)]
    name = docker("volume", "create", *words, f"v1-{hub.name}--gone--lab")
    yield name
    docker("volume", "rm", "--force", name, check=False)


def test_administrators_see_what_cleanup_would_remove_and_confirm_it_on_a_phone_as_well(
    hub, admin, orphan, open_window, find_barriers
):
    page = admin.visit("/hub/home")
    page.get_by_role("link", name="Cleanup").click()
    section = page.get_by_role("region", name="What nobody owns")
    expect(section).to_contain_text("CLEANUP_MOST_PERCENT")
    expect(section.get_by_role("cell", name=orphan)).to_be_visible()
    assert find_barriers(page) == []
    admin.shoot("cleanup", full_page=True)
    section.get_by_role("button", name="Confirm and remove").click()
    expect(page.get_by_role("alert").first).to_have_text(
        "What nobody owns: 0 removed. 1 must be seen for ten minutes first."
    )
    assert docker("volume", "inspect", "--format", "{{.Name}}", orphan) == orphan
    phone = open_window(hub, viewport={"width": 375, "height": 740})
    phone.sign_in("admin")
    phone.page.wait_for_url("**/hub/home")
    phone.visit("/hub/services/cleanup-service")
    assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    phone.shoot("phone-cleanup", full_page=True)


def test_the_logo_is_our_own(hub, open_window):
    person = open_window(hub)
    image = person.visit("/hub/login").locator("#jupyterhub-logo img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [500, 128]
    assert re.search(r"mlhub-static/mlhub/favicon\.svg", person.page.content())
