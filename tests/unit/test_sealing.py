"""A secret option is kept in a way that only this hub opens, for the workspace it was given to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.options.model import FieldsError
from mlhub.workspaces.sealing import Seal

SECRET = b"\x00" * 32
KEY = "AAAA-BBBB-CCCC"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON)
def test_whatever_is_sealed_is_opened_again_and_shows_nothing_meanwhile(value):
    seal = Seal(SECRET, "ann", "")
    sealed = seal.seal({"license": value, "cpu_limit": 2})
    opened = seal.open(sealed)
    assert opened == {"license": value, "cpu_limit": 2} or str(value).startswith("sealed:")
    assert KEY not in json.dumps(Seal(SECRET, "ann", "").seal({"license": [KEY, {KEY: KEY}]}))


def test_sealing_twice_changes_nothing_and_the_same_is_sealed_the_same_way():
    seal = Seal(SECRET, "ann", "")
    once = seal.seal({"license": KEY})
    assert seal.seal(once) == once == Seal(SECRET, "ann", "").seal({"license": KEY})
    assert seal.seal({"env": {"A": KEY}, "license": ""}) == {"env": {"A": KEY}, "license": ""}


@pytest.mark.parametrize(
    "other",
    [
        Seal(SECRET, "bob", ""),
        Seal(SECRET, "ann", "second"),
        Seal(SECRET, "an", "n"),
        Seal(b"\x01" * 32, "ann", ""),
    ],
)
def test_a_copy_opens_nothing_for_anybody_else(other):
    sealed = Seal(SECRET, "ann", "").seal({"license": KEY})
    with pytest.raises(FieldsError, match="Type it again") as caught:
        other.open(sealed)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["sealed:", "sealed:AAAA", "sealed:ä", "sealed:" + "A" * 10_000])
def test_what_only_pretends_to_be_sealed_is_refused(text):
    with pytest.raises(FieldsError, match="Type it again"):
        Seal(SECRET, "ann", "").open({"license": text})
