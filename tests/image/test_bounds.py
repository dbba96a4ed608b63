"""What somebody with root in a workspace can make the hub read, keep and wait for, on a real
engine; measured in the hub's process.

Each attack has its twin: the same workspace, left alone, is entered.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.hub_container import CONFIG, RUN, TEST_IMAGE, Hub, HubMaker, docker
from tests.support.ssh_client import Person

HOSTILE = f"mlhub-test-hostile:{RUN}"
# The key that `start` writes becomes a pipe that nobody reads, so `start` waits for ever; its
# output is written to meanwhile.
STALLED = ["sh", "-c", "mkfifo /dev/shm/.mlhub-ssh-0-key; exec jupyterhub-singleuser"]
BROKEN = f"mlhub-test-broken:{RUN}"
SHUT = ["sh", "-c", "mkdir /dev/shm/.mlhub-ssh-0-key; exec jupyterhub-singleuser"]
WRITE = """
import glob, os, time
found, deadline = [], time.monotonic() + 30
while not found and time.monotonic() < deadline:
    for file in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if b"/.mlhub/start" in open(file, "rb").read():
                found.append(file.split("/")[2])
        except OSError:
            pass
    time.sleep(0.05)
path = f"/proc/{found[0]}/fd/1"
is_log = os.readlink(path) in ("/dev/null", os.readlink("/proc/1/fd/1"))
# An engine whose client has gone may not read on.
out, written, deadline = os.open(path, os.O_WRONLY | os.O_NONBLOCK), 0, time.monotonic() + 10
while time.monotonic() < deadline and written < (1_000_000 if is_log else 300_000_000):
    try:
        written += os.write(out, b"x" * 65536)
    except BlockingIOError:
        time.sleep(0.01)
print(written, flush=True)
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 8081), 5) as connection:
    connection.sendall(b"GET /hub/health HTTP/1.0\\r\\n\\r\\n")
    print(connection.recv(99))
"""
HOLD = """
import socket, sys, time
held = []
for _ in range(int(sys.argv[2])):
    try:
        held.append(socket.create_connection((sys.argv[1], 8081), 5))
    except OSError as error:
        print(error, flush=True)
        break
open_ones = 0
for connection in held:
    connection.settimeout(0.001)
    try:
        open_ones += connection.recv(1) != b""
    except TimeoutError:
        open_ones += 1
    except OSError:
        pass
print(len(held), open_ones, flush=True)
time.sleep(60)
"""


CONFIG_OF_ALL = (
    CONFIG
    + f"""
c.Spawner.workspace_images = ["{TEST_IMAGE}", "{HOSTILE}", "{BROKEN}"]
c.Spawner.image_settings = {{"{HOSTILE}": {{"cmd": {STALLED!r}}}, "{BROKEN}": {{"cmd": {SHUT!r}}}}}
c.MLHub.max_connections_per_address = 300
"""
)


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Iterator[Hub]:
    for tag in (HOSTILE, BROKEN):
        docker("tag", TEST_IMAGE, tag)
    hub = make_hub(CONFIG_OF_ALL)
    yield hub
    hub.remove()
    docker("rmi", HOSTILE, BROKEN)


def read_hub(hub: Hub) -> dict[str, int]:
    """Return the kilobytes (VmRSS) and threads of the hub's process."""
    look = (
        "for each in /proc/[0-9]*; do tr '\\0' ' ' <$each/cmdline | grep -q 'python.* -m"
        " [m]lhub.hub ' && cat $each/status; done 2>/dev/null; true"
    )
    lines = (line.split() for line in hub.exec("sh", "-c", look).splitlines())
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if words and words[0] in ("VmRSS:", "Threads:")
    }


def run_inside(name: str, script: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            "docker",
            "exec",
            name,
            "sh",
            "-c",
            'ulimit -n $(ulimit -Hn); exec python3 -S -c "$@"',
            "sh",
            script,
            *words,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_program_inside_that_never_ends_and_never_stops_talking_takes_nothing_of_the_hub(
    hub, tmp_path, wait_for
):
    mallory = Person(hub, "mallory", tmp_path / "mallory").join()
    before = read_hub(hub)["VmRSS"]
    hub.start_workspace("mallory", options={"image": HOSTILE})
    name, most = f"ws-{hub.name}--mallory", 0
    inside = run_inside(name, WRITE)
    try:
        while inside.poll() is None:
            most = max(most, read_hub(hub)["VmRSS"])
        # More than what a pipe holds that nobody reads.
        assert int(inside.stdout.read()) > 65_536
    finally:
        inside.kill()
        inside.wait()
    assert most - before < 40_000
    refused = mallory.run(mallory.alias, "true", timeout=60)
    assert refused.returncode == 255
    assert "SSH server is still starting after 10 seconds" in refused.stderr
    # The twin: with the pipe out of the way it starts, whatever is still stalled in there.
    docker("exec", name, "rm", "-f", "/dev/shm/.mlhub-ssh-0-key")
    assert wait_for(
        lambda: mallory.run(mallory.alias, "echo in").stdout.strip() == "in", "a login", 30
    )


def test_who_can_not_be_let_in_is_told_so_and_the_containers_log_says_why(hub, tmp_path):
    ann = Person(hub, "ann", tmp_path / "ann").join()
    hub.start_workspace("ann", options={"image": BROKEN})
    refused = ann.run(ann.alias, "true", timeout=60)
    assert refused.returncode == 255
    assert "It ended with code 2; the log of the container says more." in refused.stderr
    name = f"ws-{hub.name}--ann"
    assert "/dev/shm/.mlhub-ssh-0-key: Is a directory" in docker("logs", name)
    docker("exec", name, "rmdir", "/dev/shm/.mlhub-ssh-0-key")
    assert ann.ask("echo in").strip() == "in"


def test_connections_of_one_workspace_to_the_hub_have_an_end_and_nobody_else_notices(hub, wait_for):
    hub.start_workspace("carl", options={"image": TEST_IMAGE})
    before = read_hub(hub)["VmRSS"]
    inside = run_inside(f"ws-{hub.name}--carl", HOLD, hub.name, "400")
    try:
        made, held = (int(word) for word in inside.stdout.readline().split())
        assert made == 400
        assert 280 < held <= 300
        assert read_hub(hub)["VmRSS"] - before < 30_000
        # The twin: whoever comes by the front, and another workspace, are answered.
        assert hub.request("GET", "/hub/login")[0] == 200
        hub.start_workspace("dora", options={"image": TEST_IMAGE})
        assert "200" in docker("exec", f"ws-{hub.name}--dora", "python3", "-S", "-c", ASK, hub.name)
    finally:
        inside.kill()
        inside.wait()
