"""What the container's own resolver knows, for nginx, which reads no resolv.conf and knows no
search domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILE = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Resolver:
    """Hold the name servers (as nginx writes them), the search domains, and from how many dots on a
    name is complete.
    """

    servers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1

    def complete(self, name: str) -> str:
        """Return a name without dots as it is asked for first: in Kubernetes, in the pod's own
        namespace.
        """
        if "." in name or not self.search or self.ndots == 0:
            return name
        return f"{name}.{self.search[0]}"


def read_resolver(file: Path = FILE) -> Resolver:
    """Read resolv.conf(5); what it does not say is as there."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    for line in file.read_text().splitlines() if file.exists() else ():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and "%" not in values[0]:  # nginx knows no scopes
            servers.append(f"[{values[0]}]" if ":" in values[0] else values[0])
        elif keyword in ("search", "domain"):
            search = [value.strip(".") for value in values if value.strip(".")]
        elif keyword == "options":
            ndots = next(
                (
                    int(value[6:])
                    for value in values
                    if value.startswith("ndots:") and value[6:].isdecimal()
                ),
                ndots,
            )
    return Resolver(tuple(servers) or Resolver.servers, tuple(search), ndots)
