"""Ask the hub for its routes, for this container's new proxy. The chart's startup probe: not ready
before it has them.

The hub pushes to whoever asks with the token that both have, so it never sends that to an address
that is somebody else's by now. Standard library only, as in health.py.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from pathlib import Path

from mlhub.boot import health

HUB_PORT, API_PORT = 8081, 8001
# A connection, or DNS, may hang; the probe itself has ten seconds.
ASK_SECONDS = 6.0
# So long after the container's start a hub that is away is not waited for: what runs is reached
# through its proxy alone.
PATIENCE_SECONDS = 20.0


def ask(hub_name: str, base_url: str, token: str) -> str:
    """Let the hub push all its routes to this container; return an empty text once it has, else
    what is in the way.
    """
    connection = http.client.HTTPConnection(hub_name, HUB_PORT, timeout=ASK_SECONDS)
    try:
        connection.connect()
        address = connection.sock.getsockname()[0]
        api_url = f"http://{f'[{address}]' if ':' in address else address}:{API_PORT}"
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        connection.request(
            "POST", f"{base_url}hub/api/mlhub/routes", json.dumps({"api_url": api_url}), headers
        )
        answer = connection.getresponse()
        return (
            ""
            if answer.status == 204
            else f"The hub {hub_name} answers with status {answer.status}: {answer.read(500)!r}"
        )
    except (OSError, http.client.HTTPException) as error:
        return f"The hub {hub_name} does not answer ({getattr(error, 'strerror', None) or error})"
    finally:
        connection.close()


def ask_in_time(*arguments: str) -> str:
    """Ask; what takes longer than the probe may is left behind."""
    said = [f"The hub {arguments[0]} takes longer than {ASK_SECONDS:.0f} s"]
    thread = threading.Thread(target=lambda: said.append(ask(*arguments)), daemon=True)
    thread.start()
    thread.join(ASK_SECONDS)
    return said[-1]


def read_age() -> float:
    """Return for how many seconds this container runs: since its first process was started."""
    # proc(5): the 22nd field, in ticks since the machine's start; the second one, a name, may hold
    # blanks.
    ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Exit 0 when the proxy has its routes, or when the hub has been waited for long enough."""
    if health.main([]):
        return 1
    # As Settings reads them, which would take longer to import than everything else here.
    hub_name, token = os.environ.get("HUB_NAME", ""), os.environ.get("CONFIGPROXY_AUTH_TOKEN", "")
    obstacle = ask_in_time(hub_name, os.environ.get("MLHUB_BASE_URL") or "/", token)
    if obstacle:
        print(obstacle)
    return 1 if obstacle and read_age() < PATIENCE_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
