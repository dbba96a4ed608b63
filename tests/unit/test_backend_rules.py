"""The rules that all backends share, as far as they need no place: labels, numbers, marks."""

from __future__ import annotations

import asyncio

import pytest

from mlhub.backends import background, inventory
from mlhub.backends.docker.volumes import (
    LABEL_GIFT,
    LABEL_GIVEN_AT,
    LABEL_TRASHED,
    read_gifts,
    sort_volumes,
)
from mlhub.backends.fake.inventory import FakeBackend
from mlhub.backends.kubernetes.names import read_raw_labels
from mlhub.backends.trash import (
    LABEL_GENERATION,
    LABEL_TRASHED_AT,
    Turns,
    Volumes,
    read_trashed_at,
)
from mlhub.errors import BackendError
from mlhub.identity import LABEL_SERVER, LABEL_USER, Identity
from mlhub.workspaces.port import Kind, Resource, Workspace

ALICE = Identity("hub", "Älice", "work")


def make_volume(name: str, trashed_at: float | None = None, **labels: str) -> Resource:
    labels = {**ALICE.labels, **{key.replace("_", "."): each for key, each in labels.items()}}
    made = inventory.make_resource(Kind.VOLUME, name, labels, 5.0, trashed_at)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("kind", "labels", "is_ours"),
    [
        (Kind.WORKSPACE, ALICE.labels, True),
        (Kind.VOLUME, ALICE.labels, True),
        (Kind.NETWORK, ALICE.user_labels, True),
        (Kind.WORKSPACE, ALICE.user_labels, False),
        (Kind.VOLUME, ALICE.user_labels, False),
        (Kind.NETWORK, ALICE.labels, False),
        (Kind.VOLUME, {LABEL_SERVER: ""}, False),
        (Kind.VOLUME, {}, False),
        (Kind.VOLUME, None, False),
    ],
)
def test_only_what_names_its_owner_as_its_kind_does_is_listed(kind, labels, is_ours):
    assert (inventory.read_owner(kind, labels) is not None) == is_ours
    assert (inventory.make_resource(kind, "name", labels, 0.0) is not None) == is_ours


def test_a_workspace_of_which_there_is_only_the_data_is_listed_as_stopped():
    runs = Workspace(ALICE, "ws", "one:1", True, 1.0)
    kept = make_volume("v1", mlhub_image="two:2")
    assert inventory.list_workspaces([runs], [kept]) == [runs]
    assert inventory.list_workspaces([], [make_volume("v1", 7.0)]) == []
    (stopped,) = inventory.list_workspaces([None], [kept, make_volume("v2")])
    assert (stopped.identity, stopped.name, stopped.image) == (ALICE, ALICE.container, "two:2")
    assert (stopped.is_running, stopped.created_at, stopped.expires_at) == (False, 5.0, None)


def test_two_containers_of_one_workspace_are_both_listed():
    found = [Workspace(ALICE, name, "one:1", True, 1.0) for name in ("b", "a")]
    assert [each.name for each in inventory.list_workspaces(found, [])] == ["a", "b"]


def test_the_volume_in_use_is_the_one_of_the_highest_number_and_a_new_one_gets_another():
    found = [
        make_volume("ten", mlhub_generation="10"),
        make_volume("nine", mlhub_generation="9"),
        make_volume("old"),
        make_volume("odd", mlhub_generation="x"),
        make_volume("gone", 3.0, mlhub_generation="11"),
        None,
    ]
    volumes = Volumes.of(found, [{LABEL_GENERATION: "12"}])
    assert [each.name for each in volumes.live][-2:] == ["nine", "ten"]
    assert len(volumes.live) == 4
    assert volumes.next_generation == 13
    assert Volumes.of([]).next_generation == 1


@pytest.mark.parametrize(
    ("labels", "at"), [({}, None), ({LABEL_TRASHED_AT: "12"}, 12.0), ({LABEL_TRASHED_AT: "x"}, 0.0)]
)
def test_a_mark_that_cannot_be_read_is_a_mark(labels, at):
    assert read_trashed_at(labels) == at


def test_the_markers_on_an_engine_tell_which_volumes_are_in_the_trash():
    def entry(name, **labels):
        return {"Name": name, "CreatedAt": "2026-01-02T03:04:05Z", "Labels": labels}

    of_alice = ALICE.labels
    volumes = sort_volumes(
        [
            entry("v1", **of_alice, **{LABEL_GENERATION: "1"}),
            entry("v2", **of_alice, **{LABEL_GENERATION: "2"}),
            entry("t1n0", **of_alice, **{LABEL_TRASHED: "v1", LABEL_TRASHED_AT: "77"}),
            entry("t3n0", **of_alice, **{LABEL_TRASHED: "v3", LABEL_GENERATION: "3"}),
            {"Name": "bundle", "CreatedAt": None, "Labels": None},
        ]
    )
    assert [(each.name, each.trashed_at) for each in volumes.found] == [("v1", 77.0), ("v2", None)]
    # A marker that was left behind keeps its number taken.
    assert volumes.next_generation == 4


def test_what_was_given_to_somebody_is_theirs_whatever_its_own_labels_and_old_markers_say():
    bob, carol = Identity("hub", "bob", "gift"), Identity("hub", "carol")

    def entry(name, identity, **labels):
        return {"Name": name, "CreatedAt": None, "Labels": {**identity.labels, **labels}}

    first = entry("g1n0", bob, **{LABEL_GIFT: "v1", LABEL_GIVEN_AT: "9", LABEL_GENERATION: "1"})
    second = entry("g4n0", carol, **{LABEL_GIFT: "v1", LABEL_GIVEN_AT: "10", LABEL_GENERATION: "4"})
    found = [
        entry("v1", ALICE, **{LABEL_GENERATION: "2"}),
        entry("t2n0", ALICE, **{LABEL_TRASHED: "v1", LABEL_TRASHED_AT: "1"}),
        entry("t1n0", bob, **{LABEL_TRASHED: "v1", LABEL_TRASHED_AT: "2"}),
        first,
        second,
    ]
    (volume,) = sort_volumes(found, read_gifts([second, first])).found
    assert (volume.user, volume.server, volume.trashed_at) == ("carol", "", None)
    assert volume.labels[LABEL_GENERATION] == "4"
    (volume,) = sort_volumes(found, read_gifts([first])).found
    assert (volume.user, volume.trashed_at) == ("bob", 2.0)
    assert sort_volumes(found, read_gifts([first]), {LABEL_USER: ALICE.user}).found == ()
    (volume,) = sort_volumes(found).found  # the twin, without a gift
    assert (volume.user, volume.trashed_at) == (ALICE.user, 1.0)


async def test_who_decides_about_the_same_volumes_waits_and_others_do_not():
    turns, bob = Turns(), Identity("hub", "bob")
    order = []

    async def decide(name, *identities):
        async with turns.take(*identities):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(decide("one", ALICE, bob), decide("two", bob, ALICE))
    assert order == ["one begins", "one ends", "two begins", "two ends"]
    order.clear()
    await asyncio.gather(decide("one", ALICE), decide("two", bob))
    assert order == ["one begins", "two begins", "one ends", "two ends"]


def test_an_object_in_a_cluster_belongs_to_whom_labels_and_annotations_both_name():
    def read(labels, annotations):
        return read_raw_labels({"metadata": {"labels": labels, "annotations": annotations}})

    assert read(ALICE.safe_labels, {**ALICE.labels, "mlhub.image": "one:1"}) == {
        **ALICE.labels,
        "mlhub.image": "one:1",
    }
    assert read(ALICE.safe_user_labels, ALICE.user_labels) == ALICE.user_labels
    other = Identity("hub", "bob", "work")
    for words, raw in (
        (other.safe_labels, ALICE.labels),
        (ALICE.safe_user_labels, ALICE.labels),
        (ALICE.safe_labels, {}),
        ({}, ALICE.labels),
        (None, None),
    ):
        assert read(words, raw) == {}


async def test_a_deletion_that_goes_on_has_ended_before_its_name_is_used_again(monkeypatch):
    monkeypatch.setattr(background, "RETRY_SECONDS", 0)
    steps: list[str] = []
    going_on, may_end = asyncio.Event(), asyncio.Event()

    class Slow(FakeBackend):
        async def _delete(self, identity, reason):
            if not steps:
                steps.append("refused")
                raise BackendError("The place is away.")
            steps.append("began")
            going_on.set()
            await background.await_to_the_end(may_end.wait())
            steps.append("ended")

    backend = Slow()
    with pytest.raises(BackendError):
        await backend.delete_workspace(ALICE)
    await going_on.wait()
    use = asyncio.create_task(backend.finish_deletion(ALICE))
    for _ in range(5):
        await asyncio.sleep(0)
    assert steps == ["refused", "began"]
    may_end.set()
    await use
    # The one in the background was cancelled at its end, and what may be left of it is done.
    assert steps == ["refused", "began", "began", "ended"]
