"""A hub that measures what its people's files take of the disk."""

from __future__ import annotations

import json

import pytest

from mlhub.identity import Identity

CONFIG = """
c.Spawner.measure_disk_seconds = 1
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
from mlhub.backends.fake import FakeBackend
from mlhub.errors import EngineUnreachableError

SIZES = Path("{directory}/sizes.json")

class Sizes(dict):
    def get(self, name, default=0):
        return json.loads(SIZES.read_text()).get(name, default)

import json
FakeBackend.of("mlhub").sizes = Sizes()
FakeBackend.of("mlhub").fail_next("measure_disk", EngineUnreachableError("It is away."))
"""
GIBIBYTE = 2**30


@pytest.fixture(scope="module")
def place(module_workspace_hub, tmp_path_factory):
    """Return a hub, and the function that says how much somebody's volumes take."""
    directory = tmp_path_factory.mktemp("disk")
    sizes: dict[str, int] = {}

    def weigh(user: str, server: str, size: int) -> None:
        sizes[Identity("mlhub", user, server).volume(1)] = size
        fresh = directory / "sizes.new"
        fresh.write_text(json.dumps(sizes))
        fresh.rename(directory / "sizes.json")

    weigh("nobody", "", 0)
    hub = module_workspace_hub(CONFIG.format(directory=directory))
    hub.policy("everyone: {total: {disk: 10G}}\nusers: {rich: {total: {disk: unlimited}}}\n")
    return hub, weigh


def is_refused(hub, name: str, server: str) -> bool:
    """Try to start a server; tell whether there is no disk for it."""
    answer = hub.service().start(name, {}, server)
    if answer.status_code in (201, 202):
        assert hub.service().stop(name, server).status_code in (202, 204)
        return False
    assert answer.status_code == 400, answer.text
    assert "You may have 10 GB of disk in all, and your files take" in answer.text
    return True


def test_whoever_has_filled_their_share_starts_nothing_new_until_they_have_tidied_up(place):
    hub, weigh = place
    admin = hub.service()
    for name in ("ann", "bob", "rich"):
        admin.make_person(name)
        assert not is_refused(hub, name, "data")
        weigh(name, "data", 12 * GIBIBYTE if name != "bob" else GIBIBYTE)
    hub.wait_until(lambda: is_refused(hub, "ann", "fresh"), "ann's next start is refused")
    # The place where she tidies up starts, but not beside another one; what runs goes on.
    assert admin.start("ann", {}, "data").status_code in (201, 202)
    assert is_refused(hub, "ann", "fresh")
    assert admin.get_server("ann", "data")["ready"]
    # Others are no worse off.
    assert not is_refused(hub, "bob", "fresh")
    assert not is_refused(hub, "rich", "fresh")
    weigh("ann", "data", GIBIBYTE)
    hub.wait_until(lambda: not is_refused(hub, "ann", "fresh"), "there is room again")
    assert "What workspaces take of the disk is not known anew: It is away." in hub.log


def test_what_is_in_the_trash_counts_and_no_longer_once_it_is_gone(place):
    hub, weigh = place
    admin = hub.service()
    carl = admin.make_person("carl")
    assert not is_refused(hub, "carl", "old")
    weigh("carl", "old", 12 * GIBIBYTE)
    assert carl.delete("users/carl/servers/old", json={"remove": True}).status_code in (202, 204)
    hub.wait_until(lambda: is_refused(hub, "carl", "fresh"), "the trash counts")
    answer = admin.start("carl", {}, "fresh")
    assert "12 GB, 12 GB of them in the trash" in answer.text
    (thrown,) = carl.get("users/carl/trash").json()
    assert carl.delete(f"users/carl/trash/{thrown['id']}").status_code in (200, 204)
    hub.wait_until(lambda: not is_refused(hub, "carl", "fresh"), "there is room again")


def test_the_form_tells_it(place):
    hub, weigh = place
    browser = hub.admin()
    assert hub.service().start("admin", {}).status_code in (201, 202)
    weigh("admin", "", 3 * GIBIBYTE)
    hub.service().stop("admin")
    hub.wait_until(
        lambda: "10 GB of disk in all. Your files take 3 GB." in browser.get("/hub/spawn").text,
        "the form tells it",
    )
    # Administrators see it beside what each person's workspaces take otherwise.
    assert hub.service().start("admin", {}).status_code in (201, 202)
    page = " ".join(browser.get("/hub/admin").text.split())
    assert "1 running" in page
    assert ", 3 GB of 10 GB of disk" in page
