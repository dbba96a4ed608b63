"""What anybody may make the hub read, keep and wait for: bodies, headers, connections, answers of
workspaces.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import requests

from mlhub.identity import HostIdentity
from mlhub.ssh.bundle import list_members, measure

FETCH = Path(__file__).parents[2] / "docker/ssh-bundle/fetch.py"
MEGABYTE = 10**6
# A hub that waits less long than usual, and whose workspaces fetch their SSH server as those in
# pods do.
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
import os
from pathlib import Path
import mlhub.hub.server as server
server.BODY_SECONDS, server.IDLE_SECONDS, server.REFUSED_BODY_SECONDS, server.UNREAD_SECONDS = \
2.0, 3.0, 2.0, 2.0
import mlhub.ssh.bundle as ssh_bundle
ssh_bundle.ANSWER_SECONDS, ssh_bundle.PAUSE_SECONDS = 4.0, 1.0
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mlhub.backends.fake import FakeSpawner
from mlhub.ssh.authority import make_private_text, make_public_line

folder = Path(os.environ["MLHUB_RUN_DIR"]) / "ssh"
folder.mkdir(exist_ok=True)
key = Ed25519PrivateKey.generate()
(folder / "ca").write_text(make_private_text(key))
(folder / "ca.pub").write_text(make_public_line(key))

class FetchingSpawner(FakeSpawner):
    async def start_workspace(self):
        (folder / f"token-{self.user.name}").write_text(self.api_token)
        return await super().start_workspace()

c.JupyterHub.spawner_class = FetchingSpawner
c.Spawner.ssh_folder = str(folder)
c.JupyterHub.tornado_settings = {"mlhub_ssh_bundle": str(folder / "bundle")}
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    started = module_workspace_hub(CONFIG)
    bundle = started.directory / "ssh" / "bundle"
    (bundle / "lib").mkdir(parents=True)
    for name, size in {
        "lib/libc.so": 2_000_003,
        "lib/libpam.so": 67584,
        "lib/empty": 0,
        "lib/z.so": 512,
        "start": 77,
    }.items():
        (bundle / name).write_bytes(bytes(index % 251 for index in range(size)))
    return started


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def connect(hub) -> socket.socket:
    return socket.create_connection(("127.0.0.1", hub.hub_port), timeout=20)


def read_rest(connection: socket.socket) -> bytes:
    """Return all that still comes until the end of a connection."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def read_memory(hub) -> int:
    """Return the bytes that the hub's process holds in memory."""
    lines = Path(f"/proc/{hub.process.pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def send(connection: socket.socket, size: int) -> None:
    """Send so many bytes of a body, as far as they are taken."""
    piece = b"a" * 65536
    try:
        for _ in range(size // len(piece)):
            connection.sendall(piece)
    except OSError:
        pass


POST = b"POST %s HTTP/1.1\r\nHost: hub\r\nContent-Type: %s\r\n%s\r\n\r\n"
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"


@pytest.mark.parametrize("path", [b"/hub/api/users", b"/elsewhere"])
def test_ten_anonymous_bodies_of_12_megabytes_are_not_kept_and_are_told_why(hub, path):
    before = read_memory(hub)
    held = [connect(hub) for _ in range(10)]
    try:
        # Not more: the hub takes five seconds of a body that it has refused, from all of them here.
        for connection in held:
            connection.sendall(POST % (path, JSON, b"Content-Length: %d" % (12 * MEGABYTE)))
            send(connection, 11 * MEGABYTE)
        assert read_memory(hub) - before < 30 * MEGABYTE
        for connection in held:
            answer = read_rest(connection)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"larger than 1024 KiB" in answer
            assert answer.count(b"HTTP/1.1") == 1
    finally:
        for connection in held:
            connection.close()


def test_a_body_in_chunks_without_end_is_cut_at_the_same_size(hub):
    before = read_memory(hub)
    with connect(hub) as connection:
        connection.sendall(POST % (b"/hub/api/users", JSON, b"Transfer-Encoding: chunked"))
        chunk = b"%x\r\n%s\r\n" % (65536, b"a" * 65536)
        for _ in range(400):
            try:
                connection.sendall(chunk)
            except OSError:
                break
        answer = read_rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 413
    assert read_memory(hub) - before < 10 * MEGABYTE


def test_a_form_is_smaller_than_a_call_because_taking_it_apart_costs_more(hub):
    with connect(hub) as connection:
        connection.sendall(POST % (b"/hub/login", FORM, b"Content-Length: 200000"))
        send(connection, 200_000)
        assert b"larger than 128 KiB" in read_rest(connection)


def test_who_asks_before_sending_is_told_at_once(hub):
    with connect(hub) as connection:
        connection.sendall(
            POST % (b"/hub/api/users", JSON, b"Expect: 100-continue\r\nContent-Length: 2000000")
        )
        began = time.monotonic()
        answer = read_rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100" not in answer.partition(b"\r\n")[0]
    assert time.monotonic() - began < 1.5


def test_the_refusal_comes_through_the_proxy_as_well(hub):
    answer = requests.post(
        f"{hub.url}/hub/api/users",
        data=b"a" * (3 * MEGABYTE),
        headers={"Content-Type": "application/json"},
        timeout=20,
    )
    assert answer.status_code == 413
    assert "larger than 1024 KiB" in answer.json()["message"]


def test_what_an_administrator_may_need_to_send_is_taken(admin):
    admin.post("groups/large")
    words = {f"word-{index}": "x" * 90 for index in range(9000)}
    answer = admin.put("groups/large/properties", json=words)
    assert len(answer.request.body) > 900_000
    assert answer.status_code == 200
    names = [f"bulk-{index}" for index in range(20)]
    assert admin.post("users", json={"usernames": names}).status_code == 201
    # In pieces, too.
    answer = admin.put("groups/large/properties", data=iter([b'{"a":', b'"b"}']))
    assert answer.status_code == 200


def test_who_sends_a_part_and_then_nothing_is_cut_off(hub):
    began = time.monotonic()
    heads = [
        b"POST /hub/login HTTP/1.1\r\nHost: hub\r\nContent-Length: 500\r\n\r\nuser",
        b"GET /hub/login HTTP/1.1\r\nX-A: ",
        b"",
    ]
    held = [connect(hub) for _ in heads]
    for connection, head in zip(held, heads, strict=True):
        connection.sendall(head)
    for connection in held:
        with connection:
            assert read_rest(connection) == b""
    assert time.monotonic() - began < 10


def test_headers_without_end_are_cut_off(hub):
    before = read_memory(hub)
    with connect(hub) as connection:
        connection.sendall(b"GET /hub/login HTTP/1.1\r\n")
        send(connection, 30 * MEGABYTE)
        assert b"200" not in read_rest(connection)
    assert read_memory(hub) - before < 10 * MEGABYTE
    # The twin: as large as nginx lets them be.
    large = {f"X-Large-{number}": "x" * 32_000 for number in range(4)}
    url = f"http://127.0.0.1:{hub.hub_port}/hub/health"
    assert requests.get(url, headers=large, timeout=20).status_code == 200


def test_who_asks_and_takes_nothing_of_the_answer_is_cut_off(hub, wait_for):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", hub.hub_port))
        port = connection.getsockname()[1]
        connection.sendall(b"GET /hub/static/js/admin-react.js HTTP/1.1\r\nHost: hub\r\n\r\n" * 20)

        def is_held() -> bool:
            ends = f":{hub.hub_port:04X} 0100007F:{port:04X} 01 "  # the hub's, the client's
            return ends in Path("/proc/net/tcp").read_text()

        wait_for(is_held, "the connection is there")
        wait_for(lambda: not is_held(), "the hub's end of it is gone", 20)
    # The twin: who reads slowly gets all of it.
    with connect(hub) as connection:
        connection.sendall(
            b"GET /hub/static/js/admin-react.js HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
        )
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        time.sleep(1)
        body += read_rest(connection)
        assert int(head.lower().partition(b"content-length: ")[2].split()[0]) == len(body)


@pytest.fixture
def workspace(hub, admin):
    """Return what somebody inside a running workspace has: the token."""
    admin.make_person("ann")
    assert admin.start("ann").status_code in (201, 400)
    return (hub.directory / "ssh" / "token-ann").read_text()


def ask_for_bundle(hub, token: str, **headers: str) -> requests.Response:
    url = f"http://127.0.0.1:{hub.hub_port}/hub/api/ssh/bundle"
    return requests.get(url, headers={"Authorization": f"token {token}", **headers}, timeout=20)


def take_turn(hub, token: str, wait_for, **headers: str) -> requests.Response:
    return wait_for(
        lambda: (answer := ask_for_bundle(hub, token, **headers)).status_code != 429 and answer,
        "the workspace's turn",
        15,
    )


def test_the_archive_arrives_whole_whatever_the_sizes_of_its_files(hub, workspace, wait_for):
    answer = take_turn(hub, workspace, wait_for)
    assert answer.status_code == 200
    bundle = hub.directory / "ssh" / "bundle"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        for path in bundle.rglob("*"):
            if path.is_file():
                assert (
                    archive.extractfile(str(path.relative_to(bundle))).read() == path.read_bytes()
                )
        host = HostIdentity(
            *(
                archive.extractfile(f"host/{name}").read().decode().strip()
                for name in ("key", "certificate")
            )
        )
    assert measure(list_members(bundle, host)) == len(answer.content)


def test_somebody_of_the_same_name_gets_another_key_for_the_relay(hub, admin, wait_for):
    def fetch() -> str:
        admin.make_person("zoe")
        assert admin.start("zoe").status_code in (201, 400)
        token = (hub.directory / "ssh" / "token-zoe").read_text()
        with tarfile.open(fileobj=io.BytesIO(take_turn(hub, token, wait_for).content)) as archive:
            return archive.extractfile("host/relay").read().decode().strip()

    before = fetch()
    # The twin: it is the person's, and not that of one start.
    assert admin.stop("zoe").status_code in (202, 204)
    wait_for(lambda: admin.get("users/zoe").json()["servers"] == {}, "the stop", 10)
    assert fetch() == before
    assert admin.delete("users/zoe").status_code == 204
    again = fetch()
    assert len(again) == len(before) == 64
    assert again != before


def test_the_workspaces_own_command_installs_it(hub, workspace, tmp_path, wait_for):
    take_turn(hub, workspace, wait_for)
    script = (
        FETCH.read_text()
        .replace('"/.mlhub"', repr(str(tmp_path / "target")))
        .replace("PATIENCE_SECONDS = 10", "PATIENCE_SECONDS = 0")
    )
    environment = {
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.hub_port}/hub/api",
        "JUPYTERHUB_API_TOKEN": workspace,
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:1/",
    }

    def fetch() -> bool:
        return (
            subprocess.run(
                [sys.executable, "-IS", "-c", script],
                env=environment,
                capture_output=True,
                timeout=60,
            ).returncode
            != 1
        )

    wait_for(
        lambda: fetch() and (tmp_path / "target" / "start").exists(), "the archive is installed", 30
    )
    assert (tmp_path / "target" / "lib/libpam.so").stat().st_size == 67584


def test_a_workspace_gets_one_archive_at_a_time_and_is_cut_off_when_it_reads_too_slowly(
    hub, workspace, wait_for
):
    large = hub.directory / "ssh" / "bundle" / "lib" / "large"
    large.write_bytes(bytes(30 * MEGABYTE))
    request = (
        b"GET /hub/api/ssh/bundle HTTP/1.1\r\nHost: hub\r\nAuthorization: token %s\r\n\r\n"
        % workspace.encode()
    )
    taken, before = 0, read_memory(hub)
    try:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            slow.settimeout(20)
            slow.connect(("127.0.0.1", hub.hub_port))

            def begin() -> bool:
                slow.sendall(request)
                return slow.recv(4096).startswith(b"HTTP/1.1 200")

            wait_for(begin, "the workspace's turn", 15)
            refused = ask_for_bundle(hub, workspace)
            assert refused.status_code == 429
            assert "one at a time" in refused.json()["message"]

            def is_over() -> bool:
                nonlocal taken
                try:
                    piece = slow.recv(65536)
                except ConnectionResetError:
                    return True
                taken += len(piece)
                return not piece

            wait_for(is_over, "the hub cuts off who reads too slowly", 20)
            assert taken < 30 * MEGABYTE
            assert read_memory(hub) - before < 15 * MEGABYTE
        assert "too slowly" in hub.log
        assert take_turn(hub, workspace, wait_for).status_code == 200
    finally:
        large.unlink()


def test_what_a_workspace_says_of_its_trouble_is_in_the_log_once_and_on_its_owners_page(
    hub, workspace, wait_for
):
    said = "the hub's archive is <b>damaged</b>" + "x" * 400
    for _ in range(2):
        assert take_turn(hub, workspace, wait_for, **{"X-MLHub-Trouble": said}).status_code == 200
    assert hub.log.count("tries again in growing pauses: the hub's archive is <b>damaged</b>") == 1
    assert "x" * 201 not in hub.log
    ann = hub.browser()
    ann.log_in("ann", "whatever")
    page = ann.get("/hub/ssh-keys").text
    assert (
        "could not fetch its SSH server yet and tries again: the hub&#39;s archive is"
        " &lt;b&gt;damaged" in page
    )
    assert take_turn(hub, workspace, wait_for).status_code == 200
    assert "could not fetch its SSH server" not in ann.get("/hub/ssh-keys").text
