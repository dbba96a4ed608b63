"""The archive in which a workspace in a pod fetches its SSH server, and the command that fetches
it.
"""

from __future__ import annotations

import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlhub.identity import HostIdentity
from mlhub.ssh.bundle import list_members, measure, pack, read_in_threads

FETCH = Path(__file__).parents[2] / "docker/ssh-bundle/fetch.py"
HOST = HostIdentity("secret key", "certificate line", "relay's key")
HOST_FILES = {"host/key", "host/certificate", "host/relay"}


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "lib/libc.so").write_bytes(os.urandom(700_001))
    (folder / "bin/sshd").write_bytes(b"x" * 512)
    (folder / "version").write_bytes(b"")
    (folder / "start").write_text(f"#!/bin/sh\necho started >>{tmp_path}/started\n")
    for program in ("start", "bin/sshd", "lib/libc.so"):
        (folder / program).chmod(0o755)
    return folder


def make_archive(folder: Path) -> bytes:
    return b"".join(pack(list_members(folder, HOST)))


SIZES = st.sampled_from([0, 1, 511, 512, 513, 1024, 67584, 256 * 1024]) | st.integers(0, 3000)
NAMES = st.from_regex(r"[a-z0-9]{1,90}(/[a-z0-9]{1,90}){0,2}", fullmatch=True).map(
    lambda name: f"f/{name}.so"
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.dictionaries(
        NAMES, st.tuples(SIZES, st.sampled_from([0o600, 0o644, 0o755])), max_size=6
    )
)
@example(files={"f/libpam.so": (67584, 0o644), "f/z.so": (5, 0o755)})
@example(files={"f/empty.so": (0, 0o644), "f/z.so": (512, 0o644)})
async def test_whatever_the_sizes_of_its_files_the_archive_is_whole_and_as_long_as_was_said(
    tmp_path_factory, files
):
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "start").write_bytes(b"#!/bin/sh\n")
    for name, (size, mode) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        path.chmod(mode)
    (folder / "link").symlink_to("start")
    members = list_members(folder, HOST)
    content = b"".join([piece async for piece in read_in_threads(pack(members))])
    assert len(content) == measure(members)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert set(archive.getnames()) == {*HOST_FILES, "start", "link", *files}
        for name, (_, mode) in files.items():
            assert archive.extractfile(name).read() == (folder / name).read_bytes()
            assert archive.getmember(name).mode == mode
        # What a link leads to, not the link.
        assert archive.extractfile("link").read() == b"#!/bin/sh\n"
        assert archive.getnames()[-1] == "start"


def test_the_archive_holds_every_file_and_says_last_that_all_are_there(bundle):
    with tarfile.open(fileobj=io.BytesIO(make_archive(bundle))) as archive:
        names = archive.getnames()
        assert names[-1] == "start"
        assert set(names) == {
            *HOST_FILES,
            "bin/sshd",
            "lib/libc.so",
            "version",
            "start",
        }
        assert archive.extractfile("lib/libc.so").read() == (bundle / "lib/libc.so").read_bytes()
        assert archive.extractfile("host/key").read() == b"secret key\n"
        modes = {each.name: each.mode for each in archive}
        assert {modes[name] for name in HOST_FILES} == {0o600}
        assert archive.getmember("start").mode == archive.getmember("lib/libc.so").mode == 0o755
        assert archive.getmember("version").mode == 0o644


def test_no_piece_is_as_large_as_the_largest_file(bundle):
    assert max(map(len, pack(list_members(bundle, HOST)))) < 300_000


class Hub(http.server.BaseHTTPRequestHandler):
    """Answer with what the server was given, and keep what was asked."""

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        self.server.told = self.headers["X-MLHub-Trouble"]  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        if self.server.length is not None:  # type: ignore[attr-defined]
            self.send_header("Content-Length", str(self.server.length))  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(self.server.content)  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def fetch(bundle, tmp_path):
    server = http.server.HTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.status, server.content, server.told = [], 200, make_archive(bundle), None
    server.length = len(server.content)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = tmp_path / "target"
    text = FETCH.read_text()
    assert "PATIENCE_SECONDS = 10\n" in text
    text = text.replace('"/.mlhub"', repr(str(target)))
    url = f"http://127.0.0.1:{server.server_port}/base/hub/api"
    environment = {
        **os.environ,
        "JUPYTERHUB_API_URL": url,
        "JUPYTERHUB_API_TOKEN": "t0ken",
        "http_proxy": "http://127.0.0.1:9",
    }

    def run(
        workspace: int = server.server_port, patience: float = 20, longest: int = 30
    ) -> subprocess.CompletedProcess:
        own = {**environment, "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{workspace}/user/ada/"}
        script = text.replace("PATIENCE_SECONDS = 10", f"PATIENCE_SECONDS = {patience}")
        script = script.replace("LONGEST_PAUSE_SECONDS = 30", f"LONGEST_PAUSE_SECONDS = {longest}")
        return subprocess.run(
            [sys.executable, "-IS", "-c", script],
            env=own,
            capture_output=True,
            text=True,
            timeout=30,
        )

    run.server, run.target = server, target
    yield run
    server.shutdown()
    server.server_close()


def test_a_workspace_fetches_once_and_starts_each_time(fetch, bundle, tmp_path):
    assert fetch().returncode == 0
    assert fetch.server.asked == [("/base/hub/api/ssh/bundle", "token t0ken")]
    assert (fetch.target / "lib/libc.so").read_bytes() == (bundle / "lib/libc.so").read_bytes()
    assert (
        fetch.target / "host/hub"
    ).read_text() == f"127.0.0.1 {fetch.server.server_port} /base/hub/api t0ken\n"
    assert (fetch.target / "host/hub").stat().st_mode & 0o777 == 0o600
    assert fetch().returncode == 0
    assert len(fetch.server.asked) == 1
    assert (tmp_path / "started").read_text() == "started\n" * 2


def damage(content: bytes) -> bytes:
    """Change one letter of the name in the header of the last file."""
    place = content.rindex(b"start\0")
    return content[:place] + b"stars" + content[place + 5 :]


@pytest.mark.parametrize(
    ("spoil", "length", "said"),
    [
        (lambda whole: whole[:600_000], 0, "ended too early"),
        (lambda whole: whole[:-1024], 0, "ended too early"),
        (lambda whole: whole[:-1024], -1024, "ended too early"),
        (lambda whole: whole[:-512], 0, "ended too early"),
        (lambda whole: whole[: whole.rindex(b"start\0")] + bytes(1024), 0, "does not end where"),
        (lambda whole: whole, 1, "does not end where"),
        (lambda whole: whole, None, "does not say how long"),
        (damage, 0, "damaged"),
        (lambda whole: bytes(1024), 1024, "does not end with the file"),
        (lambda whole: b"x" * len(whole), 0, "invalid literal"),
    ],
)
def test_an_archive_that_is_not_whole_is_never_half_installed(fetch, tmp_path, spoil, length, said):
    whole = fetch.server.content
    fetch.server.content = spoil(whole)
    fetch.server.length = length if length in (None, 1024) else len(whole) + length
    failed = fetch()
    assert failed.returncode == 1
    assert said in failed.stderr
    assert not (fetch.target / "start").exists()
    assert not (tmp_path / "started").exists()
    # The twin: the next one is whole.
    (fetch.target / "failed").unlink()
    fetch.server.content, fetch.server.length = whole, len(whole)
    assert fetch().returncode == 0
    assert (tmp_path / "started").read_text() == "started\n"


def test_what_fails_is_tried_again_in_growing_pauses_and_the_hub_is_told_why(fetch, tmp_path):
    fetch.server.status = 403
    for tried, (pause, following) in enumerate([(0, 1), (1, 2), (2, 2)]):
        began = time.monotonic()
        failed = fetch(longest=2)
        assert failed.returncode == 1
        assert f"next try in {following} s" in failed.stderr
        assert time.monotonic() - began >= pause
        assert "403" in (fetch.server.told or "") or tried == 0
        assert len(fetch.server.asked) == tried + 1
    fetch.server.status = 200
    (fetch.target / "failed").write_text("0 whatever\nX-Other: it \u2028 was")
    assert fetch().returncode == 0
    assert fetch.server.told == "whatever\\nX-Other: it \\u2028 was"
    assert not (fetch.target / "failed").exists()
    assert (tmp_path / "started").read_text() == "started\n"


def test_the_hub_is_asked_only_once_the_workspace_listens(fetch, tmp_path):
    with socket.socket() as workspace, ThreadPoolExecutor() as pool:
        workspace.bind(("127.0.0.1", 0))
        fetching = pool.submit(fetch, workspace.getsockname()[1])
        assert wait([fetching], timeout=1).not_done
        assert fetch.server.asked == []
        workspace.listen()
        assert fetching.result().returncode == 0
    assert (tmp_path / "started").read_text() == "started\n"


def test_a_workspace_that_never_listens_gets_its_ssh_server_all_the_same(fetch, tmp_path):
    with socket.socket() as workspace:
        workspace.bind(("127.0.0.1", 0))
        assert fetch(workspace.getsockname()[1], patience=0.5).returncode == 0
    assert (tmp_path / "started").read_text() == "started\n"


def test_where_nothing_can_be_written_start_ends_with_a_code_of_its_own_and_says_why_in_the_log_alone(  # noqa: E501
    tmp_path,
):
    text = (FETCH.parent / "start").read_text()
    assert 'for candidate in /dev/shm /tmp "$home"; do' in text
    text = text.replace('in /dev/shm /tmp "$home"; do', "in /nowhere; do").replace(
        "/proc/1/fd/1", str(tmp_path / "log")
    )
    (tmp_path / "start").write_text(text)
    (tmp_path / "log").touch()
    ended = subprocess.run(
        ["sh", tmp_path / "start"], env={"MLHUB_SSH_KEY": "k"}, capture_output=True, timeout=20
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (73, b"", b"")
    assert (
        "can be written. Mount a temporary file system at /tmp." in (tmp_path / "log").read_text()
    )
