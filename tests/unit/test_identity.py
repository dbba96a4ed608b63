"""Names are injective, DNS-safe and short, whatever people call themselves."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.identity import Identity, is_dns_label, make_bridge_prefix

DNS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
hubs = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?\Z")
names = st.one_of(
    st.text(min_size=1, max_size=300),
    st.from_regex(r"\A[a-z0-9A-Z@._-]{1,40}\Z"),
    st.from_regex(r"\A(a|b|-|--|---|ws|mlhub|x){1,6}\Z"),
)
servers = st.one_of(st.just(""), names)
identities = st.builds(Identity, hubs, names, servers)


def all_names(identity):
    return [
        identity.container,
        identity.volume(1),
        identity.volume(2),
        identity.name("t1n0"),
        identity.network,
        identity.network_policy,
    ]


@given(identities)
def test_every_name_is_a_dns_label_of_at_most_63_characters(identity):
    for name in all_names(identity):
        assert DNS.match(name), name
        assert is_dns_label(name)


@given(identities, identities)
def test_different_workspaces_never_share_a_name(one, other):
    if one == other:
        assert all_names(one) == all_names(other)
        return
    assert one.container != other.container
    for generation in (1, 2, 12):
        assert one.volume(generation) != other.volume(generation)
    assert set(map(one.volume, (1, 2, 11))).isdisjoint(map(other.volume, (1, 2, 11)))
    assert (one.network == other.network) == ((one.hub, one.user) == (other.hub, other.user))


@given(st.lists(identities, min_size=2, max_size=40, unique=True))
def test_names_of_all_kinds_stay_apart_in_a_crowd(crowd):
    seen = {}
    for identity in crowd:
        for kind, name in [
            ("ws", identity.container),
            *((f"v{n}", identity.volume(n)) for n in (1, 2)),
            ("t1", identity.name("t1n0")),
        ]:
            assert seen.setdefault(name, (identity, kind)) == (identity, kind)


PAIRS = [
    (Identity("mlhub", "a-b", "c"), Identity("mlhub", "a", "b-c")),
    (Identity("mlhub", "a--b"), Identity("mlhub", "a", "b")),
    (Identity("mlhub", "a-", "b"), Identity("mlhub", "a", "-b")),
    (Identity("mlhub", "Alice"), Identity("mlhub", "alice")),
    (Identity("mlhub", "foo.bar"), Identity("mlhub", "foo-bar")),
    (Identity("mlhub", "foo_bar"), Identity("mlhub", "foo, bar")),
    (Identity("mlhub", "foo0bar"), Identity("mlhub", "foo.bar")),
    (Identity("mlhub", "a@b.com"), Identity("mlhub", "a-b-com")),
    (Identity("mlhub", "u" * 300), Identity("mlhub", "u" * 299)),
    (Identity("mlhub", "ärger"), Identity("mlhub", "arger")),
    (Identity("mlhub", "日本"), Identity("mlhub", "中国")),
    (Identity("mlhub", "ﬁ"), Identity("mlhub", "fi")),
    (Identity("mlhub", "a-x-mlhub-b"), Identity("mlhub", "a-x", "b-mlhub")),
    (Identity("mlhub", "a-mlhub"), Identity("mlhub", "a")),
    (Identity("ml", "hub--a"), Identity("ml--hub", "a")),
    (Identity("a", "b-c"), Identity("a-b", "c")),
    (Identity("mlhub", "ws-mlhub--bob"), Identity("mlhub", "bob")),
    (Identity("mlhub", Identity("mlhub", "B@b").container), Identity("mlhub", "B@b")),
    (
        Identity("mlhub", Identity("mlhub", "B@b").container.removeprefix("ws-mlhub--")),
        Identity("mlhub", "B@b"),
    ),
    (Identity("mlhub", "a", "g2"), Identity("mlhub", "a")),
    (Identity("mlhub", "a", "b" * 30), Identity("mlhub", "a" * 30, "b")),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_known_ways_to_collide_are_closed(one, other):
    assert set(all_names(one)).isdisjoint(all_names(other)) or one.network == other.network
    assert one.container != other.container
    assert not one.owns(other.labels)
    assert not other.owns(one.labels)


def test_ordinary_names_stay_readable():
    assert Identity("mlhub", "alice").container == "ws-mlhub--alice"
    assert Identity("mlhub", "foo-bar", "my-server").container == "ws-mlhub--foo-bar--my-server"
    assert Identity("mlhub", "alice", "x").volume(1) == "v1-mlhub--alice--x"
    assert (
        Identity("mlhub", "alice", "x").network
        == Identity("mlhub", "alice", "y").network
        == "zz-net-mlhub--alice"
    )
    assert re.fullmatch(
        r"ws-mlhub--jo-example-co(m)?---[0-9a-f]{20}", Identity("mlhub", "jo@example.com").container
    )


@given(identities)
def test_labels_carry_the_raw_names_and_read_back(identity):
    assert identity.labels == {
        "mlhub.origin": identity.hub,
        "mlhub.user": identity.user,
        "mlhub.server_name": identity.server,
    }
    assert Identity.from_labels(identity.labels) == identity
    assert identity.owns({**identity.labels, "other": "label"})


def test_labels_that_are_not_complete_own_nothing():
    identity = Identity("mlhub", "alice")
    assert not identity.owns(None)
    assert not identity.owns({})
    assert not identity.owns(identity.user_labels)
    assert not identity.owns_for_user(identity.labels)
    assert identity.owns_for_user(identity.user_labels)
    assert Identity.from_labels({"mlhub.origin": "mlhub"}) is None


@given(hubs, hubs)
def test_no_hubs_bridge_prefix_is_the_start_of_anothers(one, other):
    if one != other:
        assert not make_bridge_prefix(one).startswith(make_bridge_prefix(other))
        assert len(make_bridge_prefix(one)) + 6 <= 15
