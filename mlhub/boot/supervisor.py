"""Keep the programs of this container running.

Each program is the leader of a process group of its own. When it ends, what is left of the group is killed and
its sockets are removed (orphaned nginx workers and stale socket files would block the next start), and it is
started again. A program that can not start ends the container with a sentence and a non-zero exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mlhub.boot.health import check_probe
from mlhub.errors import EXIT_CONFIGURATION

FAILED_STARTS_UNTIL_FATAL = 5
RESTART_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
STOP_SECONDS = 8.0


@dataclass
class Program:
    """Describe one program: how to start it, what it listens on, how to see that it answers."""

    name: str
    command: list[str]
    environment: dict[str, str]
    probe: dict
    sockets: list[Path] = field(default_factory=list)
    stop_signal: signal.Signals = signal.SIGTERM
    umask: int = 0o077


class Supervisor:
    """Run programs until told to stop or until one can not be started.

    ``say`` takes one line of text for the log. ``on_ready`` is called once, when all of them have answered.
    """

    def __init__(self, programs: list[Program], say: Callable[[str], None], on_ready: Callable[[], None] = lambda: None) -> None:
        self._programs = programs
        self._say = say
        self._on_ready = on_ready
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._answered: set[str] = set()
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Return the container's exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]
        await self._stopping.wait()
        await asyncio.gather(*(self._stop(program) for program in self._programs))
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        return self._exit_code

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the program's leader, if it runs."""
        process = self._processes.get(name)
        if process and process.returncode is None:
            process.send_signal(number)

    async def _keep(self, program: Program) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                answered, code = await self._run_once(program)
            except OSError as error:
                return self._give_up(f"{program.name} can not be started ({error}).")
            if self._stopping.is_set():
                return
            reason = _describe(code)
            if code == EXIT_CONFIGURATION:
                return self._give_up(f"{program.name} refuses its configuration; the lines above say why.")
            # Killed from outside before it answered says nothing about whether it can start.
            failures = 0 if answered or code in (-signal.SIGKILL, -signal.SIGTERM) else failures + 1
            if failures >= FAILED_STARTS_UNTIL_FATAL:
                return self._give_up(f"{program.name} can not be started ({reason}, {failures} times in a row). The lines above say why.")
            self._say(f"{program.name} {reason}; starting it again")
            await asyncio.sleep(RESTART_SECONDS if failures <= 1 else min(BACK_OFF_SECONDS, RESTART_SECONDS * 4**failures))

    async def _run_once(self, program: Program) -> tuple[bool, int]:
        for path in program.sockets:
            path.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *program.command, env=program.environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, umask=program.umask
        )
        self._processes[program.name] = process
        watcher = asyncio.create_task(self._watch_answer(program))
        try:
            code = await process.wait()
        finally:
            answered = watcher.done() and not watcher.cancelled()
            watcher.cancel()
            _kill_group(process.pid)
        return answered, code

    async def _watch_answer(self, program: Program) -> None:
        began = time.monotonic()
        while await asyncio.to_thread(check_probe, program.probe):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.1)
        self._say(f"{program.name} answers after {time.monotonic() - began:.1f} s")
        before = len(self._answered)
        self._answered.add(program.name)
        if len(self._answered) == len(self._programs) > before:
            self._on_ready()

    async def _stop(self, program: Program) -> None:
        process = self._processes.get(program.name)
        if process is None or process.returncode is not None:
            return
        process.send_signal(program.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._say(f"{program.name} did not end within {STOP_SECONDS:.0f} s and is killed")
        _kill_group(process.pid)

    def _give_up(self, sentence: str) -> None:
        self._say(f"{sentence} This container ends now.")
        self._exit_code = 1
        self._stopping.set()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # nothing is left of it
        os.killpg(leader, signal.SIGKILL)


def _describe(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
