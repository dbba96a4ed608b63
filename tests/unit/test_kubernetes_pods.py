"""What a pod's status says about the workspace in it, beside which containers of the site's may go
on.
"""

from __future__ import annotations

from mlhub.backends.kubernetes import pods

RUNNING, ENDED = {"running": {}}, {"terminated": {"exitCode": 0}}


def make_pod(phase: str, **states: dict) -> dict:
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    spec = {"containers": [{"name": name, "image": f"{name}:1"} for name in ("notebook", "beside")]}
    return {
        "metadata": {},
        "spec": spec,
        "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": statuses},
    }


def test_a_pod_lives_while_its_workspace_does():
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, beside=RUNNING))
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, beside=ENDED))


def test_a_workspace_that_has_ended_is_not_alive_because_something_else_goes_on():
    pod = make_pod("Running", notebook=ENDED, beside=RUNNING)
    assert not pods.is_alive(pod)
    assert pods.read_ip(pod) is None
    assert "ended before it answered" in str(pods.find_failure(pod))


def lose(pod: dict, reason: str = "Unknown") -> dict:
    """Make a pod as the kubelet describes it after its node was restarted."""
    lost = {"terminated": {"exitCode": 255, "reason": reason}}
    pod["status"]["containerStatuses"][0]["state"] = lost
    return pod


def test_a_workspace_that_was_lost_with_its_node_comes_back():
    assert pods.comes_back(lose(make_pod("Running", notebook=RUNNING)))
    assert pods.comes_back(lose(make_pod("Pending", notebook=RUNNING), "ContainerStatusUnknown"))


def test_a_workspace_that_ended_or_is_never_started_again_does_not_come_back():
    assert not pods.comes_back(make_pod("Running", notebook=ENDED))
    assert not pods.comes_back(make_pod("Running", notebook=RUNNING, beside=ENDED))
    assert not pods.comes_back(lose(make_pod("Failed", notebook=RUNNING)))
    assert not pods.comes_back(lose(make_pod("Running", notebook=RUNNING), "OOMKilled"))
    never, deleted = (lose(make_pod("Running", notebook=RUNNING)) for _ in range(2))
    never["spec"]["restartPolicy"] = "Never"
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not pods.comes_back(never)
    assert not pods.comes_back(deleted)


def test_ssh_is_on_its_way_until_the_workspace_s_own_probe_has_succeeded():
    pod = make_pod("Running", notebook=RUNNING, beside=RUNNING)
    workspace, beside = pod["status"]["containerStatuses"]
    beside["started"] = True
    assert not pods.has_arrived(pod)
    assert not pods.has_arrived({**pod, "status": {"phase": "Pending"}})
    workspace["started"] = False
    assert not pods.has_arrived(pod)
    workspace["started"] = True
    assert pods.has_arrived(pod)
