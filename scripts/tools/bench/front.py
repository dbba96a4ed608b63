"""The front alone: nginx as the router beside configurable-http-proxy, in one run.

Both are containers of the hub's image, without a hub. Both have the same routes, and are asked at
their containers' own addresses; rounds alternate between them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench.measures import BACKEND_IMAGE, read_wrk
from tools.bench.objects import (
    find_address,
    read_memory_bytes,
    read_processor_seconds,
    remove_all,
    start_container,
)
from tools.bench.report import print_table, write_results
from tools.console import ToolError, main_with_sentences, stage
from tools.engine import ensure_engine, install_packages
from tools.images import HUB, Image, ensure_image

TOKEN = "bench-" + "0123456789abcdef" * 2
ROUTER, CHP = "router", "CHP"
ROUTES = 500
SOCKETS, IDLE_SOCKETS = 32, 5000
BULK_BYTES = 1 << 30
MESSAGE_BYTES = 128
READY_SECONDS = 30
BACKEND = Image(BACKEND_IMAGE, "docker/bench/backend/Dockerfile", ("docker/bench/backend",))
SHAKE = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Proxy:
    """A running proxy: its container, its public side and its API."""

    name: str
    container: str
    address: str
    port: int

    def call(self, method: str, path: str, body: object = None, port: int = 0) -> int:
        """Send one request over a connection of its own; return the status, 0 without an answer."""
        connection = http.client.HTTPConnection(self.address, port or self.port, timeout=10)
        headers = {"Authorization": f"token {TOKEN}"} if port else {}
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            return 0
        finally:
            connection.close()

    def route(self, spec: str, target: str) -> None:
        """Add a route."""
        if self.call("POST", f"/api/routes{spec}", {"target": target}, port=8001) != 201:
            raise ToolError(f"{self.name} took no route.")

    def open_socket(self, path: str) -> socket.socket:
        """Open a WebSocket."""
        connection = socket.create_connection((self.address, self.port), timeout=30)
        connection.sendall(SHAKE.format(path=path).encode())
        head = connection.recv(4096)
        if b" 101 " not in head[:20]:
            raise ToolError(f"{self.name} opened no WebSocket: {head[:100]!r}")
        return connection


def start_proxy(run: str, name: str, image: str) -> Proxy:
    """Start one of the two, and wait until its API answers."""
    words = ["--env", f"CONFIGPROXY_AUTH_TOKEN={TOKEN}"]
    if name == ROUTER:
        roles = ("START_JHUB=false", "START_SSH=false", "MLHUB_ROUTER=true")
        words += [word for role in roles for word in ("--env", role)] + [image]
    else:
        words += ["--entrypoint", "configurable-http-proxy", image]
        words += ["--ip=0.0.0.0", "--api-ip=0.0.0.0", "--log-level=warn"]
    container = start_container(run, *words)
    proxy = Proxy(name, container, find_address(container), 8080 if name == ROUTER else 8000)
    deadline = time.monotonic() + READY_SECONDS
    while proxy.call("GET", "/api/routes", port=8001) != 200:
        if time.monotonic() > deadline:
            raise ToolError(f"{name} did not come up.")
        time.sleep(0.2)
    return proxy


@contextmanager
def running_server(address: str) -> Iterator[str]:
    """Run a server (bench/peer.py) in a process of its own; yield its URL."""
    command = [sys.executable, str(Path(__file__).with_name("peer.py")), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://{address}:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def measure_requests(proxy: Proxy, seconds: int) -> dict[str, float]:
    """Requests per second, and the 99th percentile of their latency; and what a request costs the
    proxy, which client and server do not change that share its processors.
    """
    url = f"http://{proxy.address}:{proxy.port}/user/person-{ROUTES // 2}/x"
    before = read_processor_seconds(proxy.container)
    rate, p99 = read_wrk(proxy.name, url, seconds)
    taken = read_processor_seconds(proxy.container) - before
    return {
        f"requests/s, {proxy.name}": rate,
        f"p99 ms, {proxy.name}": p99,
        f"us per request, {proxy.name}": taken / (rate * seconds) * 1e6,
    }


def measure_messages(proxy: Proxy, seconds: float) -> dict[str, float]:
    """WebSocket messages per second, there and back, each connection with one on its way; and what
    one costs the proxy.
    """
    command = [sys.executable, str(Path(__file__).with_name("peer.py"))]
    words = [proxy.address, str(proxy.port), "/user/echo/socket", str(SOCKETS), str(seconds)]
    before = read_processor_seconds(proxy.container)
    text = subprocess.run([*command, *words], capture_output=True, text=True, check=True).stdout
    taken, rate = read_processor_seconds(proxy.container) - before, float(text)
    return {
        f"messages/s, {proxy.name}": rate,
        f"us per message, {proxy.name}": taken / (rate * seconds) * 1e6,
    }


def measure_bulk(proxy: Proxy, size: int) -> dict[str, float]:
    """Megabytes per second of one long answer."""
    buffer, count = bytearray(1 << 20), 0
    with socket.create_connection((proxy.address, proxy.port), timeout=60) as connection:
        connection.sendall(f"GET /user/echo/bulk/{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        began = time.monotonic()
        while count < size and (part := connection.recv_into(buffer)):
            count += part
    if count < size:
        raise ToolError(f"{proxy.name} ended a long answer after {count} bytes.")
    return {f"bulk MB/s, {proxy.name}": size / 1e6 / (time.monotonic() - began)}


def measure_routes(proxy: Proxy, target: str, count: int) -> dict[str, float]:
    """Milliseconds from the order for a new route until it has led on."""
    samples = []
    for _ in range(count):
        spec = f"/user/new-{secrets.token_hex(4)}"
        began = time.monotonic()
        proxy.route(spec, target)
        while proxy.call("GET", f"{spec}/x") != 200:
            pass
        samples.append((time.monotonic() - began) * 1000)
        proxy.call("DELETE", f"/api/routes{spec}", port=8001)
    return {f"route ms, {proxy.name}": statistics.median(samples)}


def measure_idle_sockets(proxy: Proxy) -> dict[str, float]:
    """Megabytes that open WebSockets take which say nothing."""
    before = read_memory_bytes(proxy.container)
    with ExitStack() as opened:
        for _ in range(IDLE_SOCKETS):
            opened.enter_context(proxy.open_socket("/user/echo/socket"))
        time.sleep(2)
        grown = read_memory_bytes(proxy.container) - before
    return {f"{IDLE_SOCKETS} sockets MB, {proxy.name}": grown / 1e6}


def measure(run: str, image: str, rounds: int, samples: dict[str, list[float]]) -> None:
    """Run all rounds and fill ``samples`` as they come."""
    proxies = [start_proxy(run, name, image) for name in (CHP, ROUTER)]
    backend = f"http://{find_address(start_container(run, BACKEND_IMAGE))}:8080"
    gateway = proxies[0].address.rpartition(".")[0] + ".1"

    def add(results: dict[str, float]) -> None:
        for key, value in results.items():
            samples[key].append(value)

    with running_server(gateway) as server:
        for proxy in proxies:
            time.sleep(5)
            add({f"idle MB, {proxy.name}": read_memory_bytes(proxy.container) / 1e6})
            for number in range(ROUTES):
                proxy.route(f"/user/person-{number}", backend)
            proxy.route("/user/echo", server)
        for number in range(rounds + 1):
            told = f"Round {number} of {rounds} (load {os.getloadavg()[0]:.1f})"
            with stage(told + (", to warm up" if number == 0 else "")):
                for proxy in proxies if number % 2 else proxies[::-1]:
                    results = {
                        **measure_requests(proxy, 5 if number else 2),
                        **measure_messages(proxy, 3 if number else 1),
                        **measure_bulk(proxy, BULK_BYTES if number else BULK_BYTES // 16),
                        **measure_routes(proxy, backend, 40 if number else 5),
                    }
                    # The warm-up round's numbers go nowhere.
                    if number:
                        add(results)
        with stage(f"{IDLE_SOCKETS} idle WebSockets"):
            for proxy in proxies:
                add(measure_idle_sockets(proxy))


def main(arguments: Sequence[str]) -> int:
    """Build what is missing, measure, print, write, clean up."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench front", description="Measure the router beside CHP, in one run."
    )
    parser.add_argument("rounds", nargs="?", type=int, default=5, help="measured rounds; default 5")
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")
    parser.add_argument("--image", default=HUB.tag, help="hub image to measure")
    parser.add_argument("--no-build", action="store_true", help="measure the image as it is")
    options = parser.parse_args(arguments)
    engine = ensure_engine()
    if not shutil.which("wrk"):
        install_packages("wrk", why="it counts requests per second")
    for image in (BACKEND,) if options.no_build else (HUB, BACKEND):
        ensure_image(image)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run, samples, began = "b" + secrets.token_hex(4), defaultdict(list), time.time()
    try:
        measure(run, options.image, options.rounds, samples)
    finally:
        with stage("Removing what the benchmark made"):
            remove_all(run, options.image)
        if samples:
            print_table(samples)
    if options.output:
        write_results(options.output, began, options.rounds, {"engine": engine}, samples)
    return 0


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
