"""The names that people type to reach a workspace by SSH."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.errors import OptionsError
from mlhub.ssh.alias import is_host, list_suffixes, make_alias, parse_alias

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
SUFFIXES = st.sampled_from(["mlhub", "hub.example.org", "192.0.2.7"])


@pytest.mark.parametrize(
    ("user", "server", "alias"),
    [
        ("alice", "", "alice.mlhub"),
        ("alice", "lab", "lab.alice.mlhub"),
        ("alice-b", "gpu-2", "gpu-2.alice-b.mlhub"),
        ("ann@example.org", "", "ann_40example_2eorg.mlhub"),
        ("Ann_B", "", "_41nn_5f_42.mlhub"),
        ("-x-", "", "_2dx_2d.mlhub"),
        ("zoë", "", "zo_c3_ab.mlhub"),
    ],
)
def test_names_are_written_as_documented(user, server, alias):
    assert make_alias(user, server, "mlhub") == alias
    assert parse_alias(alias, "mlhub") == (user, server)


@given(user=NAMES, server=st.one_of(st.just(""), NAMES), suffix=SUFFIXES)
def test_every_name_can_be_read_back(user, server, suffix):
    alias = make_alias(user, server, suffix)
    assert parse_alias(alias, suffix) == (user, server)
    assert set(alias) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert not alias.startswith("-")


@given(text=st.one_of(st.text(max_size=60), st.text("ab-_.0f2d", max_size=20)))
def test_what_is_read_is_what_would_be_written(text):
    try:
        user, server = parse_alias(f"{text}.mlhub", "mlhub")
    except OptionsError:
        return
    assert make_alias(user, server, "mlhub") == f"{text}.mlhub"


@pytest.mark.parametrize(
    "alias",
    [
        "", "mlhub", ".mlhub", "a.b.c.mlhub", "alice", "alice.other", "ALICE.mlhub", "a_.mlhub",
        "a_4.mlhub", "_61.mlhub", "-a.mlhub", "_ff.mlhub", "a;b.mlhub", "a\nb.mlhub", "a..mlhub",
    ],
)  # fmt: skip
def test_anything_else_is_refused(alias):
    with pytest.raises(OptionsError, match="does not name a workspace"):
        parse_alias(alias, "mlhub")


def test_a_suffix_that_is_no_host_name_is_refused():
    for suffix in ("", "*", "a b", "a\n", ".", "-a", "a..b"):
        with pytest.raises(OptionsError):
            parse_alias(f"alice.{suffix}", suffix)


def test_clients_are_given_the_first_host_name_else_the_name_of_the_hub():
    assert list_suffixes("mlhub", []) == ["mlhub"]
    assert list_suffixes("mlhub", ["::1", "Hub.Example.org", "192.0.2.7"]) == [
        "hub.example.org",
        "192.0.2.7",
        "mlhub",
    ]


def test_hosts_are_names_and_addresses_and_nothing_that_a_shell_could_read():
    assert all(map(is_host, ["localhost", "Hub.example.org", "192.0.2.7", "::1", "2001:db8::7"]))
    assert not any(
        map(
            is_host,
            [
                "",
                "a b",
                "$(id)",
                "a;b",
                "a'b",
                "-oProxyCommand=x",
                "::1%eth0",
                "a:b",
                "[::1]",
                "a\n",
                "é",
            ],
        )
    )
