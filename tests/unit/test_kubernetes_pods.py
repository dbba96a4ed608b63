"""What a pod's status says about the workspace in it, beside which containers of the site's may go on."""

from __future__ import annotations

from mlhub.backends.kubernetes import pods

RUNNING, ENDED = {"running": {}}, {"terminated": {"exitCode": 0}}


def make_pod(phase: str, **states: dict) -> dict:
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    spec = {"containers": [{"name": name, "image": f"{name}:1"} for name in ("notebook", "beside")]}
    return {"metadata": {}, "spec": spec, "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": statuses}}


def test_a_pod_lives_while_its_workspace_does():
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, beside=RUNNING))
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, beside=ENDED))


def test_a_workspace_that_has_ended_is_not_alive_because_something_else_goes_on():
    pod = make_pod("Running", notebook=ENDED, beside=RUNNING)
    assert not pods.is_alive(pod)
    assert pods.read_ip(pod) is None
    assert "ended before it answered" in str(pods.find_failure(pod))


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
