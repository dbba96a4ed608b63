"""Hold workspaces to what they may reach, and keep the hub's container from routing between them.

Invariants: one nftables table of our own (``inet mlhub_<hub>``) on the host, put in place in one
transaction and replaced as a whole; no rule of anybody else is touched. A host where that fails
keeps working by default, with one warning that names the cure; where a site has asked for more, the
hub does not start.

Docker separates networks from each other, but lets every container reach the host's own ports,
whatever the host itself reaches, and the addresses where clouds hand out credentials. What the
table says is in ``ruleset.py``.

The hub's container sits in many networks, and containers forward packets by default: it would be a
router between people. So forwarding is switched off in its own network namespace.

Both are done by short-lived containers of the hub's own image, which hold NET_ADMIN and nothing
else; the hub itself stays without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.ruleset import (
    Address,
    make_ruleset,
    make_table_name,
    parse_nameservers,
)
from mlhub.egress import DEFAULT, INTERNET, is_binding, is_open
from mlhub.errors import ConfigurationError
from mlhub.identity import LABEL_ORIGIN

HELPER_SECONDS = 30
LABEL_HELPER = "mlhub.helper"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_OPEN = "Workspaces can reach the Docker host's own ports%s and cloud metadata addresses"
_CURE = (
    "Load nf_tables on the host, or block them in the host's firewall and set"
    " MLHUB_HOST_GUARD=false and MLHUB_WORKSPACE_EGRESS=all."
)
_FORWARDING_WARNING = (
    "The hub's container forwards packets between the networks of workspaces, and that could not be"
    " switched off (%s). Start it with --sysctl net.ipv4.ip_forward=0."
)
_NOT_SEPARATED = (
    "Only Docker's own rules keep workspaces of different people apart, and they are away for a"
    " moment whenever a network is made: this host's kernel has no nft_fib (CONFIG_NFT_FIB_INET)."
)
log = logging.getLogger(__name__)


class GuardFailed(Exception):
    """Report what a helper container printed when it failed; never leaves this module."""


_FAILURES = (GuardFailed, DockerException, requests.RequestException, TimeoutError, ValueError)


async def ensure_guard(
    engine: Engine,
    hub: str,
    image: str,
    hub_container: str | None = None,
    extra_labels: dict[str, str] | None = None,
    host: bool = True,
    egress: Sequence[str] = DEFAULT,
) -> bool:
    """Put the host's table in place and switch forwarding off in the hub's container; tell whether
    both hold.

    ``image`` is the hub's own image (it brings nft), ``hub_container`` its container's id;
    ``host=False`` leaves the host alone. Raises ``ConfigurationError`` where a site has asked for
    more than the default, and the table could not be put in place.
    """
    works = []
    if host:
        works.append(_guard_host(engine, hub, image, extra_labels, egress))
    else:
        report_unguarded(
            egress,
            "MLHUB_HOST_GUARD=false leaves out the rules against it",
            "Set MLHUB_HOST_GUARD=true",
        )
    forwards = await asyncio.to_thread(_forwards)
    if hub_container and forwards:
        works.append(
            _attempt(
                stop_forwarding(engine, hub, image, hub_container, extra_labels),
                _FORWARDING_WARNING,
            )
        )
    return all(await asyncio.gather(*works))


def report_unguarded(egress: Sequence[str], reason: str, cure: str) -> None:
    """Say that nothing holds workspaces to ``egress``.

    Raises ``ConfigurationError`` where a site has asked for more than the default.
    """
    if is_binding(egress):
        raise ConfigurationError(
            f"MLHUB_WORKSPACE_EGRESS={','.join(egress)} does not hold: {reason}. {cure}, or set"
            " MLHUB_WORKSPACE_EGRESS=all."
        )
    if tuple(egress) == DEFAULT:
        log.warning(
            "%s: %s. %s, or set MLHUB_WORKSPACE_EGRESS=all where the host's own firewall decides.",
            _list_open(egress),
            reason,
            cure,
        )


def _list_open(egress: Sequence[str]) -> str:
    return _OPEN % (", the private networks that it reaches" if INTERNET in egress else "")


def check_networks(egress: Sequence[str], network_name: str, host_config: Any) -> None:
    """Say what of a site's own configuration is not held to ``egress``, or cut off by it.

    Raises ``ConfigurationError`` where a site has asked for more than the default, and would not
    get it.
    """
    site = (
        host_config if isinstance(host_config, dict) else {}
    )  # a function of the site's says it for each person
    other = {
        "network_name": network_name,
        "extra_host_config: network_mode": site.get("network_mode"),
    }
    for place, name in other.items():
        if name and name != "none":
            reason = (
                f"{place} puts them into the network {name!r}, which is not this hub's, so no rules"
                " are laid for it"
            )
            report_unguarded(egress, reason, "Remove that line of jupyterhub_user_config.py")
    shut = [
        name for name in site.get("dns") or () if not is_open(egress, ip_address(name))
    ]  # the engine wants addresses, too
    if shut:
        log.warning(
            "extra_host_config names nameservers that workspaces cannot reach: %s. Add them to"
            " MLHUB_WORKSPACE_EGRESS=%s.",
            ", ".join(shut),
            ",".join(egress),
        )


async def _guard_host(
    engine: Engine, hub: str, image: str, extra_labels: dict[str, str] | None, egress: Sequence[str]
) -> bool:
    try:
        # Without a network of its own, a container is told the nameservers that the engine's DNS
        # asks.
        told = await _run(
            engine,
            hub,
            image,
            ["cat", "/etc/resolv.conf"],
            {"NetworkMode": "none", "CapAdd": []},
            extra_labels,
        )
        await _lay(engine, hub, image, extra_labels, egress, parse_nameservers(told))
    except _FAILURES as error:
        reason = f"the host guard could not be installed ({_shorten(error)})"
        if is_binding(egress):
            raise ConfigurationError(
                f"MLHUB_WORKSPACE_EGRESS={','.join(egress)} does not hold: {reason}. {_CURE}"
            ) from error
        log.warning("%s: %s. %s", _list_open(egress), reason, _CURE)
        return False
    return True


async def _lay(
    engine: Engine,
    hub: str,
    image: str,
    extra_labels: dict[str, str] | None,
    egress: Sequence[str],
    nameservers: Sequence[Address],
) -> None:
    for separates in (True, False):
        script = make_ruleset(hub, egress, nameservers, separates)
        try:
            await _run(engine, hub, image, ["nft", script], {"NetworkMode": "host"}, extra_labels)
        except GuardFailed:
            if not separates:
                raise
        else:
            if not separates:
                log.warning(_NOT_SEPARATED)
            return


async def remove_guard(
    engine: Engine, hub: str, image: str, extra_labels: dict[str, str] | None = None
) -> bool:
    """Remove the hub's table from the host; tell whether it is gone."""
    table = make_table_name(hub)
    script = f"table inet {table} {{}}\ndelete table inet {table}"
    warning = (
        f"The table inet {table} could not be removed from the host (%s). Remove it there: nft"
        f" delete table inet {table}"
    )
    return await _attempt(
        _run(engine, hub, image, ["nft", script], {"NetworkMode": "host"}, extra_labels), warning
    )


async def stop_forwarding(
    engine: Engine,
    hub: str,
    image: str,
    hub_container: str,
    extra_labels: dict[str, str] | None = None,
) -> None:
    """Switch packet forwarding off in the network namespace of the hub's container."""
    # An ordinary container sees /proc/sys read-only, also with NET_ADMIN: nothing is masked in this
    # one.
    host_config = {
        "NetworkMode": f"container:{hub_container}",
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    }
    await _run(
        engine, hub, image, ["sh", "-c", f"echo 0 > {_FORWARDING}"], host_config, extra_labels
    )


def _forwards() -> bool:
    # This process is the hub: it shares the network namespace of the hub's container.
    return not _FORWARDING.exists() or _FORWARDING.read_text().strip() != "0"


async def _attempt(work: Any, warning: str) -> bool:
    try:
        await work
    except _FAILURES as error:
        log.warning(warning, _shorten(error))
        return False
    return True


def _shorten(error: Exception) -> str:
    return str(error).strip()[:300]


async def _run(
    engine: Engine,
    hub: str,
    image: str,
    command: Sequence[str],
    host_config: dict[str, Any],
    extra_labels: dict[str, str] | None,
) -> str:
    """Run a command in a short-lived container; return what it printed."""
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
        output = (await engine.call("logs", container["Id"], tail=100)).decode(errors="replace")
        if answer["StatusCode"] != 0:
            raise GuardFailed(output)
        return output
    finally:
        try:
            await engine.call("remove_container", container["Id"], force=True, v=True)
        except APIError as error:
            log.warning("A helper container of the host guard could not be removed: %s", error)
