"""One attempt to start leaves a grant where it went well, and nothing where it did not."""

from __future__ import annotations

import asyncio
import time

import pytest
from jupyterhub import orm
from tornado import web

from mlhub.backends.fake import FakeBackend, FakeSpawner
from mlhub.errors import ConfigurationError
from tests.support.at_hand import HubAtHand

POLICY = """
images:
  - {name: good, image: "fake/workspace:1"}
  - {name: dies, image: "fake/dies"}
  - {name: slow, image: "fake/slow"}
everyone:
  cpu_limit: {default: 1, max: 2}
  days_to_live: {default: 2, max: 30}
  total: {cpu_limit: 3}
  license: {variable: LICENSE_KEY}
"""
# As hubs wrote it that did not know who handed something out.
OLD_STATE = {
    "accepted_options": {"cpu_limit": 2, "days_to_live": 7},
    "granted_options": {"cpu_limit": 2, "days_to_live": 7},
    "expires_at": 2_000_000_000,
    "holding": {
        "user": "alice",
        "server": "",
        "groups": ["strong"],
        "cpu_limit": 2,
        "mem_limit": None,
        "gpus": 0,
        "volumes": 1,
    },
}


@pytest.fixture
def hub(tmp_path):
    hub = HubAtHand("fake/workspace:1", "t-start", FakeSpawner)
    hub.spawner.policy_file = str(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text(POLICY)
    yield hub
    FakeBackend.backends.pop("t-start", None)


def load(hub, state, *, is_running):
    """Return alice's spawner as a hub finds it that starts anew."""
    user = hub.user("alice")
    row = user.orm_user.orm_spawners.get("") or orm.Spawner(name="", user=user.orm_user)
    row.state, row.user_options = state, state.get("accepted_options")
    row.server = orm.Server() if is_running else None
    hub.db.add(row)
    hub.db.commit()
    return user.spawners[""]


async def test_a_start_that_went_well_leaves_a_grant_and_no_attempt(hub):
    spawner = await hub.start("alice", options={"cpu_limit": 2, "days_to_live": 7})
    assert (spawner.attempt, spawner.decision) == (None, None)
    assert spawner.grant.options == {"cpu_limit": 2, "days_to_live": 7}
    assert (spawner.grant.handed_out, spawner.grant.handed_out_by) == (None, None)
    assert spawner.reservation == spawner.grant.reservation
    assert spawner.site.ledger.list_reserved() == (spawner.grant.reservation,)
    assert spawner.get_state()["expires_at"] == spawner.expires_at > 0
    await hub.stop("alice")
    assert (spawner.reservation, spawner.site.ledger.list_reserved()) == (None, ())
    assert "holding" not in spawner.get_state()
    assert spawner.image == "fake/workspace:1"


@pytest.mark.parametrize("options", [{"cpu_limit": 9}, {"image": "dies", "days_to_live": 20}])
async def test_a_start_that_is_refused_or_fails_leaves_the_grant_as_it_was(hub, options):
    before = (await hub.start("alice", options={"cpu_limit": 2, "days_to_live": 7})).grant
    await hub.stop("alice")
    spawner = hub.user("alice").spawners[""]
    with pytest.raises(web.HTTPError):
        await hub.start("alice", options=options)
    assert spawner.attempt is None
    assert (spawner.grant.options, spawner.expires_at) == (before.options, before.expires_at)
    assert (spawner.reservation, spawner.site.ledger.list_reserved()) == (None, ())


async def test_what_a_refused_start_asked_for_is_kept_for_the_form(hub):
    spawner = hub.user("alice").get_or_create_spawner("", "")
    with pytest.raises(web.HTTPError):
        await hub.start("alice", options={"cpu_limit": 9})
    assert spawner.refused.options == {"cpu_limit": 9}
    assert set(spawner.refused.fields) == {"cpu_limit"}
    assert spawner.user_options == spawner.orm_spawner.user_options == {}


async def test_the_state_of_an_older_hub_is_read_and_counts_where_the_workspace_runs(hub):
    spawner = load(hub, OLD_STATE, is_running=True)
    assert spawner.grant.options == {"cpu_limit": 2, "days_to_live": 7}
    assert spawner.grant.handed_out == {"cpu_limit": 2, "days_to_live": 7}
    assert spawner.grant.handed_out_by is None
    assert spawner.expires_at == 2_000_000_000
    assert [reserved.cpu_limit for reserved in spawner.site.ledger.list_reserved()] == [2]
    assert spawner.describe_limits()["cpu_limit"] == "2"
    assert spawner.get_state() == {**OLD_STATE, "granted_by": None}


async def test_what_an_older_hub_counted_counts_no_longer_once_it_has_stopped(hub):
    spawner = load(hub, OLD_STATE, is_running=False)
    assert spawner.expires_at == 2_000_000_000
    assert (spawner.reservation, spawner.site.ledger.list_reserved()) == (None, ())


@pytest.mark.parametrize("state", [{}, {"accepted_options": None}, {"container_id": "abc"}])
async def test_a_state_that_says_nothing_of_a_grant_is_one_of_nothing(hub, state):
    spawner = load(hub, state, is_running=True)
    assert (spawner.grant.options, spawner.expires_at, spawner.reservation) == ({}, None, None)


async def test_where_a_backend_has_other_options_its_workspaces_start_with_those(tmp_path):
    hub = HubAtHand("fake/workspace:1", "t-start", FakeSpawner)
    hub.spawner.option_names = ["cpu_limit", "license"]
    policy = tmp_path / "policy.yaml"
    policy.write_text("everyone: {cpu_limit: {max: 2}, license: {variable: LICENSE_KEY}}")
    hub.spawner.policy_file = str(policy)
    with pytest.raises(web.HTTPError, match="shm_size means nothing where"):
        await hub.start("alice", options={"shm_size": "1M"})
    spawner = await hub.start("alice", options={"cpu_limit": 2, "license": "AAAA"})
    assert (spawner.image, spawner.cpu_limit) == ("fake/workspace:1", 2)
    assert spawner.grant.options["license"].startswith("sealed:")
    available = (await spawner.make_probe()).find_available_options()
    assert list(available.fields) == ["cpu_limit", "license"]
    await hub.stop("alice")
    FakeBackend.backends.pop("t-start", None)


async def test_a_policy_about_options_of_another_backend_is_refused_at_the_first_look(tmp_path):
    hub = HubAtHand("fake/workspace:1", "t-start", FakeSpawner)
    hub.spawner.option_names = ["cpu_limit", "license"]
    policy = tmp_path / "policy.yaml"
    policy.write_text("everyone:\n  shm_size: {max: 1M}\n")
    hub.spawner.policy_file = str(policy)
    spawner = hub.user("alice").get_or_create_spawner("", "")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:2: everyone\.shm_size is about"):
        spawner.make_circumstances()


async def test_a_start_that_is_refused_after_it_was_counted_counts_no_longer(tmp_path):
    hub = HubAtHand("fake/workspace:1", "t-start", FakeSpawner)
    hub.spawner.policy_file = str(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text(
        "everyone: {options: [image], days_to_live: {default: 2, max: 30}, total: {servers: 1}}"
    )
    spawner = await hub.start("alice")
    await hub.stop("alice")
    site = hub.user("alice").spawners[""].site
    later = site.clock() + 5 * 86400
    site.clock = lambda: later
    with pytest.raises(web.HTTPError, match="expired"):
        await hub.start("alice")
    assert spawner.site.ledger.list_reserved() == ()
    FakeBackend.backends.pop("t-start", None)


@pytest.mark.parametrize("adopts_only", [True, False])
async def test_what_has_expired_gets_more_time_of_who_starts_it_and_none_of_a_hub_that_goes_on(
    hub, adopts_only
):
    spawner = await hub.start("alice", options={"days_to_live": 7})
    past = int(time.time()) - 10
    spawner.put_off(past)
    if not adopts_only:
        await hub.stop("alice")
    spawner.adopts_only = adopts_only
    spawner = await hub.start("alice")
    assert (spawner.expires_at == past) is adopts_only
    spawner.adopts_only = False
    await hub.stop("alice")


async def test_an_expiry_that_is_put_off_while_the_workspace_starts_is_kept(hub):
    start = asyncio.ensure_future(hub.start("alice", options={"image": "slow"}))
    spawner = hub.user("alice").get_or_create_spawner("", "")
    async with asyncio.timeout(20):
        while spawner.decision is None:
            await asyncio.sleep(0.01)
    expires_at = (await spawner.make_probe()).extend(20)
    spawner.put_off(expires_at)
    assert spawner.expires_at == expires_at
    assert (await start).grant.expires_at == expires_at
    await hub.stop("alice")


@pytest.mark.parametrize(("text", "is_kept"), [("", True), (" ", True), ("none", False)])
async def test_a_secret_is_kept_where_its_field_is_left_blank(hub, text, is_kept):
    await hub.start("alice", options={"license": "AAAA"})
    await hub.stop("alice")
    asked = hub.user("alice").spawners[""].read_options_form({"license": [text]})
    assert str(asked.get("license", "")).startswith("sealed:") == is_kept
