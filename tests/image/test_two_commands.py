"""`./scripts/up` and its companions, as the README tells them."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


class Deployment:
    def __init__(self) -> None:
        self.name, self.port = "u" + secrets.token_hex(2), find_free_port()
        self.environment = {
            name: value for name, value in os.environ.items() if name not in ("HUB_NAME", "DOCKER_HOST") and not name.startswith("MLHUB_")
        }
        self.environment |= {"HUB_NAME": self.name, "MLHUB_PORT": str(self.port)}

    def run(self, script: str, *arguments: str, code: int | None = 0, **environment: str) -> str:
        result = subprocess.run(
            [f"./scripts/{script}", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        output = result.stdout + result.stderr
        assert code is None or result.returncode == code, output
        return output

    def inspect(self, template: str) -> str:
        return subprocess.run(["docker", "inspect", "--format", template, self.name], capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    one = Deployment()
    yield one
    one.run("down", "--purge", code=None)


def test_up_ends_with_the_address_and_the_one_time_link(deployment):
    output = deployment.run("up", MLHUB_HOSTNAMES="hub.example")
    assert f"MLHub answers at http://hub.example:{deployment.port}/" in output
    assert re.search(r"this link works once\): http://hub\.example:\d+/hub/signup\?setup=\S{20,}", output)


def test_up_again_changes_nothing_that_runs(deployment):
    before = deployment.inspect("{{.Id}} {{.State.StartedAt}}")
    output = deployment.run("up", MLHUB_HOSTNAMES="hub.example")
    assert "runs already" in output
    assert deployment.inspect("{{.Id}} {{.State.StartedAt}}") == before


def test_changed_variables_reach_the_hub_and_the_data_stays(deployment):
    link = re.search(r"setup=(\S+)", deployment.run("up", MLHUB_HOSTNAMES="hub.example"))
    output = deployment.run("up", SSL_ENABLED="true", CLEANUP_INTERVAL_SECONDS="77")
    assert f"https://localhost:{deployment.port}/" in output
    assert link
    assert link[1] in output
    assert "CLEANUP_INTERVAL_SECONDS=77" in deployment.inspect("{{.Config.Env}}")


def test_a_password_is_handed_over_without_appearing_in_a_command_line(deployment, tmp_path):
    file = tmp_path / "password"
    file.write_text("a long enough passphrase")
    deployment.run("up", MLHUB_ADMIN_PASSWORD_FILE=str(file))
    shown = deployment.inspect("{{.Config.Env}} {{.Config.Cmd}} {{.Args}}")
    assert "a long enough passphrase" not in shown
    assert "MLHUB_ADMIN_PASSWORD_FILE=/run/secrets/mlhub_admin_password" in shown


def test_status_says_what_runs(deployment):
    output = deployment.run("status")
    for word in ("running", "hub: answers", "nginx: answers", "chp: answers", "sshd: answers", "workspaces: none"):
        assert word in output


def test_down_keeps_the_data_and_purge_does_not(deployment):
    volume = f"jupyterhub_data_{deployment.name}"
    deployment.run("down")
    assert deployment.inspect("{{.Id}}") == ""
    assert subprocess.run(["docker", "volume", "inspect", volume], capture_output=True).returncode == 0
    deployment.run("down", "--purge")
    assert subprocess.run(["docker", "volume", "inspect", volume], capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:2375"}, "not a local socket"),
        ({"DOCKER_TLS_VERIFY": "1"}, "DOCKER_TLS_VERIFY='1'"),
        ({"MLHUB_PORT": "http"}, "MLHUB_PORT='http' is not a port"),
        ({"HUB_NAME": "my_hub"}, "HUB_NAME='my_hub' is not a DNS label"),
        ({"MLHUB_USER_CONFIG": "/nowhere.py"}, "/nowhere.py' is not a file"),
    ],
)
def test_what_can_not_work_is_refused_with_a_sentence(deployment, environment, sentence):
    try:
        output = deployment.run("up", code=1, **environment)
    finally:
        if "HUB_NAME" in environment:
            deployment.run("down", "--purge", **environment)
    assert sentence in output
    assert "Traceback" not in output


def test_a_taken_port_is_named(deployment):
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        output = deployment.run("up", code=1, MLHUB_PORT=str(port), HUB_NAME="u" + secrets.token_hex(2))
    assert f"MLHUB_PORT={port} is taken" in output


def test_an_unknown_option_is_refused(deployment):
    assert "--all is not an option" in deployment.run("down", "--all", code=1)
