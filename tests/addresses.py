"""Foreign addresses on this machine: no test sends anything to an address that is not this machine's."""

from __future__ import annotations

import contextlib
import http.server
import secrets
import subprocess
import threading
from collections.abc import Iterator

METADATA = "169.254.169.254"  # where clouds tell a machine who it is
INTERNET = "203.0.113.10"  # RFC 5737: for documentation, so nobody's


@contextlib.contextmanager
def own_addresses(*addresses: str) -> Iterator[None]:
    """Give addresses to an interface of this machine that leads nowhere, so that no packet for them leaves it."""
    interface = f"mhtest{secrets.token_hex(3)}"
    subprocess.run(["ip", "link", "add", interface, "type", "bridge"], check=True)  # not every kernel has the type dummy
    try:
        for address in addresses:
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", interface], check=True)
        subprocess.run(["ip", "link", "set", interface, "up"], check=True)
        for address in addresses:
            route = subprocess.run(["ip", "route", "get", address], check=True, capture_output=True, text=True).stdout
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
