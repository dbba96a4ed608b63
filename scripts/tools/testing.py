"""Run every kind of test there is, or the folders that are named. Installs what the tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tools.cluster import ensure_cluster, find_kind, load_images
from tools.console import CACHE, ROOT, ToolError, main_with_sentences, run, stage
from tools.engine import ensure_engine, install_packages
from tools.environments import ensure_environment
from tools.images import HUB, TEST_POSTGRES, TEST_STACKS, TEST_WORKSPACE, WORKSPACE, ensure_image

# In the order in which a failure teaches most, fast and pure first; last what needs a cluster, which is compiled meanwhile on a new machine.
FOLDERS = ("unit", "render", "hub", "docker", "image", "browser", "contract", "chart", "kube")
# No container is started for these: they run beside the others, with the processor time that those leave.
BESIDE = ("unit", "render", "hub")
LOW_PRIORITY = ("nice", "-n", "10")
SLOWEST_SHOWN = 8
NEED_ENGINE = {"chart", "contract", "docker", "image", "browser", "kube"}
NEED_CLUSTER = {"chart", "contract", "kube"}
NEED_CLUSTER_IMAGES = {"chart", "contract", "kube"}
NEED_NODE = {"hub"}


class Outcome(NamedTuple):
    """How one folder's tests ended: pytest's exit code, the counts, seconds, and the output that was kept back."""

    folder: str
    code: int
    passed: int
    failed: int
    skipped: int
    seconds: float
    output: str


def main(arguments: Sequence[str]) -> int:
    """Run; end with one line that counts passed and failed tests."""
    deep = "--deep" in arguments
    check_only = "--check" in arguments
    named = [argument.removeprefix("tests/").strip("/") for argument in arguments if not argument.startswith("--")]
    unknown = [folder for folder in named if not (ROOT / "tests" / folder).exists()]
    if unknown:
        raise ToolError(f"tests/{unknown[0]} does not exist. Folders: {', '.join(FOLDERS)}")
    folders = named or [folder for folder in FOLDERS if any((ROOT / "tests" / folder).glob("test_*.py"))]
    python = ensure_test_environment()
    failures = [] if named else check(python)
    if check_only:
        return 1 if failures else 0
    kinds = {folder.split("/")[0] for folder in folders}
    if kinds & NEED_CLUSTER:
        compile_beside()
    if kinds & NEED_NODE and not shutil.which("npm"):
        install_packages("nodejs", "npm", why="the hub tests run the real proxy")
    if kinds & NEED_ENGINE:
        prepare_engine()
    if kinds & {"browser", "kube"} and not Path("/usr/bin/chromium").exists():
        install_packages("chromium", why="the browser tests run a real browser")
    if kinds & {"docker", "browser"} and not shutil.which("docker-registry"):
        install_packages("docker-registry", why="workspaces are pulled from a real registry")
    if kinds & {"image", "browser", "kube"} and not all(map(shutil.which, ("ssh", "sftp", "rsync", "dbclient"))):
        install_packages("openssh-client", "rsync", "dropbear-bin", why="the image tests come in by real SSH clients")
    passed = failed = skipped = 0
    for outcome in run_folders(python, folders, deep, kinds):
        passed, failed, skipped = passed + outcome.passed, failed + outcome.failed, skipped + outcome.skipped
        if outcome.code:
            failures.append(f"tests/{outcome.folder}")
    if failures:
        print("Failed: " + ", ".join(failures))
        failed = max(failed, 1)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failures else 0


def ensure_test_environment() -> Path:
    """Return the Python that has what the tests and the documentation need."""
    return ensure_environment(ROOT / "docker/requirements/dev.txt", what="the test environment")


def check(python: Path) -> list[str]:
    """Run the static checks; return the names of those that failed."""
    install_packages("shellcheck", why="shell scripts are checked") if not shutil.which("shellcheck") else None
    tools = python.parent
    shell = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")] + [
        ROOT / ".ci" / "run",
        *(ROOT / "docker/bastion").iterdir(),
        *(ROOT / "docker/ssh-bundle" / name for name in ("build", "start", "keys")),
        ROOT / "docker/test-postgres/start",
        ROOT / "scripts/local-cluster/cluster",
        *(ROOT / "scripts/local-cluster").glob("*.sh"),
    ]
    checks = {
        "ruff": [tools / "ruff", "check", "."],
        "ruff format": [tools / "ruff", "format", "--check", "."],
        "mypy": [tools / "mypy"],
        "import law": [tools / "lint-imports"],
        "shellcheck": ["shellcheck", *shell],
    }
    failed = []
    for name, command in checks.items():
        try:
            with stage(f"Check: {name}"):
                run(*command, quiet=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, log=CACHE / f"check-{name.replace(' ', '-')}.log")
        except ToolError as error:
            print(error)
            failed.append(name)
    return failed


def prepare_engine() -> None:
    """Make sure of an engine and of the images that the tests start."""
    print(f"Container engine {ensure_engine()}")
    for image in (HUB, WORKSPACE, TEST_WORKSPACE, TEST_STACKS, TEST_POSTGRES):
        ensure_image(image)


def compile_beside() -> None:
    """Start compiling the local cluster's programs, if that is what will be used: minutes, once; who needs them waits for the end."""
    if find_kind() != "local":
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build-cluster-beside.log").open("wb") as log:
        command = [*LOW_PRIORITY, sys.executable, "-m", "tools.programs"]
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "scripts"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def prepare_cluster(kinds: set[str]) -> dict[str, str]:
    """Make sure of a cluster and of the images in it; return the environment in which tests find it."""
    cluster = ensure_cluster()
    if kinds & NEED_CLUSTER_IMAGES:
        load_images([image.tag for image in (HUB, WORKSPACE, TEST_WORKSPACE, TEST_POSTGRES)])
    return cluster.make_environment()


def run_folders(python: Path, folders: list[str], deep: bool, kinds: set[str]) -> Iterator[Outcome]:
    """Run the tests of folders, some beside the others; yield how each of them ended, when its output has been shown."""
    first = [folder for folder in folders if folder.split("/")[0] not in BESIDE]
    beside = [folder for folder in folders if folder not in first] if first else []
    prepared: dict[str, str] = {}
    with ThreadPoolExecutor(1) as pool:
        quiet = [pool.submit(run_pytest, python, folder, deep, {}, is_beside=True) for folder in beside]
        for folder in first or folders:
            if folder.split("/")[0] in NEED_CLUSTER and not prepared:
                prepared = prepare_cluster(kinds)
            yield run_pytest(python, folder, deep, prepared)
            while quiet and quiet[0].done():
                yield show(quiet.pop(0).result())
        for future in quiet:
            yield show(future.result())


def show(outcome: Outcome) -> Outcome:
    """Print the output that was kept back."""
    print(f"==> tests/{outcome.folder}, beside the others\n{outcome.output}    {outcome.seconds:.1f} s", flush=True)
    return outcome


def run_pytest(python: Path, folder: str, deep: bool, prepared: dict[str, str], *, is_beside: bool = False) -> Outcome:
    """Run one folder's tests; those that run beside others have a low priority, and their output is kept back."""
    report = CACHE / f"report-{os.getpid()}-{folder.replace('/', '-')}.xml"
    began = time.monotonic()
    command = [
        str(python),
        "-m",
        "pytest",
        f"tests/{folder}",
        "--junitxml",
        str(report),
        "-q",
        f"--durations={SLOWEST_SHOWN}",
        "--durations-min=1",
    ]
    if not deep:
        command += ["-m", "not deep"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **prepared}
    output = ""
    if is_beside:
        words = [*LOW_PRIORITY, *command]
        result = subprocess.run(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        code, output = result.returncode, result.stdout
    else:
        print(f"==> tests/{folder}", flush=True)
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        print(f"    {time.monotonic() - began:.1f} s", flush=True)
    passed, failed, skipped = count(report)
    return Outcome(folder, code or int(failed > 0), passed, failed, skipped, time.monotonic() - began, output)


def count(report: Path) -> tuple[int, int, int]:
    """Count the tests that passed, failed and were skipped; where there is no report, one failed."""
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


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
