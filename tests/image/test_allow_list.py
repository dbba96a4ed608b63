"""DYNAMIC_WHITELIST_ENABLED on the image: a mounted list decides who gets in, at once when it
changes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hub_container import Hub
from tests.support.hub_process import Browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder that is mounted as /resources/users."""
    folder = tmp_path_factory.mktemp("users")
    folder.chmod(0o755)
    write(folder, "ann")
    return folder


def write(folder: Path, *names: str) -> None:
    (folder / "dynamic_whitelist.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture(scope="module")
def listed_hub(make_hub, folder) -> Hub:
    """Return a hub whose authenticator would let in everybody."""
    return make_hub(mounts=(f"{folder}:/resources/users:ro",), DYNAMIC_WHITELIST_ENABLED="true")


def sign_in(hub: Hub, name: str) -> tuple[int, bool]:
    """Return the status of the answer to somebody's sign-in, and whether they are in."""
    browser = Browser(hub.url)
    return browser.log_in(name, "any").status_code, browser.is_signed_in()


def test_who_is_in_the_list_gets_in_and_who_is_not_is_refused(listed_hub):
    assert sign_in(listed_hub, "ann") == (200, True)
    assert sign_in(listed_hub, "eve") == (403, False)


def test_a_changed_list_counts_at_once(listed_hub, folder):
    write(folder, "eve", "bob")
    try:
        assert sign_in(listed_hub, "eve") == (200, True)
        assert sign_in(listed_hub, "ann") == (403, False)
    finally:
        write(folder, "ann")


def test_without_the_variable_the_list_means_nothing(hub, name):
    hub.exec(
        "sh", "-c", "mkdir -p /resources/users && echo ann >/resources/users/dynamic_whitelist.txt"
    )
    try:
        assert sign_in(hub, name) == (200, True)
    finally:
        hub.exec("rm", "-r", "/resources/users")
