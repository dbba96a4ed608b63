"""What is to be removed, decided without a hub."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mlhub.cleanup.evidence import GRACE_SECONDS, Census
from mlhub.cleanup.plan import (
    DAY_SECONDS,
    Finding,
    Item,
    Task,
    find_expired,
    find_orphans,
    find_overdue,
    make_plan,
)
from mlhub.identity import Identity
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.workspaces.port import Kind, Resource, Workspace

NOW = 1_800_000_000.0
NAMES = st.sampled_from(["ann", "bob", "a-b", "Ann", "ünal"])
SERVERS = st.sampled_from(["", "lab", "b-c"])
PEOPLE = st.dictionaries(NAMES, st.dictionaries(SERVERS, st.just({}), max_size=3), max_size=5)


def make_resource(kind, user, server, **changes):
    identity = Identity("mlhub", user, server or "")
    labels = identity.user_labels if kind is Kind.NETWORK else identity.labels
    server = None if kind is Kind.NETWORK else server
    made = Resource(kind, f"{kind}-{user}-{server}", user, server, NOW - 60, labels=labels)
    return replace(made, **changes)


def make_census(people, **changes):
    return replace(Census(people, len(people), NOW, NOW, frozenset({"db.1"})), **changes)


def make_workspace(user, server, expires_at=None):
    identity = Identity("mlhub", user, server)
    labels = {**identity.labels, **({LABEL_EXPIRES: str(expires_at)} if expires_at else {})}
    return Workspace(identity, identity.container, "any", True, NOW - 60, labels=labels)


def names(found):
    items = found.items if isinstance(found, Finding) else found
    return sorted((each.kind, each.user, each.server) for each in items)


RESOURCES = st.lists(
    st.builds(
        make_resource,
        st.sampled_from(list(Kind)),
        NAMES,
        SERVERS,
        created_at=st.sampled_from([NOW - 60, NOW, NOW + 60]),
        trashed_at=st.sampled_from([None, None, NOW - 99]),
    ),
    max_size=12,
)


# orphans


@given(PEOPLE, RESOURCES)
def test_nothing_of_anybody_whom_the_hub_knows_is_an_orphan(people, resources):
    for item in find_orphans("mlhub", make_census(people), resources).items:
        assert item.user not in people or (item.server and item.server not in people[item.user])
        assert item.resource.trashed_at is None
        assert item.resource.created_at < NOW


def test_orphans_are_what_unknown_people_and_unknown_servers_have_and_nothing_else():
    resources = [
        make_resource(kind, user, server)
        for kind in (Kind.WORKSPACE, Kind.VOLUME)
        for user in ("ann", "bob")
        for server in ("", "lab", "gone")
    ]
    resources += [make_resource(Kind.NETWORK, user, None) for user in ("ann", "bob")]
    found = find_orphans("mlhub", make_census({"ann": {"lab": {}}}), resources)
    assert names(found) == sorted(
        [
            *((kind, "ann", "gone") for kind in (Kind.WORKSPACE, Kind.VOLUME)),
            *((each.kind, "bob", each.server) for each in resources if each.user == "bob"),
        ],
    )
    assert found.totals == {Kind.WORKSPACE: 6, Kind.VOLUME: 6, Kind.NETWORK: 2}


def test_another_hubs_objects_are_no_orphans_and_do_not_count():
    made = make_resource(Kind.VOLUME, "bob", "")
    foreign = replace(made, labels={**made.labels, "mlhub.origin": "other"})
    found = find_orphans("mlhub", make_census({"ann": {}}), [foreign])
    assert (found.items, found.totals) == ([], {})


def test_what_was_made_under_another_database_waits_for_an_administrator_with_all_of_its_owner():
    volume = make_resource(Kind.VOLUME, "bob", "")
    volume = replace(volume, labels={**volume.labels, "mlhub.user_id": "lost.1"})
    others = [make_resource(Kind.VOLUME, "ann", str(number)) for number in range(20)]
    known = {"ann": {str(number): {} for number in range(20)}}
    found = find_orphans(
        "mlhub", make_census(known), [volume, make_resource(Kind.NETWORK, "bob", None), *others]
    )
    seen = {each.key: GRACE_SECONDS for each in found.items}
    plan = make_plan(Task.USERS, found, seen, 100)
    assert names(plan.held) == [(Kind.NETWORK, "bob", None), (Kind.VOLUME, "bob", "")]
    assert "another database" in plan.problems[0]
    assert names(make_plan(Task.USERS, found, seen, 100, plan.confirm).due) == names(plan.held)


# expired workspaces


def test_the_database_has_the_last_word_on_an_expiry_and_the_label_counts_where_it_says_nothing():
    people = {
        "ann": {
            "over": {"expires_at": NOW - 1},
            "put-off": {"expires_at": NOW + 1},
            "for-ever": {"expires_at": 0},
            "label": {},
            "no-container": {"expires_at": NOW - 1},
        }
    }
    workspaces = [
        make_workspace("ann", server, int(NOW - 5))
        for server in ("over", "put-off", "for-ever", "label", "")
    ]
    workspaces.append(make_workspace("gone", "", int(NOW - 5)))
    found = find_expired("mlhub", make_census(people), workspaces, NOW)
    assert [server for _, _, server in names(found)] == ["", "label", "no-container", "over"]
    assert found.totals == {Kind.WORKSPACE: 6}
    plan = make_plan(Task.EXPIRED, found, {}, 100)
    assert names(plan.due) == names(found)


@given(st.integers(1, 2**62))
def test_a_workspace_is_expired_from_the_very_second_on(expires_at):
    people = {"ann": {"lab": {"expires_at": expires_at}}}
    for now, count in ((expires_at - 1, 0), (expires_at, 1)):
        assert len(find_expired("mlhub", make_census(people), [], now).items) == count


# the trash


@given(st.floats(0.01, 1000), st.integers(1, int(NOW)))
def test_data_leaves_the_trash_after_the_days_that_it_is_kept_and_not_before(days, trashed_at):
    volume = make_resource(Kind.VOLUME, "ann", "", trashed_at=float(trashed_at))
    until = trashed_at + days * DAY_SECONDS
    assert not find_overdue("mlhub", [volume], days, until - 1).items
    assert find_overdue("mlhub", [volume], days, until + 1).items


def test_data_that_is_not_in_the_trash_never_leaves_and_one_with_an_unreadable_mark_only_at_once():
    kept = make_resource(Kind.VOLUME, "ann", "")
    unreadable = make_resource(Kind.VOLUME, "bob", "", trashed_at=0.0)
    found = find_overdue("mlhub", [kept, unreadable], 1, NOW)
    assert (found.items, found.totals) == ([], {Kind.VOLUME: 2})
    at_once = find_overdue("mlhub", [kept, unreadable], 0, NOW)
    assert names(at_once) == [(Kind.VOLUME, "bob", "")]
    assert names(make_plan(Task.TRASH, at_once, {}, 20).due) == names(at_once)
    assert find_overdue("mlhub", [replace(unreadable, trashed_at=NOW - 99)], 0, NOW).items


def test_overdue_data_has_to_be_seen_twice():
    volume = make_resource(Kind.VOLUME, "ann", "", trashed_at=NOW - 99 * DAY_SECONDS)
    found = find_overdue("mlhub", [volume], 14, NOW)
    (item,) = found.items
    assert names(make_plan(Task.TRASH, found, {}, 20).waiting) == names(found)
    seen = {item.key: GRACE_SECONDS}
    assert names(make_plan(Task.TRASH, found, seen, 20).due) == names(found)
    again = find_overdue("mlhub", [replace(volume, trashed_at=NOW - 98 * DAY_SECONDS)], 14, NOW)
    assert names(make_plan(Task.TRASH, again, seen, 20).waiting) == names(found)


# how much at once


def make_finding(count, total, *, is_sure):
    items = [Item(Kind.VOLUME, f"v{each}", f"u{each}", "", "", None) for each in range(count)]
    return Finding(items, {Kind.VOLUME: total}, is_sure)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100), st.booleans())
def test_more_than_a_site_allows_at_once_is_held_back_whole_and_less_is_not(
    count, others, most, is_sure
):
    found = make_finding(count, count + others, is_sure=is_sure)
    seen = {each.key: GRACE_SECONDS for each in found.items}
    plan = make_plan(Task.USERS, found, seen, most)
    is_much = count * 100 > most * (count + others) and count > (3 if is_sure else 0)
    assert len(plan.held) == (count if is_much else 0)
    assert len(plan.due) == (0 if is_much else count)
    assert bool(plan.confirm) == bool(plan.problems) == is_much


def test_what_was_confirmed_is_removed_and_not_one_thing_more():
    found = make_finding(5, 10, is_sure=False)
    seen = {each.key: GRACE_SECONDS for each in found.items}
    plan = make_plan(Task.USERS, found, seen, 20)
    assert "5 of 10 objects of the kind volume" in plan.problems[0]
    assert len(make_plan(Task.USERS, found, seen, 20, plan.confirm).due) == 5
    more = replace(found, items=make_finding(6, 10, is_sure=False).items)
    assert not make_plan(Task.USERS, more, seen, 20, plan.confirm).due
    assert not make_plan(Task.TRASH, found, seen, 20, plan.confirm).due
    assert not make_plan(Task.USERS, found, {}, 20, plan.confirm).due
    approved = {each.key for each in plan.held}
    assert len(make_plan(Task.USERS, found, seen, 20, "", approved).due) == 5
    assert (
        len(make_plan(Task.USERS, make_finding(4, 10, is_sure=False), seen, 20, "", approved).due)
        == 4
    )
    assert len(make_plan(Task.USERS, more, seen, 20, "", approved).held) == 6


@given(st.lists(st.floats(0, 2 * GRACE_SECONDS), max_size=20))
def test_everything_that_was_found_is_in_the_plan_once(ages):
    found = make_finding(len(ages), 1000, is_sure=True)
    seen = {each.key: age for each, age in zip(found.items, ages, strict=True)}
    plan = make_plan(Task.USERS, found, seen, 20)
    planned = Counter(each.name for each in (*plan.due, *plan.waiting, *plan.held))
    assert planned == Counter(each.name for each in found.items)
    assert all(seen[each.key] >= GRACE_SECONDS for each in plan.due)
