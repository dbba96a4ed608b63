"""What the image's health check says of a hub that starts, works, hangs, and works again."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.hub_container import Hub, docker
from tests.support.wire import list_processes

INTERVAL_SECONDS = 10  # of the image's HEALTHCHECK


def ask(hub: Hub) -> tuple[int, str]:
    """Return exit code and output of the check that Docker and the chart run."""
    result = subprocess.run(
        ["docker", "exec", hub.name, "python", "-I", "-m", "mlhub.boot.health"],
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stdout.strip()


def read_status(hub: Hub) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", hub.name)


def find_processes(hub: Hub, mark: str) -> list[int]:
    return [entry["pid"] for entry in list_processes(hub) if mark in entry["command"]]


@pytest.mark.parametrize(
    ("program", "mark", "sentence"),
    [
        ("hub", "jupyterhub_config.py", "hub does not answer at 127.0.0.1:8081 ("),
        ("nginx", "nginx: worker", "nginx does not answer at 127.0.0.1:8080 ("),
    ],
)
def test_a_program_that_hangs_is_named_until_it_goes_on(hub, program, mark, sentence):
    assert ask(hub) == (0, "")
    processes = find_processes(hub, mark)
    numbers = " ".join(map(str, processes))
    hub.exec("sh", "-c", f"kill -STOP {numbers}")
    try:
        code, output = ask(hub)
        assert code == 1, output
        assert output.startswith(sentence), output
        assert len(output.splitlines()) == 1, output
    finally:
        hub.exec("sh", "-c", f"kill -CONT {numbers}")
    hub.wait_for(lambda: ask(hub) == (0, ""), f"{program} is healthy again", 30)
    assert find_processes(hub, mark) == processes


def test_docker_calls_the_container_healthy_by_the_rendered_files_of_another_directory(
    make_brief_hub,
):
    hub = make_brief_hub(health_check=True, MLHUB_RUN_DIR="/var/tmp/mlhub-run")
    assert ask(hub) == (0, "")
    hub.wait_for(
        lambda: read_status(hub) == "healthy",
        "the engine's own check says healthy",
        6 * INTERVAL_SECONDS,
        0.5,
    )
