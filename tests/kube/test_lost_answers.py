"""The API server makes a pod, and the hub does not hear of it."""

from __future__ import annotations

import pytest
from kubespawner.clients import shared_client

from mlhub.workspaces import due_stops
from tests.support.cluster import fail_to_start
from tests.support.cluster_line import Line
from tests.support.engine import eventually


@pytest.fixture
async def line(hub):
    hub.user("alice").get_or_create_spawner("", "")  # reads where the cluster is
    made = Line(shared_client("CoreV1Api").api_client.configuration)
    await made.open()
    yield made
    await hub.close()
    await made.close()


async def test_a_pod_whose_answer_was_lost_is_the_one_that_starts(hub, line):
    line.lose_answer(f"POST /api/v1/namespaces/{hub.namespace}/pods")
    spawner = await hub.start("alice")
    assert await spawner.poll() is None
    (pod,) = hub.list("pods")
    assert pod["metadata"]["uid"] == spawner.pod_id


async def test_a_start_that_nobody_answered_leaves_no_pod_that_counts_as_stopped(
    hub, line, monkeypatch
):
    monkeypatch.setattr(due_stops, "RETRY_SECONDS", 0.3)
    line.lose_answer(f"POST /api/v1/namespaces/{hub.namespace}/pods", is_last=True)
    assert "cannot be reached" in await fail_to_start(hub, "alice")
    assert hub.list("pods")
    line.mend()
    await eventually(lambda: not hub.list("pods"), 90, "the pod's end")
    spawner = await hub.start("alice")
    assert await spawner.poll() is None
