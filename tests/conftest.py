"""What all tests share: paths, and waiting with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

# Machines that run tests are busy: how long an example takes says nothing about the code.
settings.register_profile("mlhub", deadline=None)
settings.load_profile("mlhub")

Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """Return a function that asks until the answer is true, or fails after a deadline."""

    def wait(question: Callable[[], Result], what: str, seconds: float = 30, every: float = 0.1) -> Result:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
            pause.wait(every)

    return wait
