"""What floods do to everybody else: the hub's latency for others beside each kind of flood that the
security tests send, and the hub's memory afterwards.

The flood comes from a container, with an address of its own; the others ask through the published
port.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.hubs import Hub
from tools.bench.neighbor import measure_latency
from tools.bench.objects import (
    docker,
    find_address,
    read_memory_bytes,
    remove_container,
    start_container,
)
from tools.console import ToolError

IMAGE = "mltooling/mlhub-workspace:latest"
SETTLE_SECONDS = 2.0
REST_SECONDS = 30.0  # until what was begun has ended
# Each sends until it is ended, and says once how it goes. {host} is the hub's container.
HEADER = """
import os, re, socket, sys, threading, time
HOST, PORT = sys.argv[1], 8080
def connect():
    return socket.create_connection((HOST, PORT), 10)
def run(count, work):
    def forever():
        while True:
            try:
                work()
            except OSError:
                time.sleep(0.05)
    threads = [threading.Thread(target=forever, daemon=True) for _ in range(count)]
    [thread.start() for thread in threads]
    print("on its way", flush=True)
    time.sleep(600)
"""
FLOODS = {
    # Random names and passwords at the sign-in, each with the token of its own page.
    "sign-ins": """
def work():
    with connect() as page:
        page.sendall(b"GET /hub/login HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
        text = b""
        while piece := page.recv(65536):
            text += piece
    cookie = re.search(rb"[Ss]et-[Cc]ookie: (_xsrf=[^;]+)", text)[1]
    token = re.search(rb'name="_xsrf"\\s+value="([^"]+)"', text)[1]
    body = b"_xsrf=" + token.replace(b"=", b"%3D").replace(b"&#34;", b"%22")
    body += b"&password=a-wrong-guess&username=" + os.urandom(8).hex().encode()
    head = b"POST /hub/login HTTP/1.0\\r\\nHost: x\\r\\nCookie: " + cookie
    head += b"\\r\\nContent-Type: application/x-www-form-urlencoded"
    head += b"\\r\\nContent-Length: %d\\r\\n\\r\\n"
    with connect() as form:
        form.sendall(head % len(body) + body)
        form.settimeout(60)
        form.recv(100)
run(80, work)
""",
    # The sign-in page alone.
    "sign-in pages": """
def work():
    with connect() as page:
        page.sendall(b"GET /hub/login HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
        page.settimeout(60)
        while page.recv(65536):
            pass
run(80, work)
""",
    # Bodies that never end, to pages that take none.
    "stalled bodies": """
def work():
    with connect() as one:
        one.sendall(b"POST /hub/api/users HTTP/1.1\\r\\nHost: x\\r\\n")
        one.sendall(b"Content-Length: 1000000\\r\\n\\r\\n{")
        one.settimeout(60)
        one.recv(100)
run(600, work)
""",
    # Bodies that are far too large.
    "large bodies": """
PIECE = b"x" * 65536
def work():
    with connect() as one:
        one.sendall(b"POST /hub/spawn HTTP/1.1\\r\\nHost: x\\r\\n")
        one.sendall(b"Content-Length: 104857600\\r\\n\\r\\n")
        for _ in range(1600):
            one.sendall(PIECE)
run(10, work)
""",
    # Handshakes of SSH that come to nothing.
    "half-open SSH": """
def work():
    with connect() as one:
        one.sendall(b"SSH-2.0-scan\\r\\n" + bytes(64))
        one.settimeout(5)
        one.recv(100)
    time.sleep(0.4)
run(40, work)
""",
}


def measure_floods(run: str, hub: Hub, seconds: int = 5) -> dict[str, float]:
    """Return the 99th percentile of the hub's answers to others, in ms, without a flood and beside
    each; and the memory of all its container's programs, in MB, beside each and after all.
    """
    results = {"memory MB, no flood": read_memory_bytes(hub.container) / 1e6}
    results["hub p99 ms, no flood"] = measure_latency(hub, seconds)
    for name, program in FLOODS.items():
        with flooding(run, hub, name, program):
            results[f"hub p99 ms, {name}"] = measure_latency(hub, seconds)
            results[f"memory MB, {name}"] = read_memory_bytes(hub.container) / 1e6
    time.sleep(REST_SECONDS)
    results["memory MB, after floods"] = read_memory_bytes(hub.container) / 1e6
    return results


@contextmanager
def flooding(run: str, hub: Hub, name: str, program: str) -> Iterator[None]:
    """Have a container of its own send a flood meanwhile."""
    words = ("--entrypoint", "python3", IMAGE, "-c", HEADER + program, find_address(hub.container))
    container = start_container(run, *words)
    try:
        deadline = time.monotonic() + 30
        while "on its way" not in docker("logs", container):
            if time.monotonic() > deadline:
                raise ToolError(f"The flood of {name} did not begin:\n{docker('logs', container)}")
            time.sleep(0.2)
        time.sleep(SETTLE_SECONDS)  # until it is as large as it becomes
        yield
        state = docker("inspect", "--format", "{{.State.Running}}", container)
        if state != "true":
            raise ToolError(f"The flood of {name} ended by itself:\n{docker('logs', container)}")
    finally:
        remove_container(container)
