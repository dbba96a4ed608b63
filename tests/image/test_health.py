"""What the image's health check says of a hub that starts, works, hangs, and works again."""

from __future__ import annotations

import subprocess

import pytest

from tests.image.conftest import Hub, docker
from tests.image.wire import list_processes

INTERVAL_SECONDS = 10  # of the image's HEALTHCHECK


def ask(hub: Hub) -> tuple[int, str]:
    """Return exit code and output of the check that Docker and the chart run."""
    result = subprocess.run(["docker", "exec", hub.name, "python", "-I", "-m", "mlhub.boot.health"], capture_output=True, text=True)
    return result.returncode, result.stdout.strip()


def read_status(hub: Hub) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", hub.name)


def find_process(hub: Hub, mark: str) -> int:
    return next(entry["pid"] for entry in list_processes(hub) if mark in entry["command"])


@pytest.mark.parametrize(
    ("program", "mark", "sentence"),
    [
        ("hub", "jupyterhub_config.py", "hub does not answer at 127.0.0.1:8081 ("),
        ("chp", "configurable-http-proxy", "chp does not answer at unix:/run/mlhub/chp/public.sock ("),
    ],
)
def test_a_program_that_hangs_is_named_until_it_goes_on(hub, program, mark, sentence):
    assert ask(hub) == (0, "")
    process = find_process(hub, mark)
    hub.exec("sh", "-c", f"kill -STOP {process}")
    try:
        code, output = ask(hub)
        assert code == 1, output
        assert output.startswith(sentence), output
        assert len(output.splitlines()) == 1, output
    finally:
        hub.exec("sh", "-c", f"kill -CONT {process}")
    hub.wait_for(lambda: ask(hub) == (0, ""), f"{program} is healthy again", 30)
    assert find_process(hub, mark) == process


def test_docker_calls_the_container_healthy(hub):
    hub.wait_for(lambda: read_status(hub) == "healthy", "the engine's own check says healthy", 6 * INTERVAL_SECONDS, 0.5)


def test_the_check_follows_the_directory_of_rendered_files(make_brief_hub):
    hub = make_brief_hub(MLHUB_RUN_DIR="/var/tmp/mlhub-run")
    assert ask(hub) == (0, "")
