"""The record tells if anything of it was changed, through restarts and rotated files."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.admin.events import Event, read_event
from mlhub.admin.record import BLOCK_BYTES, Record, list_files, read_latest, verify
from mlhub.audit import AuditLog


def write(file, *events, first=0):
    record = Record(file, lambda: 1_800_000_000.0)
    for number, event in enumerate(events, first):
        record.write(event, by=f"person-{number % 3}", about="ann")
    return record.head


def test_what_was_written_over_several_starts_of_the_hub_is_one_chain(tmp_path):
    file = tmp_path / "audit" / "hub.jsonl"
    for _ in range(3):
        head = write(file, "start", "stop", "sign in")
    verdict = verify(file)
    assert (verdict.lines, verdict.head, verdict.trouble) == (9, head, ())
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_chain_goes_on_through_files_that_were_rotated_and_thrown_away(tmp_path):
    file = tmp_path / "hub.jsonl"
    record = Record(file, lambda: 1_800_000_000.0)
    record._log = AuditLog(file, lambda: 1_800_000_000.0, file_bytes=2000, old_files=3)
    for number in range(100):
        record.write("start", by=f"person-{number}")
    assert len(list_files(file)) == 4
    verdict = verify(file)
    assert verdict.trouble == ()
    assert 20 < verdict.lines < 100
    assert Record(file, lambda: 0.0).head == verdict.head == record.head
    assert [record["by"] for record in read_latest(file, limit=3)] == [
        "person-99",
        "person-98",
        "person-97",
    ]


@given(st.data())
def test_any_change_but_at_the_very_end_is_seen(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("record") / "hub.jsonl"
    head = write(file, *["start", "stop"] * 5)
    lines = file.read_bytes().splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 1))
    change = data.draw(st.sampled_from(["edit", "remove", "swap", "repeat"]))
    if change == "edit":
        lines[number] = lines[number].replace(b"ann", b"bob")
    elif change == "remove":
        del lines[number]
    elif change == "swap":
        other = (number + 1) % len(lines)
        lines[number], lines[other] = lines[other], lines[number]
    else:
        lines.insert(number, lines[number])
    file.write_bytes(b"".join(lines))
    is_first_gone = change == "remove" and number == 0  # as rotation does it
    assert verify(file, head).trouble or is_first_gone


def test_lines_that_are_missing_at_the_end_are_seen_by_a_digest_that_was_noted(tmp_path):
    file = tmp_path / "hub.jsonl"
    head = write(file, "start", "stop")
    assert verify(file, head).trouble == ()
    write(file, "sign in", first=2)
    assert verify(file, head).trouble == (), "the record may have grown since"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:1]))
    assert verify(file).trouble == ()
    assert "missing at the end" in verify(file, head).trouble[0]


def test_a_line_that_was_cut_off_is_told_and_the_chain_goes_on_behind_it(tmp_path):
    file = tmp_path / "hub.jsonl"
    write(file, "start", "stop")
    with file.open("ab") as stream:
        stream.write(b'{"at": "2026')
    write(file, "sign in", "sign out")
    verdict = verify(file)
    assert verdict.lines == 5
    assert len(verdict.trouble) == 1
    assert "line 3: this is no record" in verdict.trouble[0]
    assert [record["event"] for record in read_latest(file)] == [
        "sign out",
        "sign in",
        "stop",
        "start",
    ]


def test_the_latest_records_are_found_at_the_end_of_files_of_any_length(tmp_path):
    file = tmp_path / "hub.jsonl"
    file.touch()
    os.truncate(file, 2**36)  # a hole, longer than any memory
    record = Record(file, lambda: 1_800_000_000.0)
    record._log = AuditLog(file, lambda: 1_800_000_000.0, file_bytes=2**40)
    numbers = [f"person-{number}" for number in range(5000)]
    for number in numbers:
        record.write("start", by=number)
    assert file.stat().st_size - 2**36 > 2 * BLOCK_BYTES
    assert [each["by"] for each in read_latest(file, limit=4990)] == numbers[:-4991:-1]
    assert [each["by"] for each in read_latest(file, person="person-7", limit=1)] == ["person-7"]
    assert read_latest(file, person="person-7", limit=2)[1:] == [], "it does not look for ever"


def test_a_person_gets_what_they_did_and_what_concerned_them_alone(tmp_path):
    file = tmp_path / "hub.jsonl"
    record = Record(file, lambda: 1_800_000_000.0)
    record.write("start", by="ann", about="ann")
    record.write("enter", by="root", about="ann", server="work")
    record.write("start", by="anna", about="anna")
    record.write("start", by="Zoë", about="Zoë")
    assert [each["by"] for each in read_latest(file, person="Zoë")] == ["Zoë"]
    record.write("sign in", by=None, about="ann")
    assert [each["event"] for each in read_latest(file, person="ann")] == [
        "sign in",
        "enter",
        "start",
    ]
    assert [each["by"] for each in read_latest(file, offset=2, limit=1)] == ["anna"]
    json.dumps(read_latest(file))


def make_request(method, path, by="ann", kind="user", body=b"", **form):
    return SimpleNamespace(
        request=SimpleNamespace(method=method, path=path, body=body),
        current_user=SimpleNamespace(name=by, kind=kind) if by else None,
        get_body_argument=lambda name, default: form.get(name, default),
    )


@pytest.mark.parametrize(
    ("request_", "event"),
    [
        (make_request("POST", "/hub/spawn"), Event("start", "ann", "ann")),
        (make_request("POST", "/hub/spawn/b%20b/x"), Event("start", "ann", "b b", "x")),
        (
            make_request("POST", "/hub/api/users/bob/servers/work"),
            Event("start", "ann", "bob", "work"),
        ),
        (make_request("DELETE", "/hub/api/users/bob/server"), Event("stop", "ann", "bob")),
        (
            make_request("DELETE", "/hub/api/users/bob/servers/x", body=b'{"remove": true}'),
            Event("delete a server", "ann", "bob", "x"),
        ),
        (
            make_request("DELETE", "/hub/api/users/bob/servers/x", body=b"[]"),
            Event("stop", "ann", "bob", "x"),
        ),
        (make_request("DELETE", "/hub/api/users/bob"), Event("delete a person", "ann", "bob")),
        (
            make_request("DELETE", "/hub/api/users/bob", "culler", "service"),
            Event("delete a person", None, "bob", service="culler"),
        ),
        (
            make_request("POST", "/hub/login", None, username="eve" * 90, password="x"),
            Event("sign in", None, ("eve" * 90)[:100]),
        ),
        (
            make_request("POST", "/hub/a-page-that-comes-later"),
            Event("post", "ann", path="a-page-that-comes-later"),
        ),
        (
            make_request("POST", "/hub/confirm/a-secret-slug", None),
            Event("confirm a sign-up"),
        ),
        (make_request("GET", "/hub/home"), None),
        (make_request("POST", "/hub/api/users/ann/activity"), None),
        (make_request("POST", "/elsewhere"), Event("post", "ann", path="/elsewhere")),
        (
            make_request("GET", "/services/cleanup-service/users"),
            Event("clean up", "ann", "ann"),
        ),
        (
            make_request("DELETE", "/hub/api/users/bob/trash/v-1"),
            Event("remove for good", "ann", "bob"),
        ),
    ],
)
def test_each_request_that_changes_something_is_an_event(request_, event):
    assert read_event(request_, "/hub/") == event
