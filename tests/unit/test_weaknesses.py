"""Every weakness of the table is tried by tests that are there, and that a tier runs."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
try:
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.lanes import FOLDERS
    from tools.weakness_page import WITHIN, list_tests, read_table, render_weaknesses
finally:
    sys.path.remove(str(ROOT / "scripts"))

TESTS = ROOT / "tests"
PLACES = {"http", "websocket", "rest", "ssh", "inner ports", "docker", "kubernetes"}
KEYS = {"weakness", "stops", "places", "attack", "twin"}
BACKENDS = {
    "docker": {"docker", "image", "contract", "unit"},
    "kubernetes": {"kube", "chart", "contract", "unit", "image"},
}
ROWS = {name: row for rows in read_table().values() for name, row in rows.items()}
# Marks that keep a test out of both tiers, on every machine or on some.
LEFT_OUT = ("skip", "skipif", "xfail")


@functools.cache
def list_collected(file: str) -> dict[str, list[str]]:
    """Return the names of the marks of each test function that pytest collects in a file."""
    source = (TESTS / file).read_text()
    tree = ast.parse(source)
    texts = map(ast.unparse, tree.body) if "pytestmark" in source else ()
    whole = [text for text in texts if "pytestmark" in text]
    return {
        node.name: [*whole, *(ast.unparse(each) for each in node.decorator_list)]
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", ROWS)
def test_each_test_that_a_weakness_names_is_there_and_runs_in_a_tier(name):
    for test in list_tests(ROWS[name]):
        file, _, function = test.partition("::")
        folder, _, module = file.partition("/")
        assert folder in FOLDERS, test
        assert module.startswith("test_"), test
        assert (TESTS / file).is_file(), f"{test}: the file is gone"
        assert function in list_collected(file), f"{test}: the test is gone, or has another name"
        marks = " ".join(list_collected(file)[function])
        assert not any(f"mark.{mark}" in marks for mark in LEFT_OUT), test


@pytest.mark.parametrize("name", ROWS)
def test_each_weakness_has_a_sentence_what_stops_it_an_attack_and_a_twin(name):
    row = ROWS[name]
    assert set(row) - {"only"} == KEYS
    assert row["weakness"].endswith(".")
    assert row["stops"].endswith(".")
    assert set(row["places"]) <= PLACES
    assert row["attack"]
    assert row["twin"]
    assert len(set(list_tests(row))) == len(list_tests(row))
    # What is claimed of a backend is tried there, or where no backend can differ.
    folders = {test.partition("/")[0] for test in list_tests(row)}
    backends = set(BACKENDS) & set(row["places"])
    for backend in backends:
        assert folders & BACKENDS[backend], row["places"]
    # What can differ between them is tried on both, or it is said why one is enough.
    assert ("only" in row) == (len(backends) == 1), row["places"]
    assert row.get("only", ".").endswith(".")


def test_no_name_stands_twice_and_every_way_in_is_tried():
    names = [name for rows in read_table().values() for name in rows]
    assert len(names) == len(set(names)) == len(ROWS)
    assert {place for row in ROWS.values() for place in row["places"]} == PLACES
    assert any(row["twin"] != WITHIN for row in ROWS.values())
    page = render_weaknesses()
    assert all(f"### {name}\n" in page for name in names)


def test_a_test_that_is_gone_would_be_told(monkeypatch, tmp_path):
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "test_a.py").write_text(
        "import pytest\n\n@pytest.mark.skip\ndef test_b(): ...\n\ndef helper(): ...\n"
    )
    monkeypatch.setattr(f"{__name__}.TESTS", tmp_path)
    row = yaml.safe_load("{attack: [unit/test_a.py::test_b], twin: within}")
    for gone in ("unit/test_a.py::test_b", "unit/test_a.py::helper", "unit/test_b.py::test_b"):
        monkeypatch.setitem(ROWS, "gone", {**row, "attack": [gone]})
        with pytest.raises(AssertionError, match="test_"):
            test_each_test_that_a_weakness_names_is_there_and_runs_in_a_tier("gone")
    list_collected.cache_clear()
