"""Workspaces that outlive the hub, as those of an engine or a cluster do: whatever was restarted,
in whatever order, people are led to where they answer now, and what runs is never stopped.
"""

from __future__ import annotations

import http.server
import threading

import pytest

# Where a person's workspace is, a file says: an address, or "gone".
CONFIG = """
from mlhub.backends.fake import FakeSpawner

class Outliving(FakeSpawner):
    @property
    def place(self):
        return Path(self.user.name).read_text()

    async def start_workspace(self):
        return f"http://{self.place}"

    async def stop_workspace(self, now):
        Path(self.user.name + "-stopped").touch()

    async def poll(self):
        return 0 if self.place == "gone" else None

    async def find_url(self):
        return None if self.place == "gone" else self.make_url(f"http://{self.place}")

c.JupyterHub.spawner_class = Outliving
c.JupyterHub.cleanup_servers = False
c.Spawner.poll_interval = 1
c.Spawner.http_timeout = 2
"""


class Place(http.server.ThreadingHTTPServer):
    """Where a workspace may answer, with a word of its own."""

    def __init__(self, word: str, port: int = 0) -> None:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@pytest.fixture(scope="module")
def places():
    made = {word: Place(word) for word in ("first", "second")}
    yield made
    for place in made.values():
        place.shutdown()
        place.server_close()


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def lead(hub, name: str, address: str) -> None:
    (hub.directory / name).write_text(address)


def start(hub, admin, name: str, address: str) -> None:
    lead(hub, name, address)
    admin.make_person(name)
    assert admin.start(name).status_code in (201, 202)
    hub.wait_until(lambda: is_ready(admin, name), "the workspace to run")


def is_ready(admin, name: str) -> bool:
    return bool((admin.get_server(name) or {}).get("ready"))


def open_workspace(hub, name: str) -> str:
    return hub.browser().get(f"/user/{name}/").text


def test_people_are_led_to_where_a_workspace_is_now(hub, admin, places):
    start(hub, admin, "ann", places["first"].address)
    assert open_workspace(hub, "ann") == "first"
    lead(hub, "ann", places["second"].address)
    hub.wait_until(lambda: open_workspace(hub, "ann") == "second", "the route to follow")
    assert is_ready(admin, "ann")


def test_what_is_gone_is_no_longer_called_running(hub, admin, places):
    start(hub, admin, "bob", places["first"].address)
    lead(hub, "bob", "gone")
    hub.wait_until(lambda: not is_ready(admin, "bob"), "the hub to notice")


def test_a_hub_that_starts_finds_what_has_moved_and_leaves_alone_what_is_not_there_yet(
    hub, admin, places, pick_port
):
    later = pick_port()
    for name in ("cid", "dora", "eve", "fay"):
        start(hub, admin, name, places["first"].address)
    hub.stop()
    lead(hub, "cid", places["second"].address)
    lead(hub, "dora", f"127.0.0.1:{later}")
    lead(hub, "eve", "gone")
    hub.start()
    hub.wait_until(lambda: open_workspace(hub, "cid") == "second", "the route to follow")
    assert open_workspace(hub, "fay") == "first"
    hub.wait_until(
        lambda: "dora runs, and does not answer" in hub.log,
        "the hub to go on without an answer",
    )
    hub.wait_until(lambda: is_ready(admin, "dora"), "it to be called running")
    assert not (hub.directory / "dora-stopped").exists()
    assert not is_ready(admin, "eve")
    place = Place("later", later)
    hub.wait_until(lambda: open_workspace(hub, "dora") == "later", "the workspace to be reached")
    place.shutdown()
    place.server_close()


def test_a_workspace_whose_address_comes_late_is_found_by_the_hub_that_started_before(
    hub, admin, places, pick_port
):
    start(hub, admin, "gil", places["first"].address)
    hub.stop()
    lead(hub, "gil", f"127.0.0.1:{pick_port()}")  # what a cluster still tells of it
    hub.start()
    lead(hub, "gil", places["second"].address)
    hub.wait_until(lambda: open_workspace(hub, "gil") == "second", "the route to follow")
    assert not (hub.directory / "gil-stopped").exists()
