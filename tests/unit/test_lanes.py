"""How ./scripts/test shares folders out among lanes, and what it says of the long tier."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lanes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delenv("MLHUB_TEST_LANES", raising=False)
    from tools import lanes

    return lanes


def test_each_folder_of_tests_is_in_one_lane(lanes):
    folders = {file.parent.name for file in ROOT.glob("tests/*/test_*.py")}
    assert set(lanes.FOLDERS) == folders
    assert len(lanes.FOLDERS) == len(folders)


def test_what_needs_the_engine_runs_beside_what_needs_the_cluster(lanes):
    image, cluster, engine, pure, waiting = lanes.plan(lanes.FOLDERS)
    assert [job.name for job in image] == ["image"]
    assert [(job.name, job.needs_cluster) for job in [*cluster, *waiting]] == [
        ("browser", False),
        ("kube", True),
        ("contract (kubernetes)", True),
        ("chart", True),
    ]
    assert [job.folder for job in engine] == ["unit", "docker", "contract"]
    assert not engine[-1].needs_cluster
    assert [job.folder for job in pure] == ["unit", "render", "hub"]


def test_two_processes_share_the_unit_tests_and_leave_none_out(lanes):
    jobs = [job for lane in lanes.plan(["unit"]) for job in lane]
    assert len(jobs) == 2
    modules = sorted(path for job in jobs for path in job.paths)
    assert modules == sorted(
        str(file.relative_to(ROOT)) for file in ROOT.glob("tests/unit/test_*.py")
    )


def test_one_lane_is_enough_where_somebody_says_so(lanes, monkeypatch):
    monkeypatch.setenv("MLHUB_TEST_LANES", "1")
    assert [[job.name for job in lane] for lane in lanes.plan(["kube", "hub"])] == [["kube", "hub"]]


@pytest.fixture
def make_tests(lanes, monkeypatch, tmp_path):
    """Return a function that writes a module of unit tests into a repository that has no others:
    its runs import little.
    """
    monkeypatch.setattr(lanes, "ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "tests/unit").mkdir(parents=True)
    return lambda name, text: (tmp_path / "tests/unit" / name).write_text(text)


def test_a_lane_shows_each_output_whole_and_counts_what_is_left_to_the_long_tier(
    lanes, make_tests, capsys
):
    make_tests("test_log.py", "def test_good():\n    pass\n")
    jobs = [lanes.Job(name, (f"tests/{name}",)) for name in ("unit/test_log.py", "unit/test_no.py")]
    outcomes = list(lanes.run_lanes(Path(sys.executable), [jobs], full=False, prepare=lambda: {}))
    assert [(bool(each.code), each.passed > 0, each.failed) for each in outcomes] == [
        (False, True, 0),
        (True, False, 1),
    ]
    shown = capsys.readouterr().out
    assert " passed" in shown
    assert "file or directory not found: tests/unit/test_no.py" in shown
    outcome = outcomes[0]._replace(left_out={"tests/kube/test_tls.py": 5})
    assert lanes.describe_left_out([outcome, outcome]) == (
        "The long tier (./scripts/test --full) would add 5 tests:\n"
        "  tests/kube: test_tls.py 5\n  tests/unit: ten times as many random inputs\n"
    )


def test_what_failed_beside_others_is_asked_once_more_and_no_more(lanes, make_tests, tmp_path):
    make_tests(
        "test_race.py",
        "import pathlib\n"
        "def test_good():\n    assert not pathlib.Path('again').exists()\n"
        "def test_race():\n    assert pathlib.Path('again').exists()\n",
    )
    how = {"full": False, "prepare": lambda: {}}
    first = lanes.run_job(Path(sys.executable), lanes.Job("unit", ("tests/unit",)), **how)
    assert (first.code, first.passed, first.failed) == (1, 1, 1)
    assert first.failures == ("tests/unit/test_race.py::test_race",)
    assert lanes.look_again(Path(sys.executable), first, **how) == first
    # The good one would fail by now, if it were asked.
    (tmp_path / "again").touch()
    ended = lanes.look_again(Path(sys.executable), first, **how)
    assert (ended.code, ended.passed, ended.failed) == (0, 2, 0)
