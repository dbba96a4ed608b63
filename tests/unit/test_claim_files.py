"""What runs beside a claim hands its files out and takes them in, for whoever has its token."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from http.client import HTTPConnection, IncompleteRead

import pytest

from mlhub.backends.kubernetes import claim_files
from mlhub.backends.kubernetes.claim_files import Exactly, Server


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Return a function that serves a volume, and one that asks it."""
    servers = []

    def begin(name):
        place = tmp_path / name / "volume"
        place.mkdir(parents=True, exist_ok=True)
        for variable, value in (("PORT", 0), ("PLACE", str(place))):
            monkeypatch.setattr(claim_files, variable, value)
        monkeypatch.setenv("TOKEN", "t")
        servers.append(Server())
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return place

    def ask(method, content=None, token="t"):
        connection = HTTPConnection("127.0.0.1", servers[-1].server_port, timeout=10)
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


def test_folders_in_folders_come_back_however_deep_they_are(serve):
    begin, ask = serve
    place = begin("first")
    depth = 1_200
    deepest = "/".join("d" * depth)
    for end in range(1, 2 * depth, 2):
        (place / deepest[:end]).mkdir()
    (place / deepest / "words").write_text("forty-two")
    archive = ask("GET")[1]
    second = begin("second")
    try:
        assert ask("PUT", [archive]) == (204, b"")
        assert (second / deepest / "words").read_text() == "forty-two"
    finally:
        for each in (place, second):  # too deep for whoever tidies up
            (each / deepest / "words").unlink(missing_ok=True)
            os.removedirs(each / deepest)


def test_a_pipe_in_the_place_of_a_file_is_waited_for_by_nobody(serve, monkeypatch):
    begin, ask = serve
    place = begin("only")
    (place / "file").write_text("words")
    os.mkfifo(place / "pipe")
    as_file = tarfile.TarFile.gettarinfo

    def see_it_before(tar, path, name):
        return as_file(tar, path if not path.endswith("/pipe") else f"{place}/file", name)

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", see_it_before)
    with tarfile.open(fileobj=io.BytesIO(ask("GET")[1])) as tar:
        assert tar.getnames() == ["volume", "volume/file"]


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
