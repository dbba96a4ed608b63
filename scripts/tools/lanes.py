"""Run folders of tests in lanes beside each other: what mostly waits for one thing leaves the
processors to what waits for another.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tools.console import CACHE, ROOT, ToolError

# In each lane one after the other, in the order in which a failure teaches most. What needs no
# container takes the processor time that the others leave.
PURE = ("unit", "render", "hub")
# The browser's tests come before those of the cluster, which may still be compiled meanwhile.
LANES = (("image",), ("browser", "kube"), ("docker",), PURE, ("contract", "chart"))
FOLDERS = tuple(folder for lane in reversed(LANES) for folder in lane)
CLUSTER = ("contract", "chart", "kube")
ON_CLUSTER = "kubernetes"
NO_CLUSTER = f"not {ON_CLUSTER}"
# More failures than these are no accident, and are not looked at again.
LOOKED_AT_AGAIN = 5
LOW_PRIORITY = ("nice", "-n", "10")
SLOWEST_SHOWN = 8
LONG_TIER = "full"
NOTHING_RAN = 5  # pytest's exit code


class Job(NamedTuple):
    """Tests that one pytest runs: a folder or file below tests/, or some of a folder."""

    name: str
    paths: tuple[str, ...]
    keyword: str = ""

    @property
    def folder(self) -> str:
        return self.paths[0].split("/")[1]

    @property
    def needs_cluster(self) -> bool:
        return self.folder in CLUSTER and self.keyword != NO_CLUSTER


CONTRACT = Job("contract", ("tests/contract",))


class Outcome(NamedTuple):
    """How a job ended: pytest's exit code, the counts, seconds of wall and processor, what was
    left to the long tier by module, the tests that failed, and the output.

    The processor's seconds are those of pytest and of the processes that it waited for.
    """

    job: Job
    code: int
    passed: int
    failed: int
    skipped: int
    seconds: float
    processor_seconds: float
    left_out: dict[str, int]
    failures: tuple[str, ...]
    output: str


def plan(names: Sequence[str]) -> list[list[Job]]:
    """Put folders or files below tests/ into lanes; in a single one with MLHUB_TEST_LANES=1."""
    jobs = [Job(name, (f"tests/{name}",)) for name in names]
    if os.environ.get("MLHUB_TEST_LANES") == "1":
        return [jobs]
    image, cluster, engine, pure, waiting = (
        [job for job in jobs if job.folder in folders] for folders in LANES
    )
    # What of the contract asks no cluster is the engine's. What asks it mostly waits for pods.
    if CONTRACT in waiting:
        without, on_cluster = (
            CONTRACT._replace(name=f"contract ({keyword})", keyword=keyword)
            for keyword in (NO_CLUSTER, ON_CLUSTER)
        )
        engine = [*engine, without]
        waiting = [on_cluster, *(job for job in waiting if job != CONTRACT)]
    first, second = split(pure)
    # Half of the unit tests are over long before anything else, and what follows mostly waits.
    return [lane for lane in (image, cluster, [*first, *engine], second, waiting) if lane]


def split(jobs: list[Job]) -> list[list[Job]]:
    """Share the unit tests out: a second process takes half of their modules."""
    if Job("unit", ("tests/unit",)) not in jobs:
        return [[], jobs]
    modules = sorted((ROOT / "tests/unit").glob("test_*.py"), key=lambda file: file.stat().st_size)
    names = [str(file.relative_to(ROOT)) for file in reversed(modules)]
    halves = [Job(f"unit ({n + 1} of 2)", tuple(names[n::2])) for n in (0, 1)]
    return [[halves[0]], [halves[1], *(job for job in jobs if job.name != "unit")]]


def run_lanes(
    python: Path, lanes: list[list[Job]], *, full: bool, prepare: Callable[[], dict[str, str]]
) -> Iterator[Outcome]:
    """Run lanes of jobs; yield how each job ended once its output was shown.

    ``prepare`` brings a cluster up and returns the environment in which tests find it.
    """
    is_alone = len(lanes) == 1 and len(lanes[0]) == 1
    is_modest = any(job.folder not in PURE for lane in lanes for job in lane)
    ended: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()

    def run_lane(lane: list[Job]) -> None:
        try:
            for job in lane:
                outcome = run_job(
                    python, job, full=full, prepare=prepare, is_alone=is_alone, is_modest=is_modest
                )
                ended.put(show(outcome))
            ended.put(None)
        except BaseException as error:  # noqa: BLE001 (raised where it is heard of)
            ended.put(error)

    # Daemons: whoever interrupts waits for nobody, and the tests hear of it from the terminal.
    for lane in lanes:
        threading.Thread(target=run_lane, args=(lane,), daemon=True).start()
    running = len(lanes)
    while running:
        item = ended.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            running -= 1
        else:
            yield item


def run_job(
    python: Path,
    job: Job,
    *,
    full: bool,
    prepare: Callable[[], dict[str, str]],
    is_alone: bool = False,
    is_modest: bool = False,
) -> Outcome:
    """Run a job's tests. The output of one that is not alone is kept back; one that only computes
    is modest beside others.
    """
    place = CACHE / f"tests-{os.getpid()}-{job.name.translate(str.maketrans('/ (),', '-----'))}"
    report, left_out, log, memory = (
        place.with_suffix(end) for end in (".xml", ".left", ".log", ".memory")
    )
    began = time.monotonic()
    print(f"==> tests/{job.name} ...", flush=True)
    try:
        cluster = prepare() if job.needs_cluster else {}
    except ToolError as error:
        return Outcome(job, 1, 0, 1, 0, time.monotonic() - began, 0, {}, (), f"{error}\n")
    command = [*(LOW_PRIORITY if is_modest and job.folder in PURE else ())]
    command += [str(python), "-m", "pytest", *job.paths, "--junitxml", str(report), "-q"]
    command += [f"--durations={SLOWEST_SHOWN}", "--durations-min=1", "-k", job.keyword]
    command += ["--hypothesis-profile=full"] if full else ["-m", f"not {LONG_TIER}"]
    command += ["-o", f"cache_dir={memory}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLHUB_TEST_LEFT_OUT": str(left_out)}
    with log.open("wb") as output:
        target = {} if is_alone else {"stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, cwd=ROOT, env={**environment, **cluster}, **target)
        # As subprocess waits, and it tells the processor's time, too.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    passed, failed, skipped = count(report)
    left = read_left_out(left_out)
    code = 0 if process.returncode == NOTHING_RAN and left else process.returncode
    outcome = Outcome(
        job,
        code or int(failed > 0),
        passed,
        failed or int(code != 0),
        skipped,
        time.monotonic() - began,
        usage.ru_utime + usage.ru_stime,
        left,
        read_failures(memory),
        log.read_text(errors="replace"),
    )
    log.unlink()
    return outcome


def look_again(
    python: Path, outcome: Outcome, *, full: bool, prepare: Callable[[], dict[str, str]]
) -> Outcome:
    """Run the tests of a job that failed beside others once more, alone; return how the job ended
    with that.

    What passes now met something of another lane, or a slow machine: a fault that is named at the
    end, and no reason to throw the rest away.
    """
    job = Job(f"{outcome.job.name}, what failed, alone", outcome.failures)
    second = show(run_job(python, job, full=full, prepare=prepare))
    if second.code:
        return outcome
    return outcome._replace(code=0, passed=outcome.passed + outcome.failed, failed=0)


def read_failures(memory: Path) -> tuple[str, ...]:
    """Return the tests that failed, as pytest keeps them for the next run."""
    try:
        return tuple(json.loads((memory / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return ()
    finally:
        shutil.rmtree(memory, ignore_errors=True)


def show(outcome: Outcome) -> Outcome:
    """Print the output that was kept back, whole."""
    title = f"==> tests/{outcome.job.name}"
    times = f"{outcome.seconds:.0f} s, {outcome.processor_seconds:.0f} s of the processor"
    print(f"{title}\n{outcome.output.rstrip()}\n    {times}", flush=True)
    return outcome


def read_left_out(file: Path) -> dict[str, int]:
    """Return how many tests of each module were left to the long tier (tests/conftest.py)."""
    if not file.exists():
        return {}
    rows = [line.split() for line in file.read_text().splitlines()]
    file.unlink()
    return {module: int(number) for module, number in rows}


def describe_left_out(outcomes: Sequence[Outcome]) -> str:
    """Name what the long tier would add, folder by folder: lines, or none."""
    # Two jobs may leave out the same tests of a module.
    numbers: dict[str, int] = {}
    for outcome in outcomes:
        for module, number in outcome.left_out.items():
            numbers[module] = max(number, numbers.get(module, 0))
    folders: dict[str, list[str]] = defaultdict(list)
    for module, number in numbers.items():
        folder, _, name = module.rpartition("/")
        folders[folder].append(f"{name} {number}")
    if any(outcome.job.folder == "unit" for outcome in outcomes):
        folders["tests/unit"].append("ten times as many random inputs")
    lines = [f"  {folder}: {', '.join(sorted(names))}" for folder, names in folders.items()]
    title = f"The long tier (./scripts/test --full) would add {sum(numbers.values())} tests:"
    return "".join(f"{line}\n" for line in [title, *lines]) if lines else ""


def count(report: Path) -> tuple[int, int, int]:
    """Count the tests that passed, failed and were skipped.

    Where there is no report, one failed.
    """
    try:
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return 0, 1, 0
    finally:
        report.unlink(missing_ok=True)
    total, wrong, skipped = (
        int(suite.get("tests", 0)),
        int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        int(suite.get("skipped", 0)),
    )
    return total - wrong - skipped, wrong, skipped
