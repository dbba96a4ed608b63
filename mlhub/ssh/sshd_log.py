"""What the lines of sshd's log say. Standard library only, like the program beside sshd that reads
them.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:  # half a megabyte, for as long as the container runs
    from typing import Any

ADDRESS_SECONDS = 1.0
# sshd's LogVerbose puts file, function, program and process in front of a line (log.c). What
# follows may hold a name that a stranger made up to look like another line, so all of these match
# from the first character on.
_TAGGED = re.compile(
    r"(?:debug\d: )?(?P<file>[\w-]+\.c):(?P<function>\w+)\(\):\d+ \(bin=[^,)]*, pid=(?P<pid>\d+)\):"
    r" (?P<text>.*)"
)
_ACCEPTED = re.compile(
    r"Accepted publickey for \S+ from (?P<source>\S+) port (?P<port>\d+) ssh2: [\w-]+ "
    r"(?P<fingerprint>SHA256:[A-Za-z0-9+/]+)\Z"
)
_FAILED = re.compile(
    r"Failed publickey for \S+ from (?P<source>\S+) port (?P<port>\d+) ssh2: [\w-]+ "
    r"(?P<fingerprint>SHA256:[A-Za-z0-9+/]+)\Z"
)
# What sshd adds when a session ends, or a forwarding is refused: the hub's records say it better,
# and once.
_REPEATED = re.compile(
    r"(?:Received disconnect from|Disconnected from user|Connection closed by"
    r"|Received request from) (?!.*\[preauth\])|mm_reap: "
)
# What a client calls itself stands before this, and may look like it: the last one is sshd's.
_CLIENT = re.compile(
    r"(?P<before>.* )(?P<source>127\.\d+\.\d+\.\d+)(?P<after> (?:port \d+|not allowed ).*)",
    re.DOTALL,
)
_TARGET = re.compile(r"originator \S+ port \d+, target (?P<host>\S+) port (?P<to>\d+)\Z")


def parse_event(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """Read one line of sshd's log: what the hub should know, and what is left for the container's
    log.
    """
    match = _TAGGED.match(line)
    if not match:
        return None, None if _REPEATED.match(line) else line
    pid, text = int(match["pid"]), match["text"].strip()
    if accepted := _ACCEPTED.match(text):
        found: dict[str, Any] = {"event": "opened", "pid": pid, **accepted.groupdict()}
        return {**found, "port": int(found["port"])}, text
    if failed := _FAILED.match(text):
        found = {"event": "refused", "pid": pid, **failed.groupdict()}
        return {**found, "port": int(found["port"])}, None
    if target := _TARGET.match(text):
        return {
            "event": "target",
            "pid": pid,
            "host": target["host"],
            "to": int(target["to"]),
        }, None
    return None, None


def name_client(line: str, find_address: Callable[[str], str]) -> str:
    """Write a line with the client's own address in place of the one nginx gave it for sshd."""
    match = _CLIENT.fullmatch(line)
    return f"{match['before']}{find_address(match['source'])}{match['after']}" if match else line


def find_real_address(clients: str, source: str) -> str:
    """Return the client's own address, or ``source`` itself where nginx is not in front of sshd or
    does not know.
    """
    try:
        if not ipaddress.ip_address(source).is_loopback:
            return source
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ADDRESS_SECONDS)
            connection.connect(clients)
            connection.sendall(f"{source}\n".encode())
            return str(
                ipaddress.ip_address(connection.recv(256).decode("ascii", "replace").strip())
            )
    except (OSError, ValueError):
        return source
