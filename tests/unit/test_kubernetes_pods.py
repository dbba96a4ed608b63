"""What a pod's status says about the workspace in it, beside which a container may go on that brought SSH."""

from __future__ import annotations

from mlhub.backends.kubernetes import pods

RUNNING, ENDED = {"running": {}}, {"terminated": {"exitCode": 0}}
UNPULLABLE = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}


def make_pod(phase: str, **states: dict) -> dict:
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    spec = {"containers": [{"name": name, "image": f"{name}:1"} for name in ("notebook", "ssh")]}
    return {"metadata": {}, "spec": spec, "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": statuses}}


def test_a_pod_lives_while_its_workspace_does():
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, ssh=RUNNING))
    assert pods.is_alive(make_pod("Running", notebook=RUNNING, ssh=ENDED))


def test_a_workspace_that_has_ended_is_not_alive_because_something_else_goes_on():
    pod = make_pod("Running", notebook=ENDED, ssh=RUNNING)
    assert not pods.is_alive(pod)
    assert pods.read_ip(pod) is None
    assert "ended before it answered" in str(pods.find_failure(pod))


def test_a_workspace_does_not_fail_for_want_of_ssh():
    assert pods.find_failure(make_pod("Running", notebook=RUNNING, ssh=UNPULLABLE)) is None
    assert "'notebook:1' can not be pulled" in str(pods.find_failure(make_pod("Pending", notebook=UNPULLABLE, ssh=RUNNING)))
