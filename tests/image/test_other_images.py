"""Images of the wider field: laid out like the Jupyter docker-stacks, never heard of MLHub."""

from __future__ import annotations

import json

import pytest

from tests.support.hub_container import CONFIG, docker

STACKS = "mlhub-test-stacks:latest"
SETTINGS = """
c.Spawner.workspace_images = [c.Spawner.image, "mlhub-test-stacks:latest"]
c.Spawner.image_settings = {"mlhub-test-stacks:*": {"port": 8888, \
"mount_point": "/home/jovyan", "notebook_dir": "/home/jovyan"}}
"""


@pytest.fixture(scope="module")
def hub(make_hub):
    """Return a hub that offers the foreign image beside the default one."""
    return make_hub(CONFIG + SETTINGS)


def test_a_docker_stacks_like_image_starts_and_serves_lab(hub):
    hub.start_workspace("jo", "stack", {"image": STACKS})
    status, _, body = hub.request("GET", "/user/jo/stack/lab")
    assert status == 200
    assert b"JupyterLab" in body
    assert "ws-" in hub.containers()[0]


def test_its_user_may_write_its_home_and_finds_the_file_after_stop_and_start(hub):
    path = "/user/jo/stack/api/contents/kept.txt"
    body = {"type": "file", "format": "text", "content": "here"}
    status, _, answer = hub.request("PUT", path, body)
    assert status == 201, answer
    hub.stop_workspace("jo", "stack")
    hub.start_workspace("jo", "stack", {"image": STACKS})
    status, _, answer = hub.request("GET", path)
    assert status == 200
    assert json.loads(answer)["content"] == "here"
    (name,) = [name for name in hub.containers() if "jo" in name]
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", name))
    assert [
        mount["Destination"] for mount in mounts if mount["Type"] == "volume" and mount["RW"]
    ] == ["/home/jovyan"]


def test_an_image_that_is_not_offered_is_refused_before_anything_is_made(hub):
    before = hub.containers()
    hub.request("POST", "/hub/api/users/jo", b"")
    status, _, answer = hub.request(
        "POST", "/hub/api/users/jo/servers/other", {"image": "debian:trixie-slim"}
    )
    assert status == 400
    assert b"is not offered to you" in answer
    assert hub.containers() == before
