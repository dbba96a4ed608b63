"""The archive in which a workspace in a pod fetches its SSH server, and the command that fetches it."""

from __future__ import annotations

import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from mlhub.pages.ssh_bundle import pack
from mlhub.workspace.ssh import HostIdentity

FETCH = Path(__file__).parents[2] / "docker/ssh-bundle/fetch.py"
HOST = HostIdentity("secret key", "certificate line")


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


def test_the_archive_holds_every_file_and_says_last_that_all_are_there(bundle):
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(bundle, HOST)))) as archive:
        names = archive.getnames()
        assert names[-1] == "start"
        assert set(names) == {"host/key", "host/certificate", "bin/sshd", "lib/libc.so", "version", "start"}
        assert archive.extractfile("lib/libc.so").read() == (bundle / "lib/libc.so").read_bytes()
        assert archive.extractfile("host/key").read() == b"secret key\n"
        assert {each.name: each.mode for each in archive}["host/key"] == 0o600
        assert archive.getmember("start").mode == archive.getmember("lib/libc.so").mode == 0o755
        assert archive.getmember("version").mode == 0o644


def test_no_piece_is_as_large_as_the_largest_file(bundle):
    assert max(map(len, pack(bundle, HOST))) < 300_000


class Hub(http.server.BaseHTTPRequestHandler):
    """Answer with what the server was given, and keep what was asked."""

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(self.server.content)  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def fetch(bundle, tmp_path):
    server = http.server.HTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.status, server.content = [], 200, b"".join(pack(bundle, HOST))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = tmp_path / "target"
    text = FETCH.read_text()
    assert "PATIENCE_SECONDS = 10\n" in text
    text = text.replace('"/.mlhub"', repr(str(target)))
    url = f"http://127.0.0.1:{server.server_port}/base/hub/api"
    environment = {**os.environ, "JUPYTERHUB_API_URL": url, "JUPYTERHUB_API_TOKEN": "t0ken", "http_proxy": "http://127.0.0.1:9"}

    def run(workspace: int = server.server_port, patience: float = 20) -> subprocess.CompletedProcess:
        own = {**environment, "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{workspace}/user/ada/"}
        script = text.replace("PATIENCE_SECONDS = 10", f"PATIENCE_SECONDS = {patience}")
        return subprocess.run([sys.executable, "-IS", "-c", script], env=own, capture_output=True, text=True, timeout=30)

    run.server, run.target = server, target
    yield run
    server.shutdown()
    server.server_close()


def test_a_workspace_fetches_once_and_starts_each_time(fetch, bundle, tmp_path):
    assert fetch().returncode == 0
    assert fetch.server.asked == [("/base/hub/api/ssh/bundle", "token t0ken")]
    assert (fetch.target / "lib/libc.so").read_bytes() == (bundle / "lib/libc.so").read_bytes()
    assert (fetch.target / "host/hub").read_text() == f"127.0.0.1 {fetch.server.server_port} /base/hub/api t0ken\n"
    assert (fetch.target / "host/hub").stat().st_mode & 0o777 == 0o600
    assert fetch().returncode == 0
    assert len(fetch.server.asked) == 1
    assert (tmp_path / "started").read_text() == "started\n" * 2


def test_an_answer_that_is_cut_off_or_a_refusal_is_tried_again(fetch, tmp_path):
    whole = fetch.server.content
    fetch.server.content = whole[:600_000]
    assert "ended too early" in fetch().stderr
    fetch.server.status = 403
    assert "403" in fetch().stderr
    assert not (tmp_path / "started").exists()
    fetch.server.status, fetch.server.content = 200, whole
    assert fetch().returncode == 0
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
