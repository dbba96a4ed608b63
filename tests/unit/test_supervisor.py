"""Real processes under the supervisor: started again, given up, cleaned up."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from mlhub.boot.supervisor import Program, Supervisor
from mlhub.errors import EXIT_CONFIGURATION

SERVER = """
import os, socket, subprocess, sys, time
path, pids = sys.argv[1], sys.argv[2]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(pids, "a").write(f"{os.getpid()} {child.pid}\\n")
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
while True: server.accept()[0].close()
"""


@pytest.fixture
def lines() -> list[str]:
    return []


def make_server(tmp_path: Path, name: str = "server") -> Program:
    path = tmp_path / f"{name}.sock"
    command = [sys.executable, "-c", SERVER, str(path), str(tmp_path / f"{name}.pids")]
    return Program(name, command, {}, {"name": name, "address": f"unix:{path}"}, [path])


def make_failing(code: int) -> Program:
    return Program("broken", [sys.executable, "-c", f"raise SystemExit({code})"], {}, {"name": "broken", "address": "unix:/nonexistent"})


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def read_pids(tmp_path: Path) -> list[tuple[int, int]]:
    file = tmp_path / "server.pids"
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


def answers(tmp_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(tmp_path / "server.sock")) == 0


async def test_a_killed_program_comes_back_although_its_socket_and_child_were_left_over(tmp_path, lines):
    ready = asyncio.Event()
    supervisor = Supervisor([make_server(tmp_path)], lines.append, ready.set)
    running = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(ready.wait(), 20)
    for round_number in range(1, 6):
        leader, child = read_pids(tmp_path)[-1]
        supervisor.signal("server", signal.SIGKILL)
        await until(lambda n=round_number: len(read_pids(tmp_path)) > n and answers(tmp_path))
        await until(lambda pair=(leader, child): not any(is_alive(pid) for pid in pair))
    supervisor._stopping.set()
    assert await asyncio.wait_for(running, 20) == 0
    await until(lambda: not any(is_alive(pid) for pair in read_pids(tmp_path) for pid in pair))


async def test_a_program_that_can_not_start_ends_the_container_with_a_sentence(lines):
    code = await asyncio.wait_for(Supervisor([make_failing(3)], lines.append).run(), 60)
    assert code == 1
    assert "can not be started" in lines[-1]
    assert "ended with code 3" in lines[-1]


async def test_a_program_that_refuses_its_configuration_is_not_tried_again(lines):
    code = await asyncio.wait_for(Supervisor([make_failing(EXIT_CONFIGURATION)], lines.append).run(), 20)
    assert code == 1
    assert len(lines) == 1
    assert "refuses its configuration" in lines[0]


async def test_a_program_that_is_not_there_ends_the_container_with_a_sentence(lines):
    missing = Program("ghost", ["/nonexistent/ghost"], {}, {"name": "ghost", "address": "unix:/nonexistent"})
    assert await asyncio.wait_for(Supervisor([missing], lines.append).run(), 20) == 1
    assert "ghost can not be started" in lines[-1]


async def test_one_program_that_can_not_start_takes_the_others_down_with_it(tmp_path, lines):
    code = await asyncio.wait_for(Supervisor([make_server(tmp_path), make_failing(EXIT_CONFIGURATION)], lines.append).run(), 20)
    assert code == 1
    await until(lambda: not any(is_alive(pid) for pair in read_pids(tmp_path) for pid in pair))


async def test_ready_is_said_once(tmp_path, lines):
    count = []
    supervisor = Supervisor([make_server(tmp_path)], lines.append, lambda: count.append(1))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: count)
    supervisor.signal("server", signal.SIGKILL)
    await until(lambda: len([line for line in lines if "answers after" in line]) == 2)
    supervisor._stopping.set()
    await running
    assert count == [1]
