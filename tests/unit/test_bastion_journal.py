"""Sessions of several bastions of one hub, which come and go while they are replaced."""

from __future__ import annotations

import asyncio

import pytest

from mlhub.ssh.other_keys import WorkspaceKeys
from mlhub.ssh.session_registry import GONE_SECONDS
from tests.support.bastion_site import open_site, wait_until

ADDRESS = "192.0.2.7"


@pytest.fixture
async def site(tmp_path):
    async with open_site(tmp_path) as one:
        yield one


async def open_two(site):
    """Open a session in two bastions, each of a process of the same number; return them with the
    keys' fingerprints.
    """
    first, second = await site.connect("b1"), await site.connect("b2")
    keys = [site.register("ann"), site.register("bob")]
    for bastion, key in zip((first, second), keys, strict=True):
        bastion.tell(event="hello", pids=[])
        bastion.tell_session(7, key)
    await wait_until(lambda: len(site.journal.sessions) == 2, "both are known")
    return first, second, keys


def list_names(site, event: str) -> list[str]:
    return [record["session"] for record in site.read_audit(event)]


async def test_processes_of_the_same_number_in_two_bastions_are_two_sessions(site):
    first, second, _ = await open_two(site)
    assert sorted((r["session"], r["user"], r["address"]) for r in site.read_audit("opened")) == [
        ("b1:7", "ann", ADDRESS), ("b2:7", "bob", ADDRESS),
    ]  # fmt: skip
    first.tell(event="closed", pid=7)
    await wait_until(lambda: list_names(site, "closed"), "one is closed")
    assert list_names(site, "closed") == ["b1:7"]
    assert list(site.journal.sessions) == [("b2", 7)]
    second.hang_up()


async def test_a_session_is_ended_in_the_bastion_where_it_is(site):
    first, second, keys = await open_two(site)
    site.journal.end_keys("bob", keys[1:])
    assert await second.read_wish() == {"end": 7}
    # What the first one hears first is its own.
    site.journal.sessions["b1", 8] = site.journal.sessions.pop(("b1", 7))
    site.journal.sessions["b1", 8].pid = 8
    site.journal.end_keys("ann", keys[:1])
    assert await first.read_wish() == {"end": 8}


async def test_a_bastion_that_is_gone_for_a_minute_has_its_sessions_closed_and_another_one_not(
    site,
):
    first, second, _ = await open_two(site)
    first.hang_up()
    await wait_until(lambda: "b1" in site.journal._gone, "the first is gone")
    site.now[0] += GONE_SECONDS / 2
    second.hang_up()
    await wait_until(lambda: "b2" in site.journal._gone, "the second is gone")
    site.now[0] += GONE_SECONDS / 2 + 1
    await wait_until(lambda: list_names(site, "closed"), "the first one's session is closed")
    assert list_names(site, "closed") == ["b1:7"]
    assert site.read_audit("closed")[0]["seconds"] == GONE_SECONDS + 1
    assert list(site.journal.sessions) == [("b2", 7)]


async def test_a_bastion_that_comes_back_in_time_keeps_its_sessions_and_those_that_ended_meanwhile_are_closed(  # noqa: E501
    site,
):
    first, second, keys = await open_two(site)
    first.tell_session(9, keys[0])
    await wait_until(lambda: len(site.journal.sessions) == 3, "another one")
    first.hang_up()
    await wait_until(lambda: "b1" in site.journal._gone, "the first is gone")
    site.now[0] += GONE_SECONDS - 1
    again = await site.connect("b1")
    again.tell(event="hello", pids=[9])
    again.tell_session(9, keys[0], event="known")
    await wait_until(lambda: list_names(site, "closed"), "what ended meanwhile is closed")
    second.hang_up()
    await wait_until(lambda: "b2" in site.journal._gone, "the second is gone")
    site.now[0] += GONE_SECONDS + 1
    await wait_until(
        lambda: len(list_names(site, "closed")) == 2, "the second one's session is closed"
    )
    assert list_names(site, "closed") == ["b1:7", "b2:7"]
    assert list(site.journal.sessions) == [("b1", 9)]
    assert len(list_names(site, "opened")) == 3


async def test_the_former_line_of_a_bastion_that_is_back_may_end_late(site):
    first, _, keys = await open_two(site)
    again = await site.connect("b1")
    again.tell(event="hello", pids=[7])
    again.tell_session(9, keys[0])
    await wait_until(lambda: ("b1", 9) in site.journal.sessions, "it speaks by the new one")
    first.hang_up()
    site.journal.end_keys("ann", keys[:1])
    assert [await again.read_wish() for _ in range(2)] == [{"end": 7}, {"end": 9}]
    assert "b1" not in site.journal._gone


async def test_a_hub_that_comes_later_learns_of_any_number_of_sessions_and_where_they_were_led(
    site,
):
    bastion, key = await site.connect("b1"), site.register("ann")
    pids = list(range(1, 301))
    bastion.tell(event="hello", pids=pids)
    for pid in pids:
        bastion.tell_session(
            pid, key, event="known", user="limited-user", workspaces=[], at=site.now[0] - 100
        )
        bastion.tell(event="kept", pid=pid, workspace=["bob", "lab"])
    await wait_until(
        lambda: (
            len(site.journal.sessions) == len(pids) and site.journal.sessions["b1", 300].workspaces
        ),
        "all are known",
    )
    assert site.read_audit() == []
    # Told once more, after a pause.
    bastion.tell(event="kept", pid=1, workspace=["bob", "lab"])
    bastion.tell(event="closed", pid=1)
    await wait_until(lambda: list_names(site, "closed"), "the first is closed")
    closed = site.read_audit("closed")[0]
    assert (closed["session"], closed["user"], closed["workspaces"], closed["seconds"]) == (
        "b1:1",
        "ann",
        ["bob/lab"],
        100,
    )


async def test_a_process_of_the_same_number_in_a_bastion_that_was_started_again_is_another_session(
    site,
):
    first, second, keys = await open_two(site)
    first.hang_up()
    await wait_until(lambda: "b1" in site.journal._gone, "the first is gone")
    again = await site.connect("b1")
    again.tell(event="hello", pids=[7])
    again.tell_session(7, keys[1], at=site.now[0] + 30)
    await wait_until(lambda: len(list_names(site, "opened")) == 3, "it is known")
    assert [(record["session"], record["user"]) for record in site.read_audit("closed")] == [
        ("b1:7", "ann")
    ]
    assert site.read_audit("opened")[-1]["user"] == site.journal.sessions["b1", 7].user == "bob"
    # The one in the other bastion is told once more, and is the same.
    second.tell_session(7, keys[1], event="known")
    second.tell(event="closed", pid=7)
    await wait_until(lambda: ("b2", 7) not in site.journal.sessions, "it is closed")
    assert list_names(site, "closed") == ["b1:7", "b2:7"]


async def test_a_session_whose_key_went_while_nobody_listened_is_ended(site):
    bastion, key = await site.connect("b1"), site.register("ann")
    bastion.tell(event="hello", pids=[7, 8])
    bastion.tell_session(7, "SHA256:" + "A" * 43, event="known")
    bastion.tell_session(8, key, event="known")
    assert await bastion.read_wish() == {"end": 7}
    await wait_until(lambda: site.journal.sessions, "the other one stays")
    assert list(site.journal.sessions) == [("b1", 8)]


async def test_a_session_that_could_not_be_ended_while_its_bastion_was_away_is_ended_when_it_is_back(  # noqa: E501
    site,
):
    first, _, keys = await open_two(site)
    first.hang_up()
    await wait_until(lambda: "b1" in site.journal._gone, "the first is gone")
    person = site.grants.keys.find(keys[0]).user
    assert site.grants.keys.remove(person, site.grants.keys.find(keys[0]).id)
    again = await site.connect("b1")
    again.tell(event="hello", pids=[7])
    again.tell_session(7, keys[0], event="known")
    assert await again.read_wish() == {"end": 7}


async def test_what_can_not_be_read_does_not_cost_what_comes_after(site, caplog):
    bastion, key = await site.connect("b1"), site.register("ann")
    bastion.writer.write(b"no json\n[]\n{}\n")
    bastion.tell(event="opened", pid=7)
    bastion.tell_session(8, key)
    await wait_until(lambda: site.journal.sessions, "the good one")
    assert list(site.journal.sessions) == [("b1", 8)]
    assert sum("cannot be handled" in record.getMessage() for record in caplog.records) == 4


async def test_a_refused_key_is_written_down_with_the_address_that_the_bastion_tells(site):
    bastion = await site.connect("b1")
    bastion.tell_session(7, "SHA256:" + "A" * 43, event="refused")
    await wait_until(lambda: site.read_audit("refused"), "a record")
    assert site.read_audit()[0]["address"] == ADDRESS


async def test_a_hub_that_was_just_started_ends_nobody_whose_key_a_workspace_may_bring(site):
    site.grants.workspace_keys = keys = WorkspaceKeys(site.grants.users, {}, 8080, "id.pub")
    looking = asyncio.create_task(site.journal.keep_active())
    bastion = await site.connect("b1")
    bastion.tell(event="hello", pids=[7])
    bastion.tell_session(7, "SHA256:" + "A" * 43, event="known")
    await wait_until(lambda: ("b1", 7) in site.journal.sessions, "it stays for now")
    await site.journal.end_unauthorized()
    # All that run were asked, and none brings it.
    asking = asyncio.create_task(keys.keep_asking())
    assert await bastion.read_wish() == {"end": 7}
    for task in (asking, looking):
        task.cancel()
    bastion.hang_up()
