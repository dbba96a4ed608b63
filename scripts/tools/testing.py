"""Run every kind of test there is, or the folders that are named. Installs what the tests need."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tools.cluster import ensure_cluster, find_kind, load_images
from tools.console import CACHE, ROOT, ToolError, main_with_sentences, run, stage
from tools.engine import ensure_engine, install_packages
from tools.environments import ensure_environment
from tools.images import (
    HUB,
    TEST_POSTGRES,
    TEST_STACKS,
    TEST_WORKSPACE,
    WORKSPACE,
    ensure_image,
    make_chart_image,
)
from tools.lanes import (
    CLUSTER,
    FOLDERS,
    LOOKED_AT_AGAIN,
    PURE,
    describe_left_out,
    look_again,
    plan,
    run_lanes,
)

OPTIONS = ("--full", "--check")
NEED_ENGINE = set(FOLDERS) - set(PURE)
NEED_CLUSTER = set(CLUSTER)
NEED_NODE = {"hub", "browser"}
_ONE_CLUSTER = threading.Lock()
# What only the long tier asks: other SSH clients (ssh1 is OpenSSH 7.5), and Docker Compose.
LONG_TIER_PACKAGES = (
    *("python3-paramiko", "python3-asyncssh", "ruby-net-ssh", "putty-tools"),
    *("openssh-client-ssh1", "docker-compose"),
)


def main(arguments: Sequence[str]) -> int:
    """Run; end with what was left out, and one line that counts passed and failed tests."""
    full = "--full" in arguments
    check_only = "--check" in arguments
    unknown = [word for word in arguments if word[:2] == "--" and word not in OPTIONS]
    if unknown:
        raise ToolError(f"{unknown[0]} is no option. There are: {' '.join(OPTIONS)}")
    named = [
        argument.removeprefix("tests/").strip("/")
        for argument in arguments
        if not argument.startswith("--")
    ]
    unknown = [folder for folder in named if not (ROOT / "tests" / folder).exists()]
    if unknown:
        raise ToolError(f"tests/{unknown[0]} does not exist. Folders: {', '.join(FOLDERS)}")
    folders = named or [
        folder for folder in FOLDERS if any((ROOT / "tests" / folder).glob("test_*.py"))
    ]
    kinds = {folder.split("/")[0] for folder in folders}
    if kinds & NEED_CLUSTER and not check_only:
        compile_beside()  # what takes longest where nothing is cached
    python = ensure_test_environment()
    failures = [] if named else check(python)
    if check_only:
        return 1 if failures else 0
    prepare_machine(kinds, full=full)
    busy = read_processors()
    outcomes = list(run_lanes(python, plan(folders), full=full, prepare=prepare_cluster))
    # Of one job nobody can say that it met another.
    again = [each for each in outcomes if each.code == 1 and each.failures and len(outcomes) > 1]
    by_accident: list[str] = []
    if sum(len(outcome.failures) for outcome in again) <= LOOKED_AT_AGAIN:
        for outcome in again:
            ended = look_again(python, outcome, full=full, prepare=prepare_cluster)
            outcomes[outcomes.index(outcome)] = ended
            by_accident += () if ended.code else outcome.failures
    failures += [f"tests/{outcome.job.name}" for outcome in outcomes if outcome.code]
    print(describe_processors(busy, read_processors()))
    if by_accident:
        print("Failed beside others and passed alone, so there is a race to mend:")
        print("".join(f"  {test}\n" for test in by_accident), end="")
    if not full:
        print(describe_left_out(outcomes), end="")
    if failures:
        print("Failed: " + ", ".join(failures))
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("passed", "failed", "skipped")
    )
    failed = max(failed, 1) if failures else failed
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failures else 0


def prepare_machine(kinds: set[str], *, full: bool = False) -> None:
    """Install, make and start what the tests of some folders need, but for the cluster, which is
    compiled beside.
    """
    if kinds & NEED_NODE and not shutil.which("npm"):
        why = "the hub tests run the real proxy, the browser tests axe"
        install_packages("nodejs", "npm", why=why)
    if kinds & NEED_ENGINE:
        prepare_engine()
    if kinds & {"browser", "kube"} and not Path("/usr/bin/chromium").exists():
        install_packages("chromium", why="the browser tests run a real browser")
    if kinds & {"docker", "browser"} and not shutil.which("docker-registry"):
        install_packages("docker-registry", why="workspaces are pulled from a real registry")
    if kinds & {"image", "browser", "kube"} and not all(
        map(shutil.which, ("ssh", "sftp", "rsync", "dbclient"))
    ):
        install_packages(
            "openssh-client",
            "rsync",
            "dropbear-bin",
            why="the image tests come in by real SSH clients",
        )
    others = ("plink", "ssh1", "docker-compose")
    if full and "image" in kinds and not all(map(shutil.which, others)):
        install_packages(*LONG_TIER_PACKAGES, why="the long tier comes in by other clients")


def read_processors() -> tuple[float, float, float]:
    """Return the time, and the seconds that this machine's processors have worked and rested."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    per_second = os.sysconf("SC_CLK_TCK")
    return time.monotonic(), (sum(ticks) - idle) / per_second, idle / per_second


def describe_processors(before: tuple[float, ...], after: tuple[float, ...]) -> str:
    """Say how long the tests took, and whether they mostly computed or mostly waited."""
    seconds, worked, rested = (end - begin for begin, end in zip(before, after, strict=True))
    share = worked / max(worked + rested, 0.01)
    return f"{seconds / 60:.1f} minutes, the processors busy for {share:.0%} of them"


def ensure_test_environment() -> Path:
    """Return the Python that has what the tests and the documentation need."""
    return ensure_environment(ROOT / "docker/requirements/dev.txt", what="the test environment")


def check(python: Path) -> list[str]:
    """Run the static checks; return the names of those that failed."""
    (
        install_packages("shellcheck", why="shell scripts are checked")
        if not shutil.which("shellcheck")
        else None
    )
    tools = python.parent
    shell = [
        path
        for path in (ROOT / "scripts").iterdir()
        if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
    ] + [
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
                run(
                    *command,
                    quiet=True,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    log=CACHE / f"check-{name.replace(' ', '-')}.log",
                )
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
    """Start compiling the local cluster's programs, if that is what will be used: minutes, once;
    who needs them waits for the end.
    """
    if find_kind() != "local":
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build-cluster-beside.log").open("wb") as log:
        # Half of the tests wait for this, and the others leave it little of two processors.
        command = ["nice", "-n", "-10", sys.executable, "-m", "tools.programs"]
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "scripts"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def prepare_cluster() -> dict[str, str]:
    """Make sure of a cluster and of the images in it; return the environment in which tests find
    it. Whoever asks while it is made waits.
    """
    with _ONE_CLUSTER:
        return make_cluster()


@functools.cache
def make_cluster() -> dict[str, str]:
    cluster = ensure_cluster()
    images = [image.tag for image in (HUB, WORKSPACE, TEST_WORKSPACE, TEST_POSTGRES)]
    load_images([*images, make_chart_image()])
    return cluster.make_environment()


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
