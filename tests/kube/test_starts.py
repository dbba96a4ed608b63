"""Many starts at once, and what a start leaves alone while the cluster is at work."""

from __future__ import annotations

import asyncio

import pytest
from tornado import web

from mlhub.backends.inventory import LABEL_IMAGE
from tests.support.cluster import WORKSPACE_IMAGE


async def test_starts_at_the_same_time_share_one_watch_and_hear_of_their_own_pods_alone(hub):
    watches = []
    watch_pod_events = hub.backend.api.watch_pod_events
    hub.backend.api.watch_pod_events = lambda: watches.append(1) or watch_pod_events()
    names = ["alice", "bob", "carol"]
    spawners = await asyncio.gather(
        *(hub.start(name, options={"is_mount_volume": False}) for name in names)
    )
    assert len(watches) == 1
    assert hub.list("persistentvolumeclaims") == []  # without a volume none is made
    for spawner in spawners:
        told = [
            event["message"]
            for event in spawner.start_progress.events
            if "assigned" in event["message"]
        ]
        assert len(told) == 1
        assert spawner.pod_name in told[0]


async def test_a_start_leaves_its_claim_alone_until_the_workspace_answers(hub):
    """A claim that changes while the cluster makes its volume may have to wait for a quarter of a
    minute.
    """
    noted = []
    note = hub.backend.note
    hub.backend.note = lambda *args: noted.append(args) or note(*args)
    hub.spawner.start_timeout = 5
    hub.spawner.node_selector = {"kubernetes.io/hostname": "nowhere"}
    with pytest.raises(web.HTTPError):
        await hub.start("alice")
    await hub.settle()
    assert noted == []
    # What has to be known of a stopped workspace stands in it all the same.
    (claim,) = hub.list("persistentvolumeclaims")
    assert claim["metadata"]["annotations"][LABEL_IMAGE] == WORKSPACE_IMAGE
    hub.spawner.start_timeout, hub.spawner.node_selector = 60, {}
    await hub.start("bob")
    await hub.settle()
    assert len(noted) == 1
