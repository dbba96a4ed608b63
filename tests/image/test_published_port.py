"""The published port answers each connection while new people come, wherever a hub's container is:
each start gives it one more network, and an engine may move the port there.
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_container import (
    CONFIG,
    IMAGE,
    RUN,
    Hub,
    HubMaker,
    docker,
    list_source_mounts,
)
from tests.support.knocking import knocking
from tests.support.names import make_hub_name

pytestmark = pytest.mark.full
PEOPLE_OF_EACH = 10


@pytest.fixture
def on_the_default_network(make_brief_hub: HubMaker) -> list[Hub]:
    return [make_brief_hub() for _ in range(2)]


@pytest.fixture
def networks_of_the_sites() -> Iterator[list[str]]:
    """Return networks of two names, one of which sorts behind what people call theirs."""
    names = [f"{prefix}-{secrets.token_hex(3)}" for prefix in ("aaa", "web")]
    for name in names:
        docker("network", "create", "--label", f"mlhub.test={RUN}", name)
    yield names
    for name in names:
        docker("network", "rm", name, check=False)


@pytest.fixture
def on_networks_of_the_sites(
    networks_of_the_sites: list[str], make_brief_hub: HubMaker
) -> list[Hub]:
    return [make_brief_hub(arguments=("--network", name)) for name in networks_of_the_sites]


@pytest.fixture
def in_two_projects_of_compose(tmp_path: Path, wait_for: Any) -> Iterator[list[Hub]]:
    """Return the hubs of two projects, each with the network that Docker Compose makes for it."""
    hubs, projects = [], []
    for prefix in ("app", "web"):
        folder = tmp_path / f"{prefix}{secrets.token_hex(2)}"
        folder.mkdir()
        (folder / "config.py").write_text(CONFIG)
        name = make_hub_name()
        mounts = list_source_mounts()[1::2]
        hub = {
            "image": IMAGE,
            "container_name": name,
            "ports": ["127.0.0.1::8080"],
            "environment": {"HUB_NAME": name, "MLHUB_HOST_GUARD": "false"},
            "labels": {"mlhub.test": RUN},
            "volumes": [
                "/var/run/docker.sock:/var/run/docker.sock",
                f"{folder}/config.py:/resources/jupyterhub_user_config.py:ro",
                "data:/data",
                *mounts,
            ],
        }
        file = folder / "docker-compose.yml"
        # JSON is YAML.
        file.write_text(
            json.dumps({"version": "2.4", "services": {"hub": hub}, "volumes": {"data": {}}})
        )
        projects.append(["docker-compose", "--file", str(file), "--project-name", folder.name])
        subprocess.run([*projects[-1], "up", "--detach"], check=True, capture_output=True)
        hubs.append(Hub(name, [], wait_for))
        hubs[-1].read_port()
    for hub in hubs:
        hub.wait_until_ready()
    yield hubs
    for hub in hubs:
        hub.remove()
    for project in projects:
        subprocess.run([*project, "down", "--volumes"], check=False, capture_output=True)


@contextmanager
def asking(port: int) -> Iterator[list[Exception]]:
    """Ask over one connection that stays open, twice a second; yield what broke it."""
    broken: list[Exception] = []
    enough = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        connection.auto_open = 0
        try:
            while not enough.wait(0.5):
                connection.request("GET", "/hub/health")
                assert connection.getresponse().read() is not None
        except (OSError, http.client.HTTPException) as error:
            broken.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield broken
    finally:
        enough.set()
        thread.join()


@pytest.mark.parametrize(
    "place", ["on_the_default_network", "on_networks_of_the_sites", "in_two_projects_of_compose"]
)
def test_it_answers_while_twenty_new_people_start(place: str, request: pytest.FixtureRequest):
    hubs = request.getfixturevalue(place)
    ports = [hub.port for hub in hubs]
    people = [(hub, f"new{number}") for number in range(PEOPLE_OF_EACH) for hub in hubs]
    with knocking(*ports) as (answered, refused), ExitStack() as kept:
        broken = [kept.enter_context(asking(port)) for port in ports]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: each[0].start_workspace(each[1]), people))
        # Each is in a network of its own by now, and so is its hub.
        for hub in hubs:
            networks = docker("inspect", "--format", "{{len .NetworkSettings.Networks}}", hub.name)
            assert int(networks) > PEOPLE_OF_EACH
    assert min(answered.count(port) for port in ports) > 100
    assert refused == []
    assert broken == [[], []]
