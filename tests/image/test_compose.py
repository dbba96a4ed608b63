"""docker/compose.yaml, each way that it has, with real Docker Compose."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import make_pair
from tests.support.hub_container import CONFIG, IMAGE, ROOT, RUN, Hub, docker, list_source_mounts
from tests.support.names import make_hub_name

pytestmark = pytest.mark.full
POSTGRES = "mlhub-test-postgres:latest"
DATABASE = """
import os
if os.environ.get("DATABASE_URL"):
    c.JupyterHub.db_url = os.environ["DATABASE_URL"]
"""
HUBS = {"alone": "hub", "postgres": "hub-postgres", "proxy": "hub-behind", "filter": "hub-filtered"}


class Project:
    """One project of Docker Compose, made from the file of this repository."""

    def __init__(self, way: str, folder: Path, wait_for: Callable[..., Any]) -> None:
        self.way, self.folder = way, folder
        self.name = make_hub_name()
        (folder / "config.py").write_text(CONFIG + DATABASE)
        (folder / "extra.json").write_text(json.dumps(self.make_extra()))
        subnet = f"192.168.{secrets.randbelow(100) + 100}.0/28"
        self.environment = {
            **os.environ,
            "HUB_NAME": self.name,
            "MLHUB_IMAGE": IMAGE,
            "MLHUB_PORT": "127.0.0.1:0",
            "MLHUB_DATA_VOLUME": f"{self.name}-data",
            "MLHUB_USER_CONFIG": str(folder / "config.py"),
            "MLHUB_SSL_DIR": str(folder / "certificate"),
            "MLHUB_FRONT_SUBNET": subnet,
            "POSTGRES_IMAGE": POSTGRES,
            "POSTGRES_PASSWORD": "a-password",
        }
        self.hub = Hub(self.name, [], wait_for)

    def make_extra(self) -> dict[str, Any]:
        """Label what the test makes, and start our own database server as its image wants it."""
        mounts = list_source_mounts()[1::2]
        environment = {"MLHUB_HOST_GUARD": "false"}
        hub = {"labels": {"mlhub.test": RUN}, "volumes": mounts, "environment": environment}
        services: dict[str, Any] = {HUBS[self.way]: hub}
        if self.way == "postgres":
            services["database"] = {"environment": {"PASSWORD": "a-password"}}
        return {"version": "3.8", "services": services}

    def run(self, *words: str, check: bool = True) -> str:
        """Run Docker Compose."""
        files = [
            "--file",
            str(ROOT / "docker/compose.yaml"),
            "--file",
            str(self.folder / "extra.json"),
        ]
        names = ["--project-name", self.name, "--project-directory", str(ROOT / "docker")]
        result = subprocess.run(
            ["docker-compose", *files, *names, "--profile", self.way, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or result.returncode == 0, result.stderr
        return result.stdout

    def find_port(self, service: str, port: int) -> int:
        """Return the port of the host that leads to a service."""
        return int(self.run("port", service, str(port)).strip().rpartition(":")[2])


@pytest.fixture
def start(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Callable[[str], Project]]:
    """Return a function that starts the file in one of its ways."""
    projects: list[Project] = []

    def begin(way: str) -> Project:
        project = Project(way, tmp_path, wait_for)
        projects.append(project)
        if way == "proxy":
            make_pair(tmp_path / "certificate")
        project.run("up", "--detach")
        return project

    yield begin
    for project in projects:
        project.hub.remove()
        project.run("down", "--volumes", check=False)


@pytest.mark.parametrize("way", ["alone", "postgres", "filter"])
def test_a_person_starts_a_workspace(start, way):
    project = start(way)
    hub = project.hub
    hub.port = project.find_port(HUBS[way], 8080)
    hub.wait_until_ready()
    hub.start_workspace("ann")
    assert hub.request("GET", "/user/ann/api/status")[0] == 200
    url = docker("exec", hub.name, "printenv", "DATABASE_URL", check=False)
    assert ("postgresql" in url) is (way == "postgres")
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", hub.name))
    has_socket = any(mount["Destination"] == "/var/run/docker.sock" for mount in mounts)
    assert has_socket is (way != "filter")
    if way == "postgres":
        assert not docker(
            "exec", hub.name, "sh", "-c", "ls /data/*.sqlite", check=False
        ).startswith("/")
    hub.stop_workspace("ann")


def test_tls_ends_in_front(start):
    project = start("proxy")
    hub = project.hub
    hub.scheme, hub.port = "https", project.find_port("proxy", 8443)
    hub.wait_until_ready()
    status, headers, _ = hub.request("GET", "/hub/login", headers={"X-Forwarded-Proto": "http"})
    assert status == 200
    cookies = [value for name, value in headers.items() if name.lower() == "set-cookie"]
    assert all("secure" in cookie.lower() for cookie in cookies)
    assert docker("port", hub.name) == ""
