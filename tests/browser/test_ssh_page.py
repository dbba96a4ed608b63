"""The page of SSH keys with its script: a key from a file, no private key on the wire, and commands
to copy.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def hub(make_hub, prepare_hub):
    """Return a hub whose administrator is set up."""
    return prepare_hub(make_hub(""))


@pytest.fixture
def key(tmp_path) -> Path:
    """Return the private half of a new key pair."""
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "me@notebook",
            "-f",
            str(tmp_path / "id"),
        ],
        check=True,
    )
    return tmp_path / "id"


def test_a_key_is_taken_from_a_file_shown_and_removed(admin, key, find_barriers):
    page = admin.visit("/hub/ssh-keys")
    page.get_by_label("Take the key from a .pub file").set_input_files(key.with_suffix(".pub"))
    expect(page.get_by_label("Add a public key")).to_have_value(
        key.with_suffix(".pub").read_text().strip()
    )
    assert find_barriers(page) == []
    page.get_by_role("button", name="Add key").click()
    row = page.locator("tr[data-key-id]")
    expect(row).to_contain_text("me@notebook")
    expect(row).to_contain_text("never")  # used
    assert find_barriers(page) == []
    page.get_by_role("button", name="Remove me@notebook").click()
    expect(page.get_by_text("There are none yet.")).to_be_visible()
    assert admin.list_complaints() == []


def test_a_private_key_does_not_leave_the_browser(admin, key):
    page = admin.visit("/hub/ssh-keys")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_label("Take the key from a .pub file").set_input_files(key)
    expect(page.get_by_role("alert").filter(has_text="private key")).to_be_visible()
    expect(page.get_by_label("Add a public key")).to_have_value("")
    page.get_by_label("Add a public key").fill(key.read_text())
    page.get_by_role("button", name="Add key").click()
    expect(page.get_by_role("alert").filter(has_text="private key")).to_be_visible()
    assert "POST" not in sent
    # The twin: the public half is sent.
    page.get_by_label("Add a public key").fill(key.with_suffix(".pub").read_text())
    page.get_by_role("button", name="Add key").click()
    page.get_by_role("button", name="Remove me@notebook").click()
    expect(page.get_by_text("There are none yet.")).to_be_visible()
    assert sent.count("POST") == 2


def test_the_set_up_is_copied_by_a_button(admin):
    page = admin.visit("/hub/ssh-keys")
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    field = page.get_by_label("Linux and macOS", exact=True)
    button = page.locator("[data-copies=setup-unix]")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == field.input_value()
