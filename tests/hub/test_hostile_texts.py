"""Whatever people type, wherever it is shown: it is text on every page."""

from __future__ import annotations

import html
import json
import sqlite3

import pytest

from tests.support.hostile import MARK, PAYLOADS, find_executable

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
"""
POLICY = {"everyone": {"sharing": True, "custom_images": True}}


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    """Return a hub with payloads in each name and option of mallory's, and in the policy."""
    images = [
        {"name": f"image-{number}", "image": f"fake/image:{number}", "description": text}
        for number, text in enumerate(PAYLOADS)
        if text.isprintable()
    ]
    hub = module_workspace_hub(CONFIG, policy=json.dumps({**POLICY, "images": images}))
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite", timeout=60) as database:
        database.execute(
            "insert into users (id, name, admin, cookie_id, created) values"
            " (5000, 'mallory', 0, 'c', '2026-01-01 00:00:00.000000')"
        )
        database.executemany(
            "insert into spawners (user_id, name, display_name, user_options, last_activity)"
            " values (5000, ?, ?, ?, '2026-01-01 00:00:00.000000')",
            [
                (f"typed-{number}", text, json.dumps({"image": text, "env": {"TEXT": text}}))
                for number, text in enumerate(PAYLOADS)
            ],
        )
        database.executemany(
            "insert into users (id, name, admin, cookie_id, created)"
            " values (?, ?, 0, ?, '2026-01-01 00:00:00.000000')",
            [(6000 + number, text, f"c{number}") for number, text in enumerate(PAYLOADS)],
        )
        database.executemany("insert into groups (name) values (?)", [(each,) for each in PAYLOADS])
        database.execute(
            "insert into user_group_map (user_id, group_id) select 5000, id from groups"
        )
        database.executemany(
            "insert into mlhub_usage (day, person, name, hours, cpu_hours, memory_hours, gpu_hours,"
            " disk) values (date('now'), ?, ?, 1, 1, 1, 1, 1)",
            [(f"k{number}", text) for number, text in enumerate(PAYLOADS)],
        )
    return hub


def sign_in(hub, name):
    browser = hub.browser()
    browser.log_in(name, "anything")
    return browser


def check(page, is_shown=True):
    assert find_executable(page.text) == [], page.url
    assert not is_shown or MARK in html.unescape(page.text), page.url


def test_the_look_for_scripts_finds_each_payload_that_a_page_took_for_more_than_text():
    """The twin: unescaped, in an element, an attribute or an address, nearly all of them run."""
    places = ("<p>{}</p>", '<a title="{}">x</a>', "<a title='{}'>x</a>", '<a href="{}">x</a>')
    runs = [text for text in PAYLOADS if any(find_executable(p.format(text)) for p in places)]
    assert len(PAYLOADS) >= 50
    assert len(runs) >= 40
    assert not any(find_executable(f"<p>{html.escape(text)}</p>") for text in PAYLOADS)


def test_names_options_and_groups_are_text_on_a_persons_own_pages(hub):
    mallory = sign_in(hub, "mallory")
    home = mallory.get("/hub/home")
    check(home)
    assert home.text.count("<article") == len(PAYLOADS) + 1
    for number in range(len(PAYLOADS)):
        for path in ("spawn", "workspace", "share", "delete"):
            check(mallory.get(f"/hub/{path}/mallory/typed-{number}"))
    check(mallory.get("/hub/usage"), is_shown=False)


def test_names_of_people_and_workspaces_are_text_on_the_pages_of_administrators(hub):
    boss = sign_in(hub, "boss")
    for path in ("admin", "admin/usage", "admin/usage?by=group", "admin?search=typed&offset=50"):
        check(boss.get(f"/hub/{path}"), is_shown="group" not in path)


@pytest.mark.full
def test_what_is_asked_for_in_an_address_or_a_form_is_text_in_the_answer(hub):
    boss = sign_in(hub, "boss")
    mallory = sign_in(hub, "mallory")
    token = boss.xsrf("/hub/admin/announcement")
    for text in PAYLOADS:
        for path in ("admin", "admin/usage"):
            check(boss.get(f"/hub/{path}", params={"search": text}))
        check(boss.get("/hub/record", params={"person": text}))
        check(boss.get("/hub/usage", params={"person": text}))
        check(boss.get("/hub/none/such", params={"next": text}), is_shown=False)
        check(hub.browser().get("/hub/login", params={"next": text}), is_shown=False)
        fields = {"_xsrf": mallory.xsrf("/hub/home"), "person": text, "days": "1"}
        check(mallory.post("/hub/share/mallory/typed-1", data=fields))
        boss.post("/hub/admin/announcement", data={"_xsrf": token, "text": text})
        check(mallory.get("/hub/trash"))
    check(boss.get("/hub/record"), is_shown=False)
