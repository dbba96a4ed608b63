"""The three ways to run a hub that docs/tutorial/three-ways.md tells of, walked by clicks alone.
The pictures of that page are made here.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def hub(make_hub, prepare_hub):
    """Return a hub as it comes, whose administrator is set up."""
    return prepare_hub(make_hub(""))


def choose_password(person, link: str) -> None:
    """Open an invitation and choose a password."""
    person.visit("/hub/" + link.split("/hub/", 1)[1])
    person.page.get_by_label("Choose a password", exact=True).fill("correct horse battery")
    person.page.get_by_label("Repeat the password").fill("correct horse battery")
    person.page.get_by_role("button", name="Set password and sign in").click()
    person.page.wait_for_url("**/hub/home")


def test_an_administrator_makes_workspaces_and_hands_them_out(hub, admin, open_window):
    page = admin.page
    page.get_by_role("navigation").get_by_role("link", name="People").click()
    page.get_by_role("link", name="Invite").first.click()
    page.get_by_label("Usernames, one a line").fill("hanna, physics, hanna@example.org")
    page.get_by_role("button", name="Make links").click()
    link = page.get_by_label("Link for hanna").input_value()
    admin.shoot("scenario-1-invitation")

    page.get_by_role("navigation").get_by_role("link", name="Admin").click()
    page.get_by_label("Username", exact=True).fill("hanna")
    page.get_by_label("Name of the workspace").fill("thesis")
    page.get_by_role("button", name="Choose options").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start “thesis” for hanna")
    admin.shoot("scenario-1-options")
    page.get_by_role("button", name="Start").click()
    admin.visit("/hub/admin")
    row = page.get_by_role("row", name="thesis")
    expect(row).to_contain_text("Running")
    admin.shoot("scenario-1-workspaces")
    row.get_by_role("link", name="Info and SSH").click()
    expect(page.get_by_label("Command for SSH")).to_have_value(f"ssh thesis.hanna.{hub.name}")
    admin.shoot("scenario-1-ssh")

    hanna = open_window(hub)
    choose_password(hanna, link)
    card = hanna.page.get_by_role("article", name="thesis")
    expect(card).to_contain_text("Running")
    hanna.shoot("scenario-1-home")
    card.get_by_role("link", name="Open").click()
    hanna.page.wait_for_url("**/user/hanna/thesis/lab*", wait_until="commit")
    hanna.visit("/hub/record")
    expect(hanna.page.get_by_role("row", name="Start").first).to_contain_text("admin")
    for person in (admin, hanna):
        assert not person.list_complaints()


@pytest.mark.full
def test_people_help_themselves_once_they_are_authorized(hub, admin, open_window):
    nils = open_window(hub)
    nils.sign_up("nils")
    expect(nils.page.get_by_role("alert")).to_contain_text("as soon as an administrator")
    admin.page.get_by_role("navigation").get_by_role("link", name="People").click()
    admin.page.get_by_role("button", name="Authorize nils").click()
    admin.shoot("scenario-2-authorize")
    nils.sign_in("nils")
    nils.page.wait_for_url("**/hub/home")
    nils.shoot("scenario-2-home")
    # A second workspace beside the default one, with one press from the home page.
    nils.page.get_by_role("button", name="Start a new workspace").click()
    nils.page.wait_for_url("**/user/nils/*/lab*", wait_until="commit")
    assert not nils.list_complaints()


@pytest.mark.full
def test_everybody_has_one_workspace_and_no_more(make_hub, prepare_hub, open_window):
    hub = prepare_hub(make_hub("c.JupyterHub.allow_named_servers = False\n"))
    admin = open_window(hub)
    admin.sign_in("admin")
    admin.page.wait_for_url("**/hub/home")
    admin.visit("/hub/invite").get_by_label("Usernames, one a line").fill("olga")
    admin.page.get_by_role("button", name="Make links").click()
    olga = open_window(hub)
    choose_password(olga, admin.page.get_by_label("Link for olga").input_value())
    expect(olga.page.get_by_role("article")).to_have_count(1)
    expect(olga.page.get_by_role("heading", name="New workspace")).to_have_count(0)
    olga.shoot("scenario-3-home")
    olga.page.get_by_role("button", name="Start the default workspace").click()
    olga.page.wait_for_url("**/user/olga/lab*", wait_until="commit")
    assert not olga.list_complaints()
    status, _ = olga.visit("/hub/home") and olga.call("POST", "users/olga/servers/more")
    assert status == 400
