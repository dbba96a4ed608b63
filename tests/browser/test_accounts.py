"""What people meet who have no account yet, mistype, or bring no mouse."""

from __future__ import annotations

import struct
import zlib

import pytest
from playwright.sync_api import expect

LOGO_SIZE = (31, 17)


@pytest.fixture(scope="module")
def hub(make_hub, browser, prepare_hub, tmp_path_factory):
    """Return a hub whose administrator is set up and whose site has a logo of its own."""
    logo = tmp_path_factory.mktemp("logo") / "jupyter.png"
    logo.write_bytes(make_png(*LOGO_SIZE))
    return prepare_hub(
        make_hub("", mounts=(f"{logo}:/usr/local/share/jupyterhub/static/images/jupyter.png:ro",))
    )


def make_png(width: int, height: int) -> bytes:
    """Make a picture of one color."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = (b"\0" + b"\xc0\x20\x20" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_logo_mounted_at_the_documented_place_is_shown(hub, open_window):
    image = open_window(hub).visit("/hub/login").locator("#jupyterhub-logo img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == list(LOGO_SIZE)


def test_somebody_new_is_let_in_only_after_an_administrator_said_so(hub, admin, open_window):
    newcomer = open_window(hub)
    newcomer.sign_up("nora")
    expect(newcomer.page.get_by_role("alert")).to_contain_text(
        "as soon as an administrator has authorized you"
    )
    newcomer.shoot("account-1-signed-up")
    newcomer.sign_in("nora")
    expect(newcomer.page.get_by_role("alert")).to_contain_text(
        "Your account has not been authorized yet. Ask an administrator"
    )
    newcomer.shoot("account-2-waiting")

    admin.visit("/hub/authorize")
    admin.shoot("account-3-authorize")
    admin.page.get_by_role("button", name="Authorize nora").click()
    expect(admin.page.get_by_role("row", name="nora")).to_contain_text("yes")

    newcomer.sign_in("nora")
    newcomer.page.wait_for_url("**/hub/home")
    expect(newcomer.page.get_by_role("heading", name="Default workspace")).to_be_visible()
    # Nothing of the administrator's is offered, and nothing is there behind the address either.
    for name in ("Admin", "People"):
        expect(
            newcomer.page.get_by_role("navigation").get_by_role("link", name=name, exact=True)
        ).to_have_count(0)
    for path in ("/hub/admin", "/hub/authorize"):
        newcomer.visit(path)
        expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    newcomer.shoot("account-4-not-allowed")


def test_a_wrong_password_is_said_to_be_wrong_and_the_fifth_locks_the_name(hub, open_window):
    person = open_window(hub)
    for _ in range(5):
        person.sign_in("ghost", "not the password")
        expect(person.page.get_by_role("alert")).to_have_text("Invalid username or password")
        expect(person.page.get_by_label("Username")).to_have_value("ghost")
    person.shoot("account-5-wrong-password")
    person.sign_in("ghost", "not the password")
    expect(person.page.get_by_role("alert")).to_have_text(
        "Too many failed attempts for this name. Try again in 10 minutes."
    )
    person.shoot("account-6-locked")


def test_a_weak_password_is_refused_with_its_reason_and_the_name_is_kept(hub, open_window):
    person = open_window(hub)
    person.sign_up("sam", "password1234")
    expect(person.page.get_by_role("alert")).to_contain_text("among the most common")
    expect(person.page.get_by_label("Username")).to_have_value("sam")


def test_signing_up_and_in_needs_no_mouse(hub, admin, open_window, password):
    person = open_window(hub)
    keyboard = person.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(25):
            if person.page.evaluate(
                "selector => document.activeElement.matches(selector)", selector
            ):
                return
            keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {selector}")

    person.visit("/hub/login")
    tab_to("a[href$='/signup']")
    keyboard.press("Enter")
    person.page.wait_for_url("**/hub/signup")
    for selector, text in (
        ("#username_input", "keys"),
        ("#password_input", password),
        ("#password_confirmation_input", password),
    ):
        tab_to(selector)
        keyboard.type(text)
    tab_to("#signup_submit")
    keyboard.press("Enter")
    person.page.locator("#signin_link").wait_for()
    tab_to("#signin_link")
    keyboard.press("Enter")
    person.page.wait_for_url("**/hub/login")

    admin.visit("/hub/authorize")
    admin.page.get_by_role("button", name="Authorize keys").click()
    for selector, text in (("#username_input", "keys"), ("#password_input", password)):
        tab_to(selector)
        keyboard.type(text)
    keyboard.press("Enter")
    person.page.wait_for_url("**/hub/home")
    tab_to("#new-server-name")
    keyboard.type("By Keys")  # in place of the name that is suggested
    tab_to("#new-server-options")
    keyboard.press("Enter")
    person.page.wait_for_url("**/hub/spawn/keys/by-keys?*")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Start “By Keys”")
    assert person.call("PUT", "users/keys/servers/by-keys", {})[0] == 201
    person.visit("/hub/home")
    tab_to("#delete-by-keys")
    keyboard.press("Enter")
    # The harmless button has the focus; Escape does the same.
    expect(person.page.get_by_role("button", name="Keep it")).to_be_focused()
    keyboard.press("Escape")
    expect(person.page.get_by_role("dialog")).to_be_hidden()
    expect(person.page.locator("#delete-by-keys")).to_be_focused()


def test_a_password_can_be_shown_and_hidden(hub, open_window):
    person = open_window(hub)
    field = person.visit("/hub/login").get_by_label("Password", exact=True)
    field.fill("a secret")
    person.page.locator("button[data-reveals]").click()
    expect(field).to_have_attribute("type", "text")
    person.page.locator("button[data-reveals]").click()
    expect(field).to_have_attribute("type", "password")


@pytest.mark.parametrize("path", ["/hub/login", "/hub/signup", "/hub/no-such-page"])
def test_pages_for_everybody_can_be_read_by_a_screen_reader_and_on_a_phone(
    hub, open_window, find_barriers, path
):
    person = open_window(hub, viewport={"width": 375, "height": 740})
    page = person.visit(path)
    assert not find_barriers(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    person.shoot("phone-" + path.rsplit("/", 1)[1])
