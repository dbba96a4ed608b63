"""What people's files take of the disk: measured, added up by whose they are, and a reason to
refuse a start and nothing else.
"""

from __future__ import annotations

import asyncio

import pytest

from mlhub.backends.docker.disk import read_taken
from mlhub.identity import Identity
from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.options.option import Host
from mlhub.policy.available import find_available_options
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import decide, decide_kept
from mlhub.policy.disk import DiskUse, Taken
from mlhub.policy.file import read_policy
from mlhub.policy.model import Person, SitePolicy, SpawnerDefaults
from mlhub.policy.quota import Reservation
from mlhub.quantities import GIBIBYTE
from mlhub.workspaces.disk_record import DiskRecord

ANN = Person("ann")
HOST = Host(memory_bytes=33 * GIBIBYTE, gpus=(), is_shared=True, disk_bytes=100 * GIBIBYTE)
NOW = 1_000_000.0
FULL = DiskUse(80 * GIBIBYTE, 30 * GIBIBYTE, frozenset({"", "old"}), NOW - 180)


def at(server="", disk=FULL, policy=None, runs=(), host=HOST):
    reserved = tuple(Reservation("ann", name, mem_limit=GIBIBYTE) for name in runs)
    return Circumstances(
        policy or SitePolicy(),
        ANN,
        host=host,
        defaults=SpawnerDefaults(image="a/b:1"),
        reserved=(*reserved, Reservation("bob", "", mem_limit=GIBIBYTE)),
        server=server,
        now=NOW,
        disk=disk,
    )


def start(**more):
    return decide(at(**more), WorkspaceOptions())


# who may start


def test_whoever_has_more_than_three_quarters_starts_nothing_new_and_is_told_the_cure():
    with pytest.raises(FieldsError) as refusal:
        start(server="new")
    (sentence,) = refusal.value.fields.values()
    assert sentence == (
        "You may have 75 GB of disk in all, and your files take 80 GB, 30 GB of them in the trash"
        " (measured 3 minutes ago). Start a workspace that has files, it alone, and delete some"
        " there; or remove for good what is in the trash. It is measured again soon. An"
        " administrator may allow more."
    )
    assert refusal.value.rules == {"disk": "built-in, without a policy file"}


@pytest.mark.parametrize("server", ["", "old"])
def test_what_has_files_starts_alone_so_that_its_owner_can_tidy_up(server):
    assert start(server=server)
    with pytest.raises(FieldsError, match="75 GB of disk"):
        start(server=server, runs=("other",))
    assert start(server=server, runs=(server,))  # itself does not count


@pytest.mark.parametrize(
    "more",
    [
        {"disk": DiskUse(75 * GIBIBYTE)},
        {"disk": None},
        {"host": Host(memory_bytes=33 * GIBIBYTE, gpus=(), is_shared=True)},
        {"host": Host(memory_bytes=33 * GIBIBYTE, gpus=(), disk_bytes=GIBIBYTE)},
        {"policy": read_policy("everyone: {total: {disk: unlimited}}")},
        {"policy": read_policy("everyone: {ssh: true}")},
        {"policy": read_policy("users: {ann: {total: {disk: 80G}}}")},
    ],
    ids=["no more", "not measured", "disk not known", "no shared host", "unlimited", "a policy",
         "own rule"],
)  # fmt: skip
def test_whoever_has_room_or_of_whom_nobody_knows_starts(more):
    assert start(server="new", **more)


def test_a_policy_may_give_less_and_names_its_line():
    policy = read_policy("everyone:\n  total:\n    disk: 10G\n", "policy.yaml")
    with pytest.raises(FieldsError, match="You may have 10 GB of disk in all") as refusal:
        start(server="new", policy=policy, disk=DiskUse(11 * GIBIBYTE))
    assert refusal.value.rules == {"disk": "everyone.total.disk, policy.yaml:3"}
    assert start(server="new", policy=policy, disk=DiskUse(9 * GIBIBYTE))


def test_what_runs_goes_on_whatever_it_takes():
    decision = start(server="new", disk=None)
    assert decide_kept(at(server="new"), WorkspaceOptions(), {"mem_limit": "1G"}, decision)


def test_the_form_tells_how_much_there_is_and_how_much_is_taken():
    told = find_available_options(at()).totals
    assert "24 GB of memory and 75 GB of disk in all." in told
    assert told.endswith("Your files take 80 GB, 30 GB of it in the trash.")
    assert "disk" not in find_available_options(at(host=Host())).totals


# whose is what


def test_what_was_made_for_somebody_of_that_name_before_is_not_somebodys_own():
    record = DiskRecord()
    assert record.find("ann", "db.1") is None
    record.note(
        [
            Taken("ann", "", "db.1", 5),
            Taken("ann", "a", "db.1", 7, is_trashed=True),
            Taken("ann", "b", "db.0", 100),
            Taken("ann", "c", "", 1),
            Taken("ann", "empty", "db.1", 0),
            Taken("bob", "", "db.2", 3),
        ],
        NOW,
    )
    assert record.find("ann", "db.1") == DiskUse(13, 7, frozenset({"", "c"}), NOW)
    assert record.find("eve", "db.3") == DiskUse(0, measured_at=NOW)
    assert record.taken == 116


def label(user, server, person="db.1", **more):
    return {**Identity("hub", user, server).labels, "mlhub.user_id": person, **more}


def test_an_engines_answer_is_read_whole_with_trash_and_gifts_and_nothing_of_others():
    trashed = {"mlhub.trashed_volume": "v-old", "mlhub.trashed_at": "5"}
    given = {"mlhub.given_volume": "v-given", "mlhub.given_at": "6"}
    volumes = [
        {"Name": "v-ann", "Labels": label("ann", ""), "UsageData": {"Size": 10, "RefCount": 1}},
        {"Name": "v-old", "Labels": label("ann", "old"), "UsageData": {"Size": 20}},
        {"Name": "t-old", "Labels": label("ann", "old", **trashed), "UsageData": {"Size": 0}},
        {"Name": "v-given", "Labels": label("ann", "x"), "UsageData": {"Size": 30}},
        {"Name": "g-given", "Labels": label("bob", "y", "db.2", **given)},
        {"Name": "v-unknown", "Labels": label("bob", "z", "db.2"), "UsageData": {"Size": -1}},
        {"Name": "another's", "Labels": label("ann", "") | {"mlhub.origin": "hub2"},
         "UsageData": {"Size": 1000}},
        {"Name": "nobody's", "Labels": None, "UsageData": {"Size": 1000}},
    ]  # fmt: skip
    containers = [
        {"Labels": label("ann", ""), "SizeRw": 4},
        {"Labels": label("ann", "")},  # nothing written yet
        {"Labels": {"com.example": "x"}, "SizeRw": 1000},
    ]
    old = {"Volumes": volumes, "Containers": containers, "Images": []}
    new = {"VolumeUsage": {"Items": volumes}, "ContainerUsage": {"Items": containers}}
    for answer in (old, new):
        taken = {(each.user, each.server, each.is_trashed): each.size
                 for each in read_taken(answer, "hub") if each.size}  # fmt: skip
        assert taken == {
            ("ann", "", False): 4,  # of the container, the last of the two
            ("ann", "old", True): 20,
            ("bob", "y", False): 30,
        }
        assert sum(each.size for each in read_taken(answer, "hub")) == 64
    assert read_taken({"Volumes": None, "Containers": None}, "hub") == []


# when


async def test_it_is_measured_again_sooner_where_somebody_tidies_up():
    record = DiskRecord()
    waiting = asyncio.create_task(record.wait_until_due(at_least=0, at_most=3600))
    await asyncio.sleep(0)
    assert not waiting.done()
    record.ask_again()
    await asyncio.wait_for(waiting, 5)
    # What was asked once is done once.
    again = asyncio.create_task(record.wait_until_due(at_least=0, at_most=3600))
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
