"""Real processes under the supervisor: started again, given up, cleaned up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlhub.boot.accounts import Account
from mlhub.boot.programs import make_programs
from mlhub.boot.render import make_addresses
from mlhub.boot.supervisor import ANSWER_SECONDS, Program, Supervisor
from mlhub.errors import EXIT_CONFIGURATION
from mlhub.settings import Settings

SERVER = """
import os, signal, socket, subprocess, sys
path, pids = sys.argv[1], sys.argv[2]
signal.signal(signal.SIGHUP, lambda *_: open(pids + ".hup", "a").close())
if "--deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(pids, "a").write(f"{os.getpid()} {child.pid}\\n")
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
while True: server.accept()[0].close()
"""


@pytest.fixture
def lines() -> list[str]:
    return []


class Running:
    """A supervisor at work in a thread of its own; ``code`` is there when it has ended."""

    def __init__(
        self,
        programs: list[Program],
        say: Callable[[str], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.supervisor = Supervisor(programs, say, on_ready)
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    def wait(self, seconds: float = 20) -> int | None:
        self._thread.join(seconds)
        return self.code


@pytest.fixture
def run(lines) -> Iterator[Callable[..., Running]]:
    started = []

    def start(*programs: Program, on_ready: Callable[[], None] = lambda: None) -> Running:
        started.append(Running(list(programs), lines.append, on_ready))
        return started[-1]

    yield start
    for running in started:
        running.supervisor.stop()
        running.wait()


def make_server(tmp_path: Path, name: str = "server", *words: str) -> Program:
    path = tmp_path / f"{name}.sock"
    command = [sys.executable, "-c", SERVER, str(path), str(tmp_path / f"{name}.pids"), *words]
    return Program(name, command, {}, {"name": name, "address": f"unix:{path}"}, [path])


def make_failing(code: int) -> Program:
    return Program(
        "broken",
        [sys.executable, "-c", f"raise SystemExit({code})"],
        {},
        {"name": "broken", "address": "unix:/nonexistent"},
    )


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def read_pids(tmp_path: Path, name: str = "server") -> list[tuple[int, int]]:
    file = tmp_path / f"{name}.pids"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(leader), int(child)) for leader, child in map(str.split, lines)]


def nothing_is_left(tmp_path: Path, name: str = "server") -> bool:
    return not any(is_alive(pid) for pair in read_pids(tmp_path, name) for pid in pair)


def answers(tmp_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(tmp_path / "server.sock")) == 0


def test_a_killed_program_comes_back_although_its_socket_and_child_were_left_over(
    tmp_path, run, wait_for
):
    ready = threading.Event()
    running = run(make_server(tmp_path), on_ready=ready.set)
    assert ready.wait(20)
    for round_number in range(1, 6):
        leader, child = read_pids(tmp_path)[-1]
        running.supervisor.signal("server", signal.SIGKILL)
        wait_for(
            lambda n=round_number: len(read_pids(tmp_path)) > n and answers(tmp_path),
            "it answers again",
            20,
            0.02,
        )
        wait_for(
            lambda pair=(leader, child): not any(map(is_alive, pair)),
            "the former one is gone",
            20,
            0.02,
        )
    running.supervisor.stop()
    assert running.wait() == 0
    wait_for(lambda: nothing_is_left(tmp_path), "nothing is left", 20, 0.02)


def test_a_program_that_can_not_start_ends_the_container_with_a_sentence(run, lines):
    assert run(make_failing(3)).wait(60) == 1
    assert "cannot be started" in lines[-1]
    assert "ended with code 3" in lines[-1]


def test_a_program_that_refuses_its_configuration_is_not_tried_again(run, lines):
    assert run(make_failing(EXIT_CONFIGURATION)).wait() == 1
    assert len(lines) == 1
    assert "refuses its configuration" in lines[0]


def make_late(tmp_path: Path, pause: float, answer_seconds: float | None) -> Program:
    """Return a program that answers only after a pause."""
    program = make_server(tmp_path, "late")
    late = f"import time; time.sleep({pause})\n{program.command[2]}"
    return program._replace(
        command=[sys.executable, "-c", late, *program.command[3:]], answer_seconds=answer_seconds
    )


def test_a_program_that_lives_and_does_not_answer_is_given_up_with_a_sentence(
    tmp_path, run, lines, monkeypatch
):
    monkeypatch.setattr("mlhub.boot.supervisor.BACK_OFF_SECONDS", 0.1)
    assert run(make_late(tmp_path, 600, 0.3)).wait(60) == 1
    assert (
        lines[0]
        == f"late does not answer at unix:{tmp_path}/late.sock (No such file or directory) after 0"
        " s; late is killed"
    )
    assert "late cannot be started (was ended by SIGKILL, 5 times in a row)" in lines[-1]


def test_a_program_without_a_deadline_may_take_its_time(tmp_path, run, lines):
    ready = threading.Event()
    run(make_late(tmp_path, 1, None), make_server(tmp_path, "other"), on_ready=ready.set)
    assert ready.wait(20)
    assert not [line for line in lines if "is killed" in line]


def test_the_hub_alone_has_no_deadline_because_it_may_upgrade_a_database(monkeypatch):
    monkeypatch.setattr(
        "mlhub.boot.programs.find_account", lambda name: Account(name, os.getuid(), os.getgid())
    )
    settings = Settings(start_chp=True)
    programs = make_programs(settings, make_addresses(settings), "token")
    deadlines = {program.name: program.answer_seconds for program in programs}
    assert deadlines == {
        "hub": None,
        "chp": ANSWER_SECONDS,
        "sshd": ANSWER_SECONDS,
        "nginx": ANSWER_SECONDS,
    }


def test_a_program_that_is_not_there_ends_the_container_with_a_sentence(run, lines):
    missing = Program(
        "ghost", ["/nonexistent/ghost"], {}, {"name": "ghost", "address": "unix:/nonexistent"}
    )
    assert run(missing).wait() == 1
    assert "ghost cannot be started" in lines[-1]


def test_one_program_that_can_not_start_takes_the_others_down_with_it(tmp_path, run, wait_for):
    assert run(make_server(tmp_path), make_failing(EXIT_CONFIGURATION)).wait() == 1
    wait_for(lambda: nothing_is_left(tmp_path), "nothing is left", 20, 0.02)


def test_a_program_that_does_not_listen_to_the_stop_signal_is_killed_after_a_while(
    tmp_path, run, lines, wait_for
):
    ready = threading.Event()
    running = run(
        make_server(tmp_path, "server", "--deaf"),
        make_server(tmp_path, "other"),
        on_ready=ready.set,
    )
    assert ready.wait(20)
    running.supervisor.stop()
    assert running.wait() == 0
    assert [line for line in lines if "is killed" in line] == [
        "server did not end within 8 s and is killed"
    ]
    wait_for(lambda: nothing_is_left(tmp_path), "nothing is left", 20, 0.02)
    wait_for(lambda: nothing_is_left(tmp_path, "other"), "nothing is left", 20, 0.02)


def make_drain(folder, seconds: float) -> Program:
    """Return a program that ends, once it is told to, as soon as there is a file ``drained``."""
    script = """
import os, signal, socket, sys, time
path, drained = sys.argv[1:]
told = []
signal.signal(signal.SIGQUIT, lambda *_: told.append(1))
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen(); server.settimeout(0.1)
while not (told and os.path.exists(drained)):
    try: server.accept()[0].close()
    except TimeoutError: pass
"""
    path = folder / "drain.sock"
    command = [sys.executable, "-c", script, str(path), str(folder / "drained")]
    probe = {"name": "drain", "address": f"unix:{path}"}
    return Program(
        "drain", command, {}, probe, [path], stop_signal=signal.SIGQUIT, drain_seconds=seconds
    )


@pytest.fixture
def drain(tmp_path, run, lines, wait_for):
    """Start one program that drains and one that it needs, and tell them to stop."""

    def start(seconds: float) -> Running:
        ready = threading.Event()
        running = run(make_server(tmp_path), make_drain(tmp_path, seconds), on_ready=ready.set)
        assert ready.wait(20)
        running.supervisor.stop()
        wait_for(
            lambda: any("takes no new connections" in line for line in lines), "it drains", 20, 0.02
        )
        return running

    return start


def test_what_others_need_goes_on_until_the_connections_of_those_have_ended(
    tmp_path, drain, wait_for
):
    running = drain(60)
    assert running.wait(1) is None
    assert not nothing_is_left(tmp_path)
    (tmp_path / "drained").touch()
    assert running.wait() == 0
    wait_for(lambda: nothing_is_left(tmp_path), "nothing is left", 20, 0.02)


def test_a_drain_ends_with_its_time(tmp_path, drain, lines):
    assert drain(0.5).wait() == 0
    assert not [line for line in lines if "is killed" in line]


def test_whoever_asks_once_more_to_stop_ends_a_drain(tmp_path, drain):
    running = drain(60)
    running.supervisor.stop()
    assert running.wait(10) == 0


def test_ready_is_said_once(tmp_path, run, lines, wait_for):
    count = []
    running = run(make_server(tmp_path), on_ready=lambda: count.append(1))
    wait_for(lambda: count, "it is ready")
    running.supervisor.signal("server", signal.SIGKILL)
    wait_for(
        lambda: len([line for line in lines if "answers after" in line]) == 2, "it answers again"
    )
    assert count == [1]


@pytest.fixture
def process(tmp_path) -> Iterator[subprocess.Popen]:
    """Return the supervisor as boot starts it: a process that reads its plan from an open file."""
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "cert.crt").write_text("first")
    check = [sys.executable, "-c", "print('looked')"]
    program = make_server(tmp_path, "nginx")._replace(environment={"SECRET": "s3cret"})
    watch = {"folder": str(tmp_path / "watched"), "command": check, "environment": {}}
    descriptor = os.memfd_create("plan", 0)
    os.write(
        descriptor,
        json.dumps(
            {"programs": [program._asdict()], "ready": "Ready now", "watch": watch}, default=str
        ).encode(),
    )
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [sys.executable, "-m", "mlhub.boot.supervisor", str(descriptor)]
    with open(tmp_path / "log", "wb") as log:
        running = subprocess.Popen(
            command, pass_fds=[descriptor], stdout=log, cwd=Path(__file__).parents[2]
        )
    os.close(descriptor)
    yield running
    running.terminate()
    running.wait(20)


def test_the_process_keeps_secrets_to_its_programs_and_ends_with_0_when_told_to(
    tmp_path, process, wait_for
):
    wait_for(lambda: "Ready now" in (tmp_path / "log").read_text(), "it is ready")
    own, leader = Path(f"/proc/{process.pid}"), read_pids(tmp_path, "nginx")[0][0]
    assert b"s3cret" in Path(f"/proc/{leader}/environ").read_bytes()
    assert b"s3cret" not in (own / "cmdline").read_bytes() + (own / "environ").read_bytes()
    assert not any(
        "memfd:plan" in os.readlink(file)
        for pid in (own, Path(f"/proc/{leader}"))
        for file in (pid / "fd").iterdir()
    )
    process.terminate()
    assert process.wait(20) == 0
    wait_for(lambda: nothing_is_left(tmp_path, "nginx"), "nothing is left", 20, 0.02)


def test_changed_files_are_looked_at_each_time_and_nginx_is_left_alone(tmp_path, process, wait_for):
    wait_for(lambda: "Ready now" in (tmp_path / "log").read_text(), "it is ready")
    for count, name in enumerate(("cert.crt", "another.crt"), 1):
        (tmp_path / "watched" / name).write_text("changed")
        wait_for(
            lambda n=count: (tmp_path / "log").read_text().count("looked") == n,
            "the change was looked at",
        )
    assert not (tmp_path / "nginx.pids.hup").exists()


def test_the_process_stays_small(tmp_path, process, wait_for):
    wait_for(lambda: "Ready now" in (tmp_path / "log").read_text(), "it is ready")
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
    assert own < 10_000, f"{own} kB: does it import more than it needs?"
