"""Nodes that are drained and nodes that are kept for a purpose: budgets asked by evictions,
tolerations by a real taint.
"""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import WORKSPACE_IMAGE

KEYS = ("hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated")


@pytest.fixture
def values_as_before(release):
    """The release is everybody's: these tests change its values."""
    yield
    release.install()


def explain_eviction(release, pod: str) -> str:
    """Ask the API server whether it would evict a pod, as `kubectl drain --dry-run=server` does;
    return why not, or nothing.
    """
    metadata = {"name": pod, "namespace": release.namespace}
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": metadata,
        "deleteOptions": {"dryRun": ["All"]},
    }
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    try:
        release.cluster.run("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))
    except AssertionError as refusal:
        return str(refusal)
    return ""


def test_nodes_can_be_drained(release):
    for component in ("bastion", "hub", "proxy"):
        release.wait_for(
            lambda component=component: not explain_eviction(release, release.find_pod(component)),
            f"the default budget lets the {component} go",
            20,
        )


# That the site's value is the budget: tests/chart/snapshots/original.yaml.
@pytest.mark.full
def test_nodes_can_not_be_drained_where_the_site_forbids_it(release, values_as_before):
    pods = [release.find_pod(component) for component in ("hub", "proxy")]
    before = [release.read("pod", pod)["metadata"]["uid"] for pod in pods]
    kept = {"pdb": {"minAvailable": 1}}
    release.install({"hub": kept, "proxy": kept})
    for pod in pods:
        refusal = release.wait_for(
            lambda pod=pod: explain_eviction(release, pod), "the site's budget keeps it", 20
        )
        assert "TooManyRequests" in refusal  # 429
        assert "disruption budget" in refusal
    after = [release.read("pod", pod)["metadata"] for pod in pods]
    assert [each["uid"] for each in after] == before
    assert not any("deletionTimestamp" in each for each in after)


class Node:
    """The cluster's node, which can be kept for a purpose. For seconds: others work on it, too."""

    def __init__(self, cluster) -> None:
        self.cluster, self.name = cluster, cluster.read("nodes")["items"][0]["metadata"]["name"]

    def keep_for(self, purpose: str) -> None:
        self.cluster.run(
            "taint", "nodes", self.name, *(f"{key}={purpose}:NoSchedule" for key in KEYS)
        )

    def free(self) -> None:
        for key in KEYS:
            self.cluster.run(
                "taint", "nodes", self.name, f"{key}-", check=False
            )  # it may have none
        taints = self.cluster.read("node", self.name)["spec"].get("taints", ())
        assert not {each["key"] for each in taints} & set(KEYS)


@pytest.fixture
def node(cluster):
    found = Node(cluster)
    found.free()  # of what a run left that was killed
    try:
        yield found
    finally:
        found.free()


def make_pod(release, name: str) -> dict:
    """Make a pod that tolerates nothing."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "main",
        "image": WORKSPACE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"],
    }
    container["securityContext"] = {**restricted, "seccompProfile": {"type": "RuntimeDefault"}}
    metadata = {"name": name, "namespace": release.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def explain_scheduling(release, pod: str) -> str:
    """Return "True" where a pod has a node, else why it has none."""
    conditions = release.read("pod", pod)["status"].get("conditions", ())
    return next(
        (
            each.get("message") or each["status"]
            for each in conditions
            if each["type"] == "PodScheduled"
        ),
        "",
    )


def test_a_workspace_goes_to_a_node_that_is_kept_for_workspaces_and_nobody_else_does(release, node):
    release.api("POST", "users/tom")
    pod = f"ws-{release.name}--tom"
    node.keep_for("user")
    release.cluster.apply(make_pod(release, "stranger"))
    release.api("POST", "users/tom/server", {})
    release.wait_for(
        lambda: pod in release.containers() and explain_scheduling(release, pod) == "True",
        "it has a node",
        20,
    )
    reason = release.wait_for(
        lambda: explain_scheduling(release, "stranger"), "the scheduler has tried the other one", 10
    )
    assert "untolerated taint" in reason
    node.free()
    release.wait_for(
        lambda: explain_scheduling(release, "stranger") == "True",
        "without the taint the other one goes there, too",
        20,
    )
    release.wait_for(lambda: release.is_workspace_ready("tom"), "the workspace answers", 60)
