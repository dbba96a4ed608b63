"""Return True if everything that should run here answers. For Docker's HEALTHCHECK and the chart's
probes.

Standard library only, so that it costs a few milliseconds; what to ask is in health.json, written
by boot.
"""

from __future__ import annotations

import json
import os
import socket
import sys

TIMEOUT_SECONDS = 3.0
# As Settings reads it, which would take longer to import than everything else here.
PROBES_FILE = os.path.join(os.environ.get("MLHUB_RUN_DIR") or "/run/mlhub", "health.json")


def check_probe(probe: dict) -> str | None:
    """Return None when the program answers, else a sentence."""
    name = probe["name"]
    if "listens" in probe:
        return (
            None
            if _is_listening(probe["listens"])
            else f"{name} does not listen on port {probe['listens']}"
        )
    address = probe["address"]
    try:
        with _connect(address) as connection:
            if probe.get("path"):
                request = (
                    f"GET {probe['path']} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                connection.sendall(request.encode())
            elif probe.get("ask"):
                connection.sendall(probe["ask"].encode())
            if not probe.get("expect"):
                return None
            answer = connection.recv(256)
            if probe["expect"].encode() in answer:
                return None
            return f"{name} answers {answer[:60]!r} at {address}"
    except OSError as error:
        return f"{name} does not answer at {address} ({error.strerror or error})"


def check_all(probes: list[dict]) -> dict[str, str | None]:
    """Return, for each program, None or the sentence that says what is wrong."""
    return {probe["name"]: check_probe(probe) for probe in probes}


def main(arguments: list[str]) -> int:
    """Print what does not answer; exit 0 when everything does."""
    try:
        with open(PROBES_FILE) as file:
            probes = json.load(file)
    except (OSError, ValueError):
        print("still booting")
        return 1
    wrong = 0
    for name, sentence in check_all(probes).items():
        if sentence:
            wrong = 1
            print(sentence)
        elif "--verbose" in arguments:
            print(f"{name}: answers")
    return wrong


def _is_listening(port: int) -> bool:
    # proc(5): local address as hexadecimal, state 0A is LISTEN.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows = file.readlines()[1:]
        except OSError:
            continue
        if any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in rows):
            return True
    return False


def _connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
