"""Every program is killed again and again; it comes back, what others hold open stays open, and
nothing piles up.
"""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.hub_container import CONFIG, Hub, HubMaker, docker
from tests.support.wire import Echo, Load, is_answered, list_processes

# How often a program is killed: a few times in the gate, and a storm of kills in the long tier.
TIMES = pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.full)])
# A machine that is busy with other tests has half a processor for it.
BACK_SECONDS = 10.0
HUB_BACK_SECONDS = 40.0
PATTERNS = {
    "boot": r"-m mlhub\.boot\.supervisor \d+$",
    "hub": r"jupyterhub_config\.py",
    "chp": r"configurable-http-proxy ",
    "sshd": r"sshd: .*\[listener\]",
    "nginx": r"nginx: master process",
    "worker": r"nginx: worker process(?! is)",
}


LASTING = (
    CONFIG + 'c.Spawner.cmd = ["sh", "-c", "while true; do jupyterhub-singleuser; sleep 6; done"]\n'
)


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Hub:
    """Return a hub whose workspaces come back by themselves, seconds after their server ended."""
    return make_hub(LASTING)


@pytest.fixture(scope="module")
def busy_hub(hub: Hub) -> Hub:
    """Return a hub with one workspace; a restart of the hub must be the only reason for a pause."""
    hub.start_workspace("ann")
    return hub


@pytest.fixture(scope="module")
def chp_hub(make_hub: HubMaker) -> Hub:
    """Return the same with configurable-http-proxy behind nginx."""
    hub = make_hub(LASTING, START_CHP="true")
    hub.start_workspace("ann")
    return hub


def find(hub: Hub, program: str) -> list[int]:
    return [
        entry["pid"]
        for entry in list_processes(hub)
        if re.search(PATTERNS[program], entry["command"])
    ]


def kill(hub: Hub, program: str) -> None:
    hub.exec("sh", "-c", f"kill -9 {find(hub, program)[0]}")


def count_programs(hub: Hub) -> Counter[str]:
    processes = list_processes(hub)
    counted = Counter(
        {
            name: sum(bool(re.search(pattern, entry["command"])) for entry in processes)
            for name, pattern in PATTERNS.items()
        }
    )
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
    assert (
        docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", hub.name)
        == "running 0"
    )


def kill_again_and_again(
    hub: Hub, program: str, answers: Callable[[Hub], bool], load: Load, times: int
) -> None:
    """Kill a program under load, each time when it is back; check that nobody waited long."""
    before = count_programs(hub)
    slowest = 0.0
    for _ in range(times):
        old = find(hub, program)
        kill(hub, program)
        began = time.monotonic()
        hub.wait_for(lambda: answers(hub), f"{program} answers after a kill", 10, 0.02)
        slowest = max(slowest, time.monotonic() - began)
        hub.wait_for(
            lambda old=old: set(find(hub, program)) - set(old),
            f"{program} runs as another process",
            10,
        )
        hub.wait_for(lambda: answers(hub), f"{program} answers again", 10, 0.02)
    assert max(slowest, load.longest_wait_seconds) < BACK_SECONDS
    assert load.good > times * load.clients
    assert_settled(hub, before)


@TIMES
@pytest.mark.parametrize(
    ("fixture", "program"),
    [
        ("busy_hub", "nginx"),
        ("busy_hub", "worker"),
        pytest.param("chp_hub", "chp", marks=pytest.mark.full),
    ],
)
def test_a_killed_program_answers_again_within_seconds(request, fixture, program, times):
    hub = request.getfixturevalue(fixture)
    with Load(lambda: workspace_answers(hub)) as load:
        kill_again_and_again(hub, program, workspace_answers, load, times)


@TIMES
def test_a_killed_sshd_answers_again_within_seconds_and_pages_do_not_notice(busy_hub, times):
    # One client alone: twenty of one address that come and never sign in are what sshd's penalties
    # shut out.
    with (
        Load(lambda: workspace_answers(busy_hub)) as others,
        Load(lambda: banner_answers(busy_hub), clients=1) as load,
    ):
        kill_again_and_again(busy_hub, "sshd", banner_answers, load, times)
    assert others.bad == 0
    assert others.good > times * others.clients


@TIMES
def test_workspaces_go_on_while_the_hub_is_killed(busy_hub, wait_for, times):
    before = count_programs(busy_hub)
    echo = Echo(busy_hub.port, "/user/ann/echo")
    with Load(lambda: workspace_answers(busy_hub)) as load:
        for number in range(times):
            kill(busy_hub, "hub")
            assert echo.is_alive()
            if number % 2:  # every other time while it is starting
                wait_for(lambda: find(busy_hub, "hub"), "the hub is starting", 10)
                continue
            wait_for(
                lambda: is_answered(busy_hub.port, "/hub/login"),
                "the hub answers",
                HUB_BACK_SECONDS,
            )
            assert echo.is_alive()
        wait_for(
            lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS
        )
    assert echo.is_alive()
    echo.close()
    assert load.bad == 0
    assert load.good > times * load.clients
    assert load.longest_wait_seconds < BACK_SECONDS
    assert_settled(busy_hub, before)
    assert busy_hub.is_workspace_ready("ann")


def assert_asks_again(
    answer: tuple[int, dict[str, str], bytes], status: int, sentence: str
) -> None:
    """Check that this is our own page, which says what is going on and asks again by itself."""
    _, headers, body = answer
    page = body.decode()
    assert answer[0] == status
    assert headers["content-type"].startswith("text/html")
    assert headers["server"] == "nginx"
    assert "<title>One moment " in page
    assert sentence in page
    assert '<meta http-equiv="refresh" content="2">' in page


def test_while_the_hub_is_away_its_pages_say_so_and_ask_again(busy_hub, wait_for):
    kill(busy_hub, "hub")
    answer = busy_hub.request("GET", "/hub/home", headers={"Accept": "text/html"})
    assert_asks_again(answer, 503, "This workspace or the hub does not answer yet.")
    german = {"Accept": "text/html", "Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}
    assert (
        "<title>Einen Moment " in busy_hub.request("GET", "/hub/home", headers=german)[2].decode()
    )
    wait_for(lambda: is_answered(busy_hub.port, "/hub/login"), "the hub answers", HUB_BACK_SECONDS)


@pytest.mark.full
def test_while_the_proxy_is_away_pages_say_so_and_ask_again(chp_hub, wait_for):
    def catch_it_away() -> tuple[int, dict[str, str], bytes] | None:
        wait_for(lambda: workspace_answers(chp_hub), "the workspace answers", 10)
        kill(chp_hub, "chp")
        answer = chp_hub.request("GET", "/user/ann/", headers={"Accept": "text/html"})
        return answer if answer[0] == 502 else None  # it is away for half a second only

    answer = wait_for(catch_it_away, "a page of nginx's own", 30)
    assert_asks_again(answer, 502, "MLHub is starting.")
    assert answer[1]["retry-after"] == "2"
    wait_for(lambda: workspace_answers(chp_hub), "the workspace answers", 10)


def test_while_a_workspace_is_away_its_pages_say_so_and_ask_again(busy_hub, wait_for):
    busy_hub.start_workspace("eve")
    headers = {**busy_hub.headers, "Accept": "text/html"}
    assert busy_hub.request("GET", "/user/eve/", headers=headers)[0] == 200
    for path in ("/user/eve/exit/1", "/user/eve/"):  # in the middle of a request, and before one
        assert_asks_again(
            busy_hub.request("GET", path, headers=headers),
            503,
            "This workspace or the hub does not answer yet.",
        )
    assert workspace_answers(busy_hub)  # ann's does
    wait_for(
        lambda: busy_hub.request("GET", "/user/eve/", headers=headers)[0] == 200,
        "the workspace is back",
        30,
    )
    busy_hub.stop_workspace("eve")


def test_a_connection_survives_a_kill_of_the_programs_that_it_does_not_go_through(
    busy_hub, wait_for
):
    echo = Echo(busy_hub.port, "/user/ann/echo")
    kill(busy_hub, "sshd")
    assert echo.is_alive()
    echo.close()
    wait_for(lambda: banner_answers(busy_hub), "sshd answers", 10)
    with socket.create_connection(("127.0.0.1", busy_hub.port), timeout=2) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(4096)
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
