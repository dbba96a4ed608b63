"""A release: made twice it is the same, and it is all that a machine without a network needs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.hub_container import CONFIG, ROOT, RUN, Hub, docker
from tests.support.kernels import run_cell, start_kernel
from tests.support.names import make_hub_name
from tests.support.own_engine import OwnEngine, run_engine
from tests.support.registry import Registry

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
SCRIPTS = ROOT / "scripts"


def run(*words: str | Path, **environment: str) -> str:
    """Run a script of ours; return what it printed."""
    result = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=1500,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a release; with its images it is too large to be kept."""
    folder = tmp_path_factory.mktemp("release")
    run(SCRIPTS / "release", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def tools() -> Iterator[None]:
    """Have the tools of the scripts at hand."""
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


def test_a_release_has_archives_chart_lists_notes_and_checksums(folder):
    names = {file.name.replace(read_version(folder), "V") for file in folder.iterdir()}
    machine = docker("version", "--format", "{{.Server.Os}}-{{.Server.Arch}}")
    assert names == {
        f"ml-hub-V-{machine}.tar.gz",
        f"mlhub-workspace-V-{machine}.tar.gz",
        "ml-hub-V.cdx.json",
        "mlhub-workspace-V.cdx.json",
        "mlhub-chart-V.tgz",
        "NOTES.md",
        "SHA256SUMS",
        "release.json",
    }
    run("sh", "-c", f"cd {folder} && sha256sum --check --quiet SHA256SUMS")
    hub = json.loads((folder / f"ml-hub-{read_version(folder)}.cdx.json").read_text())
    kinds = {part["purl"].split("/")[0] for part in hub["components"]}
    assert kinds == {"pkg:deb", "pkg:pypi", "pkg:npm"}
    assert {"jupyterhub", "nginx-light", "configurable-http-proxy"} <= {
        part["name"] for part in hub["components"]
    }


def read_version(folder: Path) -> str:
    return str(json.loads((folder / "release.json").read_text())["version"])


def test_two_builds_of_one_commit_have_the_same_content():
    from tools.images import HUB, ensure_base_image, ensure_build_image, make_build_command
    from tools.release.contents import read_contents

    again = dataclasses.replace(HUB, tag=f"mlhub-test-again:{RUN}")
    inputs = docker("inspect", "--format", '{{index .Config.Labels "mlhub.inputs"}}', HUB.tag)
    command = make_build_command(again, ensure_base_image(), ensure_build_image(), inputs)
    try:
        subprocess.run(
            [*command[:2], "--no-cache", *command[2:]], cwd=ROOT, check=True, capture_output=True
        )
        first, second = read_contents(HUB.tag), read_contents(again.tag)
        assert set(first.entries) ^ set(second.entries) == set()
        assert first.packages == second.packages
    finally:
        docker("image", "rm", again.tag, check=False)


@pytest.fixture
def empty_engine(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[OwnEngine]:
    """Run an engine that has no image, and no network beyond this machine."""
    with run_engine(tmp_path / "engine", wait_for) as engine:
        yield engine
    shutil.rmtree(tmp_path / "engine", ignore_errors=True)


async def test_a_machine_without_a_network_is_given_all_it_needs(
    folder, empty_engine, tmp_path, wait_for, monkeypatch
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{empty_engine.socket}")
    printed = run(SCRIPTS / "load", folder, KUBECONFIG="/nowhere")
    command = next(line for line in printed.splitlines() if line.startswith("docker run "))
    assert command in (ROOT / "README.md").read_text()
    name = make_hub_name()
    (tmp_path / "config.py").write_text(re.sub(r"c\.Spawner\.image = .*", "", CONFIG))
    given = ["--env", f"HUB_NAME={name}"]
    given += ["--volume", f"{tmp_path}/config.py:/resources/jupyterhub_user_config.py:ro"]
    *words, image = shlex.split(command.replace("-v /var/run", f"-v {empty_engine.folder}", 1))[2:]
    hub = Hub(name, [*given, *words], wait_for, host=empty_engine.host, image=image)
    hub.start()
    hub.wait_until_ready(120)
    hub.start_workspace("ann")
    async with aiohttp.ClientSession(hub.url, headers=hub.headers) as session:
        kernel = await start_kernel(session, "/user/ann")
        assert await run_cell(session, kernel, "print(6 * 7)", "/user/ann") == "42\n"


def test_images_and_chart_are_put_into_a_registry(folder, tmp_path, wait_for):
    from tools.release.__main__ import push

    (tmp_path / "registry").mkdir()
    registry = Registry(tmp_path / "registry")
    wait_for(registry.answers, "the registry answers", 15)
    try:
        push(folder, read_version(folder), registry.address)
        stored = tmp_path / "registry/data/docker/registry/v2/repositories"
        tags = {str(tag.relative_to(stored)) for tag in stored.glob("**/_manifests/tags/*")}
        version = read_version(folder)
        for name in ("mltooling/ml-hub", "mltooling/mlhub-workspace", "charts/mlhub-chart"):
            assert f"{name}/_manifests/tags/{version}" in tags
    finally:
        registry.end()
