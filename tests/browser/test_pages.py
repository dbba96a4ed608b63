"""The hub's own pages: what they say, what they refuse, and that nothing on them runs which somebody typed."""

from __future__ import annotations

import json
import re
import struct
import zlib

import pytest
from playwright.sync_api import expect

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
# Puts names and options straight into the hub's database, past every check on the way.
PLANT = """
import json, sqlite3, sys
database = sqlite3.connect("/data/jupyterhub.sqlite", timeout=20)
for number, text in enumerate(json.load(sys.stdin)):
    options = json.dumps({"image": text, "env": {text: text}})
    database.execute("UPDATE spawners SET display_name = ?, user_options = ? WHERE name = ?", (text, options, f"planted-{number}"))
database.commit()
"""
# The hub's process: the one whose command line runs jupyterhub.
KILL_HUB = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    words = (entry / "cmdline").read_bytes().split(b"\\0") if (entry / "cmdline").exists() else []
    if any(word.endswith(b"bin/jupyterhub") for word in words[:2]):
        os.kill(int(entry.name), signal.SIGKILL)
        print("killed")
"""


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
    assert "is not offered here" in answer["message"]
    admin.visit("/hub/spawn-pending/admin/odd")
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("“odd” did not start")
    expect(admin.page.locator(".alert")).to_contain_text("The image '<img src=x onerror=pwned()>' is not offered here. Choose one of:")
    expect(admin.page.get_by_role("link", name="Try again")).to_be_visible()
    admin.shoot("start-refused")
    admin.call("DELETE", "users/admin/servers/odd", {"remove": True})
    assert not admin.executed


def test_what_people_typed_is_text_on_every_page(hub, admin, open_window):
    for number in range(len(PAYLOADS)):
        assert admin.call("PUT", f"users/admin/servers/planted-{number}", {})[0] == 201
    names = [text for text in PAYLOADS if "/" not in text]
    assert admin.call("POST", "users", {"usernames": names})[0] in (201, 400)
    for text in names:
        stranger = open_window(hub)
        stranger.sign_up(text.replace(" ", ";"))
        stranger.context.close()
    run_python(hub, PLANT, json.dumps(PAYLOADS))

    admin.visit("/hub/home")
    titles = admin.page.locator(".server-title").all_text_contents()
    assert set(PAYLOADS) <= set(titles)
    admin.shoot("home-payloads")
    hover_everything(admin.page, ".home-server-row")
    admin.page.locator("#delete-planted-3").click()
    expect(admin.page.get_by_role("dialog")).to_contain_text(PAYLOADS[3])
    admin.page.get_by_role("button", name="Keep it").click()

    admin.visit("/hub/admin")
    admin.page.get_by_role("row", name="admin").first.wait_for()
    for opener in admin.page.locator("button[data-testid^='collapse-button'], button[aria-controls]").all():
        if opener.is_visible():
            opener.click()
    expect(admin.page.locator("body")).to_contain_text(PAYLOADS[0])
    admin.shoot("admin-payloads")

    admin.visit("/hub/authorize")
    expect(admin.page.locator("table")).to_contain_text("<svg;onload" if False else "pwned()")
    hover_everything(admin.page, "tr")
    for path in ("/hub/login?next=%22%3E%3Cscript%3Epwned()%3C/script%3E", "/hub/%3Cimg%20src=x%20onerror=pwned()%3E", "/hub/user/%3Csvg%20onload=pwned()%3E"):
        admin.visit(path)
    assert admin.executed == []

    for number in range(len(PAYLOADS)):
        admin.call("DELETE", f"users/admin/servers/planted-{number}", {"remove": True})


def hover_everything(page, selector: str) -> None:
    for element in page.locator(selector).all():
        if element.is_visible():
            element.hover(force=True)


def run_python(hub, code: str, text: str = "") -> str:
    import subprocess

    command = ["docker", "exec", "--interactive", "--user", "root", hub.name, "python", "-I", "-c", code]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_page_waits_by_itself_while_the_hub_is_started_anew(hub, admin):
    admin.page.get_by_label("Add a server").fill("later")
    assert "killed" in run_python(hub, KILL_HUB)
    # What is on the screen says why nothing happens…
    admin.page.get_by_role("button", name="Add server").click()
    expect(admin.page.locator("#new-server-error")).to_have_text("The hub is starting anew. Try again in a few seconds.")
    # …and what is opened now waits, and goes on without a click.
    admin.visit("/hub/home")
    expect(admin.page.get_by_role("heading", level=1)).to_contain_text("start")
    admin.shoot("waiting")
    expect(admin.page.get_by_role("heading", name="Default workspace")).to_be_visible(timeout=60_000)
    admin.call("GET", "user")


def test_the_signed_in_pages_have_no_barriers_and_no_errors(admin, find_barriers):
    for path in ("/hub/home", "/hub/change-password", "/hub/authorize", "/hub/no-such-page"):
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


def test_a_logo_mounted_at_the_documented_place_is_shown(make_hub, tmp_path, open_window):
    logo = tmp_path / "jupyter.png"
    logo.write_bytes(make_png(31, 17))
    hub = make_hub("", mounts=(f"{logo}:/usr/local/share/jupyterhub/static/images/jupyter.png:ro",))
    person = open_window(hub)
    image = person.visit("/hub/login").locator("#jupyterhub-logo img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [31, 17]


def make_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\xc0\x20\x20" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_without_one_the_logo_is_our_own(hub, open_window):
    person = open_window(hub)
    image = person.visit("/hub/login").locator("#jupyterhub-logo img")
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [500, 128]
    assert re.search(r"mlhub-static/mlhub/favicon\.svg", person.page.content())
