"""Every program is killed again and again; it comes back, what others hold open stays open, and nothing piles up."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter

import pytest

from tests.image.conftest import Hub, docker
from tests.image.wire import Echo, Load, is_answered, list_processes

TIMES = 20
BACK_SECONDS = 3.0
HUB_BACK_SECONDS = 40.0
PATTERNS = {
    "boot": r"-m mlhub\.boot\.supervisor \d+$",
    "hub": r"jupyterhub_config\.py",
    "chp": r"configurable-http-proxy ",
    "sshd": r"sshd: .*\[listener\]",
    "nginx": r"nginx: master process",
    "worker": r"nginx: worker process(?! is)",
}


@pytest.fixture(scope="module")
def busy_hub(hub: Hub) -> Hub:
    """Return a hub with one workspace; a restart of the hub must be the only reason for a pause."""
    hub.start_workspace("ann")
    return hub


def find(hub: Hub, program: str) -> list[int]:
    return [entry["pid"] for entry in list_processes(hub) if re.search(PATTERNS[program], entry["command"])]


def kill(hub: Hub, program: str) -> None:
    hub.exec("sh", "-c", f"kill -9 {find(hub, program)[0]}")


def count_programs(hub: Hub) -> Counter[str]:
    processes = list_processes(hub)
    counted = Counter({name: sum(bool(re.search(pattern, entry["command"])) for entry in processes) for name, pattern in PATTERNS.items()})
    counted["zombies"] = sum(entry["state"] == "Z" for entry in processes)
    counted["orphans"] = sum("is shutting down" in entry["command"] for entry in processes)
    return counted


def workspace_answers(hub: Hub) -> bool:
    return is_answered(hub.port, "/user/ann/api")


def banner_answers(hub: Hub) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", hub.port), timeout=3) as connection:
            connection.sendall(b"SSH-2.0-test\r\n")
            return connection.recv(16).startswith(b"SSH-2.0-OpenSSH")
    except OSError:
        return False


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def assert_settled(hub: Hub, before: Counter[str]) -> None:
    hub.wait_for(lambda: count_programs(hub) == before, f"only what ran before runs: {before}", 15)
    hub.wait_until_ready(20)
    assert docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", hub.name) == "running 0"


@pytest.mark.parametrize(
    ("program", "answers"),
    [("sshd", banner_answers), ("nginx", workspace_answers), ("worker", workspace_answers), ("chp", workspace_answers)],
)
def test_a_killed_program_answers_again_within_seconds(busy_hub, wait_for, program, answers):
    before = count_programs(busy_hub)
    slowest = 0.0
    with Load(lambda: answers(busy_hub)) as load:
        for _ in range(TIMES):
            old = find(busy_hub, program)
            kill(busy_hub, program)
            began = time.monotonic()
            wait_for(lambda: answers(busy_hub), f"{program} answers after a kill", 10, 0.02)
            slowest = max(slowest, time.monotonic() - began)
            wait_for(lambda old=old: set(find(busy_hub, program)) - set(old), f"{program} runs as another process", 10)
            wait_for(lambda: answers(busy_hub), f"{program} answers again", 10, 0.02)
            slowest = max(slowest, load.longest_gap_seconds)
    assert slowest < BACK_SECONDS
    assert load.good > TIMES
    assert_settled(busy_hub, before)


def test_workspaces_go_on_while_the_hub_is_killed(busy_hub, wait_for):
    before = count_programs(busy_hub)
    echo = Echo(busy_hub.port, "/user/ann/echo")
    with Load(lambda: workspace_answers(busy_hub)) as load:
        for number in range(TIMES):
            kill(busy_hub, "hub")
            assert echo.is_alive()
            if number % 2:  # every other time while it is starting
                wait_for(lambda: find(busy_hub, "hub"), "the hub is starting", 10)
                continue
            wait_for(lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS)
            assert echo.is_alive()
        wait_for(lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS)
    assert echo.is_alive()
    echo.close()
    assert load.bad == 0
    assert load.longest_gap_seconds < BACK_SECONDS
    assert_settled(busy_hub, before)
    assert busy_hub.is_workspace_ready("ann")


def test_while_the_hub_is_away_its_pages_say_so_and_ask_again(busy_hub, wait_for):
    kill(busy_hub, "hub")
    status, headers, body = busy_hub.request("GET", "/hub/home", headers={"Accept": "text/html"})
    assert status in (502, 503)
    assert b"moment" in body
    assert b"<title>" in body
    assert headers["server"] == "nginx"
    wait_for(lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS)


def test_a_connection_survives_a_kill_of_the_programs_that_it_does_not_go_through(busy_hub, wait_for):
    echo = Echo(busy_hub.port, "/user/ann/echo")
    kill(busy_hub, "sshd")
    assert echo.is_alive()
    echo.close()
    wait_for(lambda: banner_answers(busy_hub), "sshd answers", 10)
    with socket.create_connection(("127.0.0.1", busy_hub.port), timeout=2) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(4096)
        kill(busy_hub, "chp")
        kill(busy_hub, "hub")
        with pytest.raises(TimeoutError):  # silence, not an end
            read_to_the_end(connection)
    wait_for(lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS)


def test_memory_and_processes_are_what_they_were_before_all_kills(busy_hub):
    memory = dict.fromkeys(PATTERNS, 0)
    for entry in list_processes(busy_hub):
        for name, pattern in PATTERNS.items():
            if re.search(pattern, entry["command"]):
                memory[name] = max(memory[name], entry["kilobytes"])
    assert memory["boot"] < 20_000, memory
    assert sum(memory.values()) < 600_000, memory
    assert len(list_processes(busy_hub)) < 15
