"""Time as a machine has it that does nothing else."""

from __future__ import annotations

import pytest

from tests.support import pace
from tests.support.pace import Stopwatch

TOLD = "some avg10=1.00 avg60=2.00 avg300=3.00 total={}\nfull avg10=0.00 total=7\n"


@pytest.fixture
def pressure(monkeypatch, tmp_path):
    monkeypatch.setattr(pace, "PRESSURE", tmp_path / "cpu")
    return tmp_path / "cpu"


def test_what_others_took_does_not_count_and_all_else_does(pressure):
    pressure.write_text(TOLD.format(5_000_000))
    watch = Stopwatch()
    watch._began -= 100  # as if it had begun earlier
    pressure.write_text(TOLD.format(35_000_000))
    assert 70 <= watch.read() < 71
    assert 100 <= watch.elapsed < 101


def test_a_machine_that_is_busy_all_the_time_makes_nothing_endless(pressure):
    pressure.write_text(TOLD.format(0))
    watch = Stopwatch()
    watch._began -= 90
    pressure.write_text(TOLD.format(90_000_000))
    assert 30 <= watch.read() < 31


@pytest.mark.parametrize("told", [None, "", "full avg10=0.00 total=7\n"])
def test_where_linux_does_not_tell_all_seconds_count(pressure, told):
    if told is not None:
        pressure.write_text(told)
    watch = Stopwatch()
    watch._began -= 100
    assert 100 <= watch.read() < 101
