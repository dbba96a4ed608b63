"""What nginx has to know to look up routes itself (resources/router)."""

from __future__ import annotations

from pathlib import Path

from mlhub.boot.resolver import Resolver
from mlhub.settings import HUB_PROXY_PORT, Settings

HOSTS_FILE = Path("/etc/hosts")


def make_site(
    settings: Settings, token: str, resolver: Resolver, hosts_file: Path = HOSTS_FILE
) -> dict[str, object]:
    """Return what resources/router/site.lua reads; it holds the token between hub and proxy."""
    # Until the hub has pushed its routes, "not there yet" is the truth, and "not found" is not.
    hub = "127.0.0.1" if settings.start_jhub else settings.hub_name
    return {
        "token": token,
        "default_target": f"http://{hub}:{HUB_PROXY_PORT}",
        "host_routing": bool(settings.mlhub_subdomain_host),
        "base_url": settings.mlhub_base_url,
        "hub_url": settings.mlhub_subdomain_host.rstrip("/"),
        "hosts": read_hosts(hosts_file),
        "search": resolver.search[0] if resolver.search and resolver.ndots else "",
    }


def read_hosts(file: Path) -> dict[str, str]:
    """Return the addresses of hosts(5) by name, as nginx writes them: its resolver does not read
    that file.
    """
    found = {"localhost": "127.0.0.1"}
    for line in file.read_text().splitlines() if file.exists() else ():
        address, *names = line.partition("#")[0].split() or [""]
        if "%" not in address:
            for name in names:
                found.setdefault(name.lower(), f"[{address}]" if ":" in address else address)
    return found
