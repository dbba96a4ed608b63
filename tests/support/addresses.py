"""Foreign addresses on this machine: no test sends anything to an address that is not this
machine's.
"""

from __future__ import annotations

import contextlib
import http.server
import secrets
import subprocess
import threading
from collections.abc import Iterator, Sequence

METADATA = "169.254.169.254"  # where clouds tell a machine who it is
INTERNET = "203.0.113.10"  # RFC 5737: for documentation, so nobody's
# Answers on all given addresses, TCP and UDP; each socket has one address, so that answers come
# from it.
SERVER = """
import socket, sys, threading
ports, addresses = [int(port) for port in sys.argv[1].split(",")], sys.argv[2:]
def accept(listener):
    while True:
        listener.accept()[0].close()
def echo(receiver):
    while True:
        data, peer = receiver.recvfrom(9)
        receiver.sendto(data, peer)
for port in ports:
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind, answer in ((socket.SOCK_STREAM, accept), (socket.SOCK_DGRAM, echo)):
            opened = socket.socket(family, kind)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, port))
            if kind == socket.SOCK_STREAM:
                opened.listen(64)
            threading.Thread(target=answer, args=(opened,)).start()
"""
# Prints which of the given address/port pairs answer to TCP, and which to UDP.
PROBE = """
import socket, sys, threading
def probe(name, kind, target):
    address, port = target.rsplit("/", 1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as asked:
        asked.settimeout(1)
        try:
            asked.connect((address, int(port)))
            if name == "udp":
                asked.send(b"x")
                asked.recv(9)
        except OSError:
            return
    print(name + " " + target + "\\n", end="")
kinds = (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM))
threads = [threading.Thread(target=probe, args=(*kind, target)) \
for kind in kinds for target in sys.argv[1:]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@contextlib.contextmanager
def own_addresses(*addresses: str) -> Iterator[None]:
    """Give addresses to an interface of this machine that leads nowhere, so that no packet for them
    leaves it.
    """
    interface = f"mhtest{secrets.token_hex(3)}"
    subprocess.run(
        ["ip", "link", "add", interface, "type", "bridge"], check=True
    )  # not every kernel has the type dummy
    try:
        for address in addresses:
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", interface], check=True)
        subprocess.run(["ip", "link", "set", interface, "up"], check=True)
        for address in addresses:
            route = subprocess.run(
                ["ip", "route", "get", address], check=True, capture_output=True, text=True
            ).stdout
            assert route.startswith("local "), route
        yield
    finally:
        subprocess.run(["ip", "link", "delete", interface], check=True)


@contextlib.contextmanager
def listening_on_the_host() -> Iterator[int]:
    """Serve HTTP on a port of all this machine's addresses."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def enter(process: int | None, *words: str) -> str:
    """Run a program of this machine in the network namespace of a process, or for None in the own
    one; return what it printed.
    """
    prefix = ["nsenter", "-t", str(process), "-n"] if process else []
    return subprocess.run([*prefix, *words], check=True, capture_output=True, text=True).stdout


def add_addresses(process: int, *addresses: str) -> None:
    """Give addresses to a network namespace that leads nowhere."""
    enter(process, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    for address in addresses:
        enter(process, "ip", "addr", "add", address, "dev", "lo", *_options(address))


def join(
    near: int | None,
    far: int,
    near_address: str,
    far_address: str,
    name: str,
    routes: Sequence[str] = (),
) -> None:
    """Lead from one network namespace to another by a pair of interfaces, ``name`` here and eth0
    there, and show that it does.
    """
    enter(
        near, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(far)
    )
    for place, address, interface in ((near, near_address, name), (far, far_address, "eth0")):
        enter(place, "ip", "addr", "add", address, "dev", interface, *_options(address))
        enter(place, "ip", "link", "set", interface, "up")
    for route in routes:
        enter(near, "ip", "route", "add", route, "via", far_address.partition("/")[0], "dev", name)
        assert f"dev {name} " in enter(near, "ip", "route", "get", route)
    enter(far, "ip", "route", "add", "default", "via", near_address.partition("/")[0])


@contextlib.contextmanager
def leading_to(process: int, *addresses: str) -> Iterator[None]:
    """Lead from this machine to a network namespace that has these addresses."""
    number, name = 4 * secrets.randbelow(64), f"mhtest{secrets.token_hex(3)}"
    try:
        join(
            None,
            process,
            f"198.51.100.{number + 1}/30",
            f"198.51.100.{number + 2}/30",
            name,
            addresses,
        )
        yield
    finally:
        subprocess.run(
            ["ip", "link", "delete", name], check=False, capture_output=True
        )  # its routes go with it


def _options(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()
