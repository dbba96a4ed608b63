"""Keep the programs of this container running: ``python -I -m mlhub.boot.supervisor DESCRIPTOR``.

Each program is the leader of a process group of its own. When it ends, what is left of the group is
killed and its sockets are removed (orphaned nginx workers and stale socket files would block the
next start), and it is started again. A program that cannot start ends the container with a sentence
and a non-zero exit code.

Standard library only, and little of it (typing and pathlib cost half a megabyte each, dataclasses
1.4, asyncio 7): this process stays for as long as the container runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from queue import SimpleQueue

from mlhub.boot.health import check_probe
from mlhub.boot.log import say
from mlhub.boot.watch import Watch, watch_files
from mlhub.errors import EXIT_CONFIGURATION

FAILED_STARTS_UNTIL_FATAL = 5
RESTART_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
STOP_SECONDS = 8.0
LOOK_SECONDS = 0.2
ANSWER_SECONDS = 60.0  # each of them needs less than one


class Program(
    namedtuple(
        "Program",
        "name command environment probe sockets stop_signal umask answer_seconds drain_seconds",
        defaults=((), signal.SIGTERM, 0o077, ANSWER_SECONDS, 0),
    )
):
    """Describe one program: how to start it, what it listens on, how to see that it answers, and
    how soon it has to (None: whenever).

    One with ``drain_seconds`` is told to stop before the others, which it needs, and gets so long
    for connections that are open.
    """

    __slots__ = ()


class Supervisor:
    """Run programs, each in the hands of one thread, until told to stop or until one cannot be
    started.

    ``say`` takes one line of text for the log. ``on_ready`` is called once, when all of them have
    answered.
    """

    def __init__(
        self,
        programs: list[Program],
        say: Callable[[str], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._programs = programs
        self._say = say
        self._on_ready = on_ready
        self._processes: dict[str, subprocess.Popen] = {}
        self._answered: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._exit_codes: SimpleQueue[int] = (
            SimpleQueue()
        )  # the one queue that a signal handler may put into

    def run(self) -> int:
        """Return the container's exit code."""
        keepers = [
            threading.Thread(target=self._keep, args=(program,), daemon=True)
            for program in self._programs
        ]
        for keeper in keepers:
            keeper.start()
        code = self._exit_codes.get()
        with self._lock:  # nothing is started after this
            self._stopping.set()
        if code == 0:
            for program, keeper in zip(self._programs, keepers, strict=True):
                self._drain(program, keeper)
        for program in self._programs:
            self.signal(
                program.name, signal.SIGTERM if program.drain_seconds else program.stop_signal
            )
        deadline = time.monotonic() + STOP_SECONDS
        for program, keeper in zip(self._programs, keepers, strict=True):
            keeper.join(max(0, deadline - time.monotonic()))
            if keeper.is_alive():
                self._say(f"{program.name} did not end within {STOP_SECONDS:.0f} s and is killed")
                self.signal(program.name, signal.SIGKILL)
                keeper.join()
        return code

    def stop(self, code: int = 0) -> None:
        """End everything, and ``run`` with this exit code; may be called from a signal handler."""
        self._exit_codes.put(code)

    def _drain(self, program: Program, keeper: threading.Thread) -> None:
        """Let open connections end by themselves, until the time is over or somebody asks once more
        to stop.
        """
        deadline = time.monotonic() + program.drain_seconds
        if program.drain_seconds:
            self._say(
                f"{program.name} takes no new connections; open ones have"
                f" {program.drain_seconds:.0f} s to end"
            )
            self.signal(program.name, program.stop_signal)
        while keeper.is_alive() and time.monotonic() < deadline and self._exit_codes.empty():
            keeper.join(LOOK_SECONDS)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the program's leader, if it runs."""
        if process := self._processes.get(name):
            process.send_signal(number)

    def _keep(self, program: Program) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                answered, code = self._run_once(program)
            except OSError as error:
                return self._give_up(f"{program.name} cannot be started ({error}).")
            if self._stopping.is_set():
                return
            reason = _describe(code)
            if code == EXIT_CONFIGURATION:
                return self._give_up(
                    f"{program.name} refuses its configuration; the lines above say why."
                )
            # Killed from outside before it answered says nothing about whether it can start.
            was_killed = answered is False and code in (-signal.SIGKILL, -signal.SIGTERM)
            failures = 0 if answered or was_killed else failures + 1
            if failures >= FAILED_STARTS_UNTIL_FATAL:
                return self._give_up(
                    f"{program.name} cannot be started ({reason}, {failures} times in a row). The"
                    " lines above say why."
                )
            self._say(f"{program.name} {reason}; starting it again")
            self._stopping.wait(
                RESTART_SECONDS
                if failures <= 1
                else min(BACK_OFF_SECONDS, RESTART_SECONDS * 4**failures)
            )

    def _run_once(self, program: Program) -> tuple[bool | None, int]:
        """Return whether it answered before it ended (None: it would not, and was killed), and its
        exit code.
        """
        for path in program.sockets:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with self._lock:
            if self._stopping.is_set():
                return False, 0
            process = self._processes[program.name] = subprocess.Popen(
                program.command,
                env=program.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                umask=program.umask,
            )
        answered = self._wait_for_answer(program, process)
        code = process.wait()
        _kill_group(process.pid)
        return answered, code

    def _wait_for_answer(self, program: Program, process: subprocess.Popen) -> bool | None:
        began = time.monotonic()
        while sentence := check_probe(program.probe):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return False
            if (
                program.answer_seconds is not None
                and time.monotonic() - began > program.answer_seconds
            ):
                self._say(
                    f"{sentence} after {program.answer_seconds:.0f} s; {program.name} is killed"
                )
                process.kill()
                return None
        self._say(f"{program.name} answers after {time.monotonic() - began:.1f} s")
        with self._lock:
            before = len(self._answered)
            self._answered.add(program.name)
            if len(self._answered) == len(self._programs) > before:
                self._on_ready()
        return True

    def _give_up(self, sentence: str) -> None:
        self._say(f"{sentence} This container ends now.")
        self.stop(1)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # nothing is left of it
        os.killpg(leader, signal.SIGKILL)


def _describe(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main(arguments: list[str]) -> int:
    """Read what boot hands over through the open file of that number, run it, and return the
    container's exit code.
    """
    with os.fdopen(int(arguments[0])) as file:
        plan = json.load(file)
    supervisor = Supervisor(
        [Program(**program) for program in plan["programs"]], say, lambda: say(plan["ready"])
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    if plan["watch"]:
        threading.Thread(
            target=watch_files,
            args=(Watch(**plan["watch"]),),
            daemon=True,
        ).start()
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
