"""A site brings the file of another hub, with upstream's DockerSpawner: it runs, with a warning
that names what it goes without. What is refused of it: tests/unit/test_plain_spawner.py.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest

from tests.support import compose_site
from tests.support.hub_container import RUN, TOKEN, docker

STACKS = "mlhub-test-stacks:latest"


@pytest.fixture
def network() -> Iterator[str]:
    """The network that hub and workspaces share, with all that is in it."""
    name = f"site-{secrets.token_hex(3)}"
    docker("network", "create", "--label", f"mlhub.test={RUN}", name)
    yield name
    inside = docker("ps", "--all", "--quiet", "--filter", f"network={name}").split()
    if inside:
        docker("rm", "--force", *inside, check=False)
    docker("network", "rm", name, check=False)
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={name}-of-").split()
    if volumes:
        docker("volume", "rm", *volumes, check=False)


def test_the_file_of_a_hub_of_docker_compose_runs_without_the_lines_that_are_decided(
    make_brief_hub, network
):
    hub = make_brief_hub(
        compose_site.without_decided_lines(),
        arguments=("--network", network),
        DOCKER_NETWORK_NAME=network,
        DOCKER_NOTEBOOK_IMAGE=STACKS,
        JUPYTERHUB_ADMIN="boss",
        TEST_RUN=RUN,
        TEST_TOKEN=TOKEN,
    )
    assert "c.JupyterHub.spawner_class = DockerSpawner runs, but" in hub.logs()
    hub.start_workspace("ann")
    found = json.loads(docker("inspect", f"{hub.name}-ann"))[0]
    assert list(found["NetworkSettings"]["Networks"]) == [network]
    assert found["Mounts"][0]["Destination"] == "/home/jovyan/work"
    # It asks the hub who comes: by the address that it was told.
    assert hub.request("GET", "/user/ann/api/status")[0] == 200
    status, _, body = hub.request("GET", "/hub/api/users/ann/options-schema")
    assert status == 404
    assert "DockerSpawner knows no workspace options" in json.loads(body)["message"]
    hub.stop_workspace("ann")
    hub.api("DELETE", "users/ann")
    assert "Traceback" not in hub.logs()
