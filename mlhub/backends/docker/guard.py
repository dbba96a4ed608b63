"""Keep workspaces away from the Docker host itself, and the hub's container from routing between them.

Promise: one nftables table of our own (``inet mlhub_<hub>``) on the host, put in place in one transaction
and replaced as a whole; no rule of anybody else is touched. A host where that fails keeps working, with
one warning that names the cure.

Docker separates networks from each other, but lets every container reach the host's own ports and the
link-local addresses where clouds hand out credentials (https://datatracker.ietf.org/doc/html/rfc3927).
The table drops both for packets that come in through the bridges of this hub's networks: all that is
for the host itself but answers to what the host asked, and all that is for 169.254.0.0/16. Containers
on one bridge, the hub among them, and Docker's DNS are not affected.

The hub's container sits in many networks, and containers forward packets by default: it would be a
router between people. So forwarding is switched off in its own network namespace.

Both are done by short-lived containers of the hub's own image, which hold NET_ADMIN and nothing else;
the hub itself stays without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException

from mlhub.backends.docker.engine import Engine
from mlhub.workspace.identity import LABEL_ORIGIN, make_bridge_prefix

HELPER_SECONDS = 30
LABEL_HELPER = "mlhub.helper"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_HOST_WARNING = (
    "Workspaces can reach the Docker host's own ports and link-local (cloud metadata) addresses: the host guard could not be installed (%s). "
    "Load nf_tables on the host, or block them in the host's firewall and set MLHUB_HOST_GUARD=false."
)
_FORWARDING_WARNING = (
    "The hub's container forwards packets between the networks of workspaces, and that could not be switched off (%s). "
    "Start it with --sysctl net.ipv4.ip_forward=0."
)
log = logging.getLogger(__name__)


def make_table_name(hub: str) -> str:
    """Make the name of the hub's table."""
    return f"mlhub_{hub.replace('-', '_')}"


def make_ruleset(hub: str) -> str:
    """Make the nft script that puts the hub's table in place, whatever stood there before."""
    table, bridges = make_table_name(hub), f'iifname "{make_bridge_prefix(hub)}*"'
    # Before Docker's own rules (priority 0); a drop is final whatever others accept.
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain input {{
    type filter hook input priority -10; policy accept;
    {bridges} ct state established,related accept
    {bridges} drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    {bridges} ip daddr 169.254.0.0/16 drop
    {bridges} ip6 daddr fe80::/10 drop
  }}
}}
"""


async def ensure_guard(
    engine: Engine,
    hub: str,
    image: str,
    hub_container: str | None = None,
    extra_labels: dict[str, str] | None = None,
    host: bool = True,
) -> bool:
    """Put the host's table in place and switch forwarding off in the hub's container; tell whether both hold.

    ``image`` is the hub's own image (it brings nft), ``hub_container`` its container's id;
    ``host=False`` leaves the host alone.
    """
    works = []
    if host:
        work = _run(engine, hub, image, ["nft", make_ruleset(hub)], {"NetworkMode": "host"}, extra_labels)
        works.append(_attempt(work, _HOST_WARNING))
    forwards = await asyncio.to_thread(_forwards)
    if hub_container and forwards:
        works.append(_attempt(stop_forwarding(engine, hub, image, hub_container, extra_labels), _FORWARDING_WARNING))
    return all(await asyncio.gather(*works))


async def remove_guard(engine: Engine, hub: str, image: str, extra_labels: dict[str, str] | None = None) -> bool:
    """Remove the hub's table from the host; tell whether it is gone."""
    table = make_table_name(hub)
    script = f"table inet {table} {{}}\ndelete table inet {table}"
    warning = f"The table inet {table} could not be removed from the host (%s). Remove it there: nft delete table inet {table}"
    return await _attempt(_run(engine, hub, image, ["nft", script], {"NetworkMode": "host"}, extra_labels), warning)


async def stop_forwarding(engine: Engine, hub: str, image: str, hub_container: str, extra_labels: dict[str, str] | None = None) -> None:
    """Switch packet forwarding off in the network namespace of the hub's container."""
    # An ordinary container sees /proc/sys read-only, also with NET_ADMIN: nothing is masked in this one.
    host_config = {"NetworkMode": f"container:{hub_container}", "MaskedPaths": [], "ReadonlyPaths": []}
    await _run(engine, hub, image, ["sh", "-c", f"echo 0 > {_FORWARDING}"], host_config, extra_labels)


def _forwards() -> bool:
    # This process is the hub: it shares the network namespace of the hub's container.
    return not _FORWARDING.exists() or _FORWARDING.read_text().strip() != "0"


async def _attempt(work: Any, warning: str) -> bool:
    try:
        await work
    except (GuardFailed, DockerException, requests.RequestException, TimeoutError) as error:
        log.warning(warning, str(error).strip()[:300])
        return False
    return True


async def _run(
    engine: Engine, hub: str, image: str, command: Sequence[str], host_config: dict[str, Any], extra_labels: dict[str, str] | None
) -> None:
    container = await engine.call(
        "create_container",
        image,
        entrypoint=list(command),
        command=[],
        user="0:0",
        labels={**(extra_labels or {}), LABEL_ORIGIN: hub, LABEL_HELPER: "guard"},
        host_config={
            "CapDrop": ["ALL"],
            "CapAdd": ["NET_ADMIN"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "json-file", "Config": {}},
            **host_config,
        },
    )
    try:
        await engine.call("start", container["Id"])
        answer = await engine.call("wait", container["Id"], timeout=HELPER_SECONDS)
        if answer["StatusCode"] != 0:
            output = await engine.call("logs", container["Id"], tail=5)
            raise GuardFailed(output.decode(errors="replace"))
    finally:
        try:
            await engine.call("remove_container", container["Id"], force=True, v=True)
        except APIError as error:
            log.warning("A helper container of the host guard could not be removed: %s", error)


class GuardFailed(Exception):
    """Report what a helper container printed when it failed; never leaves this module."""
