"""What all tests share: paths, and waiting with a deadline."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

# What the tests share says as well what it found in place of what it claims.
pytest.register_assert_rewrite("tests.support")
# Machines that run tests are busy: how long an example takes says nothing about the code.
settings.register_profile("mlhub", deadline=None)
# Of random inputs: ten times as many.
settings.register_profile("full", deadline=None, max_examples=1_000)
settings.load_profile("mlhub")

PATIENCE = 3
DEAREST_PAUSE = 1.0

Result = TypeVar("Result")
PHASES = ("setup", "call", "teardown")
seconds_of_module: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(PHASES, 0.0))
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """Return a function that asks until the answer is true, or fails after a deadline: some times
    the seconds in which a machine that has nothing else to do is through with it.
    """

    def wait(
        question: Callable[[], Result], what: str, seconds: float = 30, every: float = 0.1
    ) -> Result:
        seconds *= PATIENCE
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            asked = time.monotonic()
            answer = question()
            if answer:
                return answer
            now = time.monotonic()
            if now > deadline:
                raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
            # What costs the processor much is asked less often, and leaves it to what is awaited.
            pause.wait(max(every, min(now - asked, DEAREST_PAUSE)))

    return wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of the long tier an hour."""
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what the phases of a module's tests take: a module that is all setup wants to share
    it.
    """
    seconds_of_module[report.nodeid.partition("::")[0]][report.when] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the modules that take longest, and note how many tests were left to the long tier, for
    ./scripts/test to name them at its end.
    """
    rows = sorted(seconds_of_module.items(), key=lambda row: -sum(row[1].values()))
    rows = [row for row in rows if sum(row[1].values()) >= 1]
    if rows:
        terminalreporter.write_line("module: seconds of setup, call, teardown")
    for module, phases in rows:
        terminalreporter.write_line(
            f"{module}: " + " ".join(f"{phases[phase]:.1f}" for phase in PHASES)
        )
    left_out = Counter(
        item.nodeid.partition("::")[0]
        for item in terminalreporter.stats.get("deselected", ())
        if item.get_closest_marker("full")
    )
    if file := os.environ.get("MLHUB_TEST_LEFT_OUT"):
        Path(file).write_text("".join(f"{name} {number}\n" for name, number in left_out.items()))
