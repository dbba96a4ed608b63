"""Kernels live on: what somebody has computed is still there when a part of the release or of the
cluster has ended and come back.

Only for the cluster that ``scripts/cluster`` makes on this machine, whose parts are processes here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.support.kernels import run_cell, start_kernel
from tests.support.local_cluster import RUN, bring_back, held_cluster, kill

PREFIX = "/user/ann"
VALUES = {
    "singleuser": {
        "image": {"name": "mltooling/mlhub-workspace", "tag": "latest"},
        "storage": {"capacity": "64Mi"},
    }
}


@pytest.fixture(scope="module")
def release(make_release):
    """A release in which Ann runs JupyterLab."""
    if not (RUN / "kube-apiserver.pid").exists():
        pytest.fail(
            "These tests need the cluster of scripts/cluster on this machine; unset KUBECONFIG."
        )
    made = make_release()
    made.install(VALUES)
    made.start_workspace("ann")
    return made


@pytest.fixture(scope="module")
def kernel(release):
    """A kernel that knows x."""
    found = connect(release, lambda session: start_kernel(session, PREFIX))
    assert run(release, found, "x = 41; print(x)") == "41\n"
    return found


def connect(release, talk: Callable[[aiohttp.ClientSession], Awaitable[str]]) -> str:
    async def connect() -> str:
        async with aiohttp.ClientSession(release.url, headers=release.headers) as session:
            return await talk(session)

    return asyncio.run(connect())


def run(release, kernel: str, code: str) -> str:
    return connect(release, lambda session: run_cell(session, kernel, code, PREFIX))


def list_kernels(release) -> list[str]:
    """List the kernels of Ann's workspace; none where nothing answers, which may be so for a
    moment.
    """
    try:
        status, _, body = release.request("GET", f"{PREFIX}/api/kernels", timeout=5)
    except OSError:
        return []
    return [found["id"] for found in json.loads(body)] if status == 200 else []


def replace_pod(release, component: str) -> None:
    before = release.find_pod(component)
    release.kubectl("delete", "pod", before, "--force", "--grace-period=0")
    release.kubectl("rollout", "status", f"deployment/{release.name}-{component}", "--timeout=120s")
    assert release.find_pod(component) != before


def restart_program(name: str) -> None:
    before = (RUN / f"{name}.pid").read_text()
    with held_cluster(alone=True):
        kill(name)
        bring_back()
    assert (RUN / f"{name}.pid").read_text() != before


@pytest.mark.parametrize(
    "part",
    [
        "hub",
        "proxy",
        *(pytest.param(part, marks=pytest.mark.full) for part in ("kubelet", "kube-apiserver")),
    ],
)
def test_a_kernel_keeps_its_variables_when_a_part_ends_and_comes_back(release, kernel, part):
    pod = f"ws-{release.name}--ann"
    before = release.read("pod", pod)["metadata"]["uid"]
    if part in ("hub", "proxy"):
        replace_pod(release, part)
    else:
        restart_program(part)
    release.wait_for(lambda: list_kernels(release) == [kernel], "the kernel is reached again", 60)
    assert run(release, kernel, "print(x + 1)") == "42\n"
    after = release.read("pod", pod)
    assert after["metadata"]["uid"] == before
    assert [each["restartCount"] for each in after["status"]["containerStatuses"]] == [0]
