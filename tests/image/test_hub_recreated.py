"""The hub's container, and even its database, may be lost: workspaces keep running and are reached again."""

from __future__ import annotations

from tests.image.conftest import docker
from tests.image.test_restart import read_start
from tests.image.wire import is_answered


def find_container(hub, user: str) -> str:
    return next(name for name in hub.containers() if name.endswith(f"--{user}"))


def is_reached(hub, user: str) -> bool:
    return is_answered(hub.port, f"/user/{user}/api")


def calls_the_hub(container: str, hub_name: str) -> bool:
    """Tell whether a workspace reaches the hub's API under the name and with the token that it was born with."""
    command = (
        f'curl -s -o /dev/null -w "%{{http_code}}" -H "Authorization: token $JUPYTERHUB_API_TOKEN" http://{hub_name}:8081/hub/api/user'
    )
    return docker("exec", container, "sh", "-c", command, check=False) == "200"


def test_a_deleted_and_created_hub_finds_its_workspaces_again(make_hub):
    hub = make_hub()
    hub.start_workspace("ann")
    container = find_container(hub, "ann")
    started = read_start(container)
    assert calls_the_hub(container, hub.name)
    hub.recreate()
    hub.wait_for(lambda: is_reached(hub, "ann"), "the workspace is reached again", 20)
    assert read_start(container) == started
    hub.wait_for(lambda: calls_the_hub(container, hub.name), "the workspace reaches the hub with its old token", 20)
    assert hub.is_workspace_ready("ann")


def test_a_hub_that_lost_its_database_adopts_the_running_workspace_as_it_is(make_hub):
    hub = make_hub()
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
    hub.start_workspace("bob")
    assert read_start(container) == started
    assert is_reached(hub, "bob")
    assert docker("exec", container, "cat", "/workspace/file") == "precious"
    hub.wait_for(lambda: calls_the_hub(container, hub.name), "its old token is known to the new database", 20)


def test_a_hub_container_of_another_name_serves_the_same_workspaces(make_hub):
    """``docker run`` without ``--name``, as in the documented quick start."""
    hub = make_hub()
    hub.start_workspace("eva")
    container = find_container(hub, "eva")
    docker("rm", "--force", hub.name)
    other = docker("run", "--detach", *hub.arguments, "mltooling/ml-hub:latest")
    hub.wait_for(lambda: docker("inspect", "--format", "{{.Name}}", other) == f"/{hub.name}", "the container has its documented name", 60)
    hub.read_port()
    hub.wait_until_ready()
    hub.wait_for(lambda: is_reached(hub, "eva"), "the workspace is reached again", 20)
    assert calls_the_hub(container, hub.name)
