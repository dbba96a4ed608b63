"""A workspace takes a newer image, and goes back where that does not start."""

from __future__ import annotations

import pytest
import requests

CONFIG = """
from jupyterhub.handlers.base import BaseHandler
from mlhub.backends.fake import FakeBackend
from mlhub.errors import BackendError

class Registry(BaseHandler):
    def check_xsrf_cookie(self):
        return

    async def post(self):
        place = FakeBackend.of("mlhub")
        if image := self.get_argument("image", ""):
            place.publish(image, is_broken=self.get_argument("broken", "") == "yes")
        if call := self.get_argument("fails", ""):
            place.fail_next(call, BackendError("The engine was asked too much."))

c.JupyterHub.extra_handlers.append((r"/registry", Registry))
c.Spawner.workspace_images = ["fake/new", "fake/bad", "fake/same", "fake/idle", "fake/lost"]
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def begin(hub, admin, name, image):
    """Have somebody run an image, of which there is a newer version by then."""
    person = admin.make_person(name)
    assert person.start(name, {"image": image}).status_code == 201
    assert person.get(f"users/{name}/server/workspace").json()["image"] == {
        "reference": image,
        "update_available": False,
    }
    return person


def tell(hub, **fields):
    assert requests.post(f"{hub.url}/hub/registry", params=fields, timeout=10).status_code == 200


def find_version(hub, name):
    """Ask a workspace of which version it is; nothing while it does not run."""
    try:
        answer = requests.get(f"{hub.url}/user/{name}/api", timeout=10, allow_redirects=False)
        return answer.json()["environment"]["FAKE_VERSION"]
    except (requests.RequestException, KeyError, ValueError):
        return None


def test_a_running_workspace_is_started_again_from_the_newer_image(hub, admin):
    person = begin(hub, admin, "ann", "fake/new")
    tell(hub, image="fake/new")
    assert person.get("users/ann/server/workspace").json()["image"]["update_available"] is True
    assert person.post("users/ann/server/workspace/update", json={}).status_code == 202
    hub.wait_until(lambda: find_version(hub, "ann") == "2", "the newer version to run")
    assert person.get("users/ann/server/workspace").json()["image"]["update_available"] is False


def test_an_image_that_does_not_start_leaves_the_workspace_on_the_one_before(hub, admin):
    person = begin(hub, admin, "bob", "fake/bad")
    tell(hub, image="fake/bad", broken="yes")
    assert person.post("users/bob/server/workspace/update", json={}).status_code == 202
    hub.wait_until(lambda: "did not start after its update" in hub.log, "the new one to fail")
    hub.wait_until(lambda: find_version(hub, "bob") == "1", "the former version to run")


def test_there_has_to_be_a_newer_image(hub, admin):
    person = begin(hub, admin, "cid", "fake/same")
    answer = person.post("users/cid/server/workspace/update", json={})
    assert answer.status_code >= 400
    assert "has the newest image already" in answer.json()["message"]
    assert find_version(hub, "cid") == "1"


def test_a_stopped_workspace_takes_it_at_its_next_start(hub, admin):
    person = begin(hub, admin, "dot", "fake/idle")
    assert person.stop("dot").status_code in (202, 204)
    tell(hub, image="fake/idle")
    assert person.post("users/dot/server/workspace/update", json={}).status_code == 200
    assert find_version(hub, "dot") is None
    assert person.start("dot", {"image": "fake/idle"}).status_code == 201
    assert find_version(hub, "dot") == "2"


def test_a_place_that_fails_once_is_a_sentence_and_the_next_start_works(hub, admin):
    person = begin(hub, admin, "eve", "fake/lost")
    assert person.stop("eve").status_code in (202, 204)
    tell(hub, fails="start")
    answer = person.start("eve")
    assert "asked too much" in answer.json()["message"]
    assert person.start("eve").status_code == 201
