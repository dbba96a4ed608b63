"""What runs beside a claim hands its files out and takes them in, for whoever has its token."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import tarfile
import tempfile
import threading
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from mlhub.backends.kubernetes import claim_files
from mlhub.backends.kubernetes.archive import ClaimFiles
from mlhub.backends.kubernetes.claim_files import NAMED, Exactly, Server
from mlhub.backends.volume_archive import MISSING
from mlhub.cleanup.archive import Reader, Writer
from mlhub.cleanup.missing import Missing
from mlhub.errors import BackendError

NOBODY = 65_534


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Return a function that serves a volume, and one that asks it."""
    servers = []

    def begin(name, folder=tmp_path):
        place = folder / name / "volume"
        place.mkdir(parents=True, exist_ok=True)
        for variable, value in (("PORT", 0), ("PLACE", str(place))):
            monkeypatch.setattr(claim_files, variable, value)
        monkeypatch.setenv("TOKEN", "t")
        servers.append(Server())
        monkeypatch.setattr(claim_files, "PORT", servers[-1].server_port)
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return place

    def ask(method, content=None, token="t"):
        connection = HTTPConnection("127.0.0.1", servers[-1].server_port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"}
        if content is not None:
            headers["Transfer-Encoding"] = "chunked"
        connection.request(method, "/", content, headers, encode_chunked=content is not None)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    yield begin, ask
    for server in servers:
        server.shutdown()
        server.server_close()


def fill(place):
    (place / "deep").mkdir()
    (place / "deep" / "words").write_text("forty-two")
    (place / "big").write_bytes(os.urandom(300_000))
    (place / "soft").symlink_to("deep/words")
    os.link(place / "big", place / "hard")
    (place / "deep").chmod(0o500)


def describe(place):
    return {
        str(path.relative_to(place)): (
            path.lstat().st_mode,
            path.lstat().st_nlink,
            path.is_symlink() or path.is_dir() or path.read_bytes(),
        )
        for path in place.rglob("*")
    }


def test_files_come_back_with_modes_and_links(serve):
    begin, ask = serve
    first = begin("first")
    fill(first)
    status, archive = ask("GET")
    assert status == 200
    second = begin("second")
    pieces = [archive[at : at + 10_000] for at in range(0, len(archive), 10_000)]
    assert ask("PUT", pieces) == (204, b"")
    assert describe(second) == describe(first)


def test_a_hub_reads_and_writes_a_claim_and_what_breaks_is_a_sentence(serve, monkeypatch):
    begin, _ = serve
    first = begin("first")
    fill(first)

    def explain(error):
        return BackendError(f"They do not come: {error}")

    files = ClaimFiles("127.0.0.1", "t", explain)
    content = list(files.hand_out())
    second = begin("second")
    files.take_in(iter(content))
    assert describe(second) == describe(first)

    with pytest.raises(BackendError, match="They do not come: 403"):
        ClaimFiles("127.0.0.1", "x", explain).hand_out()
    monkeypatch.setattr(Exactly, "read", lambda *_: 1 / 0)
    pieces = files.hand_out()
    with pytest.raises(BackendError, match="They do not come"):
        list(pieces)


@pytest.fixture
def deep_folder():
    """Return a folder for what is too deep to be tidied up in Python. It is none of pytest's: each
    later run on this machine would end with what an interrupted one has left there.
    """
    folder = Path(tempfile.mkdtemp(prefix="mlhub-deep-"))
    yield folder
    subprocess.run(["rm", "-r", folder], check=True)


def test_folders_in_folders_come_back_however_deep_they_are(serve, deep_folder):
    begin, ask = serve
    place = begin("first", deep_folder)
    depth = 1_200
    deepest = "/".join("d" * depth)
    for end in range(1, 2 * depth, 2):
        (place / deepest[:end]).mkdir()
    (place / deepest / "words").write_text("forty-two")
    archive = ask("GET")[1]
    second = begin("second", deep_folder)
    assert ask("PUT", [archive]) == (204, b"")
    assert (second / deepest / "words").read_text() == "forty-two"


def test_a_pipe_in_the_place_of_a_file_is_waited_for_by_nobody(serve, monkeypatch):
    begin, ask = serve
    place = begin("only")
    (place / "file").write_text("words")
    os.mkfifo(place / "pipe")
    look = os.lstat

    def see_it_before(path):
        return look(path if not str(path).endswith("/pipe") else f"{place}/file")

    monkeypatch.setattr(os, "lstat", see_it_before)
    with tarfile.open(fileobj=io.BytesIO(ask("GET")[1])) as tar:
        assert tar.getnames() == ["volume", "volume/file"]


def test_a_link_in_the_place_of_a_file_leads_nowhere(serve, monkeypatch):
    begin, ask = serve
    place = begin("only")
    (place / "file").write_text("words")
    (place.parent / "elsewhere").write_text("secret")
    (place / "link").symlink_to("../elsewhere")
    assert read(ask("GET")[1])[0] == {"volume": None, "volume/file": b"words", "volume/link": None}
    look = os.lstat

    def see_a_file(path):
        return look(path if not str(path).endswith("/link") else f"{place}/file")

    monkeypatch.setattr(os, "lstat", see_a_file)
    content, missing = read(ask("GET")[1])
    assert content == {"volume": None, "volume/file": b"words"}
    assert [name for name, _ in missing["first"]] == ["link"]


def read(archive):
    """Read what is in an archive, and what it says that is missing."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {each.name: (each.isreg() and tar.extractfile(each).read()) or None for each in tar}
    return found, json.loads(found.pop(MISSING, "null"))


@pytest.fixture
def as_somebody(serve, monkeypatch):
    """Serve a volume as a user that is not root, who may come to it."""
    served = Server.serve_forever

    def serve_as_somebody(server, *arguments):
        # Of this thread alone; where root runs the tests, it may read no more than others.
        assert ctypes.CDLL(None).setfsuid(NOBODY) is not None
        served(server, *arguments)

    monkeypatch.setattr(Server, "serve_forever", serve_as_somebody)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)

        def begin(name):
            place = serve[0](Path(folder) / name)
            for each in (place.parent, place):
                each.chmod(0o755)
            return place

        yield begin, serve[1]


def test_what_may_not_be_read_is_named_and_all_else_comes(as_somebody):
    begin, ask = as_somebody
    place = begin("only")
    fill(place)
    (place / "deep").chmod(0o755)
    whole, missing = read(ask("GET")[1])
    assert missing is None
    (place / "a").write_text("locked")
    (place / "a").chmod(0)
    os.link(place / "a", place / "another")  # what leads to it leads nowhere without it
    (place / "locked").mkdir()
    (place / "locked" / "in").write_text("words")
    (place / "locked").chmod(0)
    for number in range(NAMED):
        (place / f"z{number:02}").touch(0o200)
    archived, restored = ask("GET")[1], []
    content, missing = read(archived)
    assert content == {**whole, "volume/locked": None}
    assert missing["count"] == NAMED + 3
    assert len(missing["first"]) == NAMED
    assert missing["first"][:4] == [
        [name, "Permission denied"] for name in ("a", "another", "locked", "z00")
    ]
    second = begin("second")
    second.chmod(0o777)
    backup = io.BytesIO()
    writer, told = Writer(backup), Missing()
    writer.add_volume(1, iter([archived]), told)
    writer.close()
    assert told.count == missing["count"]
    reader = Reader(io.BytesIO(backup.getvalue()))
    reader.copy_volume(1, lambda pieces: restored.append(ask("PUT", pieces)))
    assert restored == [(204, b"")]
    names = sorted(each.name for each in second.iterdir())
    assert names == ["big", "deep", "hard", "locked", "soft"]


def test_what_cannot_be_read_to_its_end_is_told_and_as_long_as_was_said(tmp_path):
    with (tmp_path / "file").open("wb") as unreadable:
        file = Exactly(unreadable, 70_000)
        assert file.read(2**16) + file.read(2**16) == bytes(70_000)
    assert isinstance(file.error, OSError)


def test_nobody_without_the_token_reads_or_writes(serve):
    begin, ask = serve
    place = begin("only")
    fill(place)
    before = describe(place)
    assert ask("GET", token="x")[0] == 403
    assert ask("PUT", [b""], token="x")[0] == 403
    assert describe(place) == before


def test_what_leads_out_of_the_volume_is_refused(serve):
    begin, ask = serve
    place = begin("only")
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("volume/../evil"))
    with pytest.raises((ConnectionError, OSError)):
        ask("PUT", [output.getvalue()])
    assert not (place.parent / "evil").exists()


def test_a_volume_that_cannot_be_read_to_its_end_is_told_from_a_whole_one(serve, monkeypatch):
    begin, ask = serve
    fill(begin("only"))
    assert ask("GET")[0] == 200
    monkeypatch.setattr(Exactly, "read", lambda *_: 1 / 0)
    with pytest.raises(IncompleteRead):
        ask("GET")


def test_a_file_that_shrinks_while_it_is_read_is_as_long_as_was_said():
    short = Exactly(io.BytesIO(b"abc"), 5)
    assert short.read(4) + short.read(4) == b"abc\0\0"
