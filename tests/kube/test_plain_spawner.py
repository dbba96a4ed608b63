"""A release whose user config names upstream's own KubeSpawner: it runs, and is said to go without
what this product's spawner has.
"""

from __future__ import annotations

import json

import pytest

from tests.support.helm_release import CONFIG, reaches

pytestmark = pytest.mark.full
PLAIN = (
    CONFIG.replace("c.Spawner.image_settings", "image_settings")
    + """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.uid = 1000
c.KubeSpawner.container_security_context = {
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""
)


@pytest.fixture(scope="module")
def release(make_release):
    release = make_release(name="plain")
    release.install(config=PLAIN)
    return release


def find_pod(release, user: str) -> str:
    """Return the name that upstream gave to somebody's pod."""
    found = release.read("pods", "--selector", f"hub.jupyter.org/username={user}")["items"]
    return found[0]["metadata"]["name"]


def test_it_runs_with_a_warning_that_names_what_it_goes_without(release):
    warned = [line for line in release.logs().splitlines() if "= KubeSpawner runs, but" in line]
    assert len(warned) == 1
    for lost in ("policy", "SSH", "trash", "MLHubKubernetesSpawner"):
        assert lost in warned[0]


def test_its_workspaces_start_answer_through_the_proxy_and_reach_the_hub_and_nothing_else(release):
    release.start_workspace("ann")
    status, _, body = release.request("GET", "/user/ann/echo")
    assert (status, json.loads(body)["path"]) == (200, "/user/ann/echo")
    name = find_pod(release, "ann")
    assert reaches(release, name, release.name, 8081)
    assert not reaches(release, name, release.name, 8083)
    release.stop_workspace("ann")
    release.wait_for(
        lambda: release.request("GET", "/user/ann/echo")[0] in (302, 424), "the hub answers", 20
    )
