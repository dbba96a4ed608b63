"""The hub's container, and even its database, may be lost: workspaces keep running and are reached
again.
"""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.hub_container import CONFIG, IMAGE, docker, read_start
from tests.support.kernels import run_cell, start_kernel
from tests.support.wire import is_answered

REAL_IMAGE = "mltooling/mlhub-workspace:latest"


@pytest.fixture(scope="module")
def hub(make_hub):
    """A hub whose container these tests delete and create, one after the other."""
    images = f'c.Spawner.workspace_images = [c.Spawner.image, "{REAL_IMAGE}"]\n'
    return make_hub(CONFIG + images)


def find_container(hub, user: str) -> str:
    return next(name for name in hub.containers() if name.endswith(f"--{user}"))


def is_reached(hub, user: str) -> bool:
    return is_answered(hub.port, f"/user/{user}/api")


def calls_the_hub(container: str, hub_name: str) -> bool:
    """Return True if a workspace reaches the hub's API under the name and with the token that it
    was born with.
    """
    command = (
        'curl -s -o /dev/null -w "%{http_code}" -H "Authorization: token $JUPYTERHUB_API_TOKEN"'
        f" http://{hub_name}:8081/hub/api/user"
    )
    return docker("exec", container, "sh", "-c", command, check=False) == "200"


def test_a_deleted_and_created_hub_finds_its_workspaces_again(hub):
    hub.start_workspace("ann")
    container = find_container(hub, "ann")
    started = read_start(container)
    assert calls_the_hub(container, hub.name)
    hub.recreate()
    hub.wait_for(lambda: is_reached(hub, "ann"), "the workspace is reached again", 20)
    assert read_start(container) == started
    hub.wait_for(
        lambda: calls_the_hub(container, hub.name),
        "the workspace reaches the hub with its old token",
        20,
    )
    assert hub.is_workspace_ready("ann")


async def test_a_kernel_keeps_its_variables_while_the_hub_is_restarted_and_created_anew(hub):
    hub.start_workspace("kai", options={"image": REAL_IMAGE})
    kernel = await make_kernel(hub)
    assert await ask_kernel(hub, kernel, "x = 42; print(x)") == "42\n"
    for leave_and_come_back in (lambda: docker("restart", "--time", "20", hub.name), hub.recreate):
        leave_and_come_back()
        hub.read_port()
        hub.wait_until_ready()
        hub.wait_for(
            lambda: hub.request("GET", f"/user/kai/api/kernels/{kernel}")[0] == 200,
            "the kernel is reached again",
            20,
        )
        assert await ask_kernel(hub, kernel, "print(x)") == "42\n"


def open_session(hub) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(hub.url, headers=hub.headers)


async def make_kernel(hub) -> str:
    async with open_session(hub) as session:
        return await start_kernel(session, "/user/kai")


async def ask_kernel(hub, kernel: str, code: str) -> str:
    async with open_session(hub) as session:
        return await run_cell(session, kernel, code, "/user/kai")


def test_a_hub_that_lost_its_database_adopts_the_running_workspace_as_it_is(hub):
    hub.start_workspace("bob")
    container = find_container(hub, "bob")
    docker("exec", container, "sh", "-c", "echo precious > /workspace/file")
    started = read_start(container)
    docker("rm", "--force", hub.name)
    docker("volume", "rm", f"mlhub-test-{hub.name}")
    docker("volume", "create", "--label", "mlhub.test=image", f"mlhub-test-{hub.name}")
    hub.start()
    hub.wait_until_ready()
    assert docker("inspect", "--format", "{{.State.Running}}", container) == "true"
    hub.wait_for(lambda: is_reached(hub, "bob"), "the workspace is reached again", 20)
    assert hub.is_workspace_ready("bob")
    assert read_start(container) == started
    assert docker("exec", container, "cat", "/workspace/file") == "precious"
    hub.wait_for(
        lambda: calls_the_hub(container, hub.name), "its old token is known to the new database", 20
    )


def test_a_hub_container_of_another_name_serves_the_same_workspaces(hub):
    """``docker run`` without ``--name``, as in the documented quick start."""
    hub.start_workspace("eva")
    container = find_container(hub, "eva")
    docker("rm", "--force", hub.name)
    other = docker("run", "--detach", *hub.arguments, IMAGE)
    hub.wait_for(
        lambda: docker("inspect", "--format", "{{.Name}}", other) == f"/{hub.name}",
        "the container has its documented name",
        180,
    )
    hub.read_port()
    hub.wait_until_ready()
    hub.wait_for(lambda: is_reached(hub, "eva"), "the workspace is reached again", 20)
    assert calls_the_hub(container, hub.name)
