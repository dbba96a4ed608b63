"""Which subnet a new network takes. Pure arithmetic and parsing, but for ``Pool``, which asks the
engine and the routes what is taken.

Invariants: a subnet never overlaps what the engine or the hub's own routes already use, and is used
again once freed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from mlhub.backends.docker.engine import Engine
from mlhub.errors import CapacityError
from mlhub.identity import make_bridge_prefix
from mlhub.texts import Text


class Pool:
    """Hand out subnets of one private range, each to one network at a time."""

    def __init__(self, engine: Engine, pool: IPv4Network, prefix: int) -> None:
        self.engine, self.pool, self.prefix = engine, pool, prefix
        self._reserved: set[IPv4Network] = set()
        self._choosing = asyncio.Lock()

    async def reserve(self) -> IPv4Network:
        """Reserve a subnet that nothing uses. Raises ``CapacityError`` where there is none."""
        async with self._choosing:
            networks = await self.engine.call("networks")
            taken = [*parse_engine_subnets(networks), *read_routes(), *self._reserved]
            subnet = find_free_subnet(self.pool, self.prefix, taken)
            if subnet is None:
                raise CapacityError(
                    Text(
                        "All subnets of MLHUB_NETWORK_POOL=%(pool)s are taken. Choose a larger"
                        " pool or delete users that are gone.",
                        pool=self.pool,
                    )
                )
            self._reserved.add(subnet)
            return subnet

    def give_back(self, subnet: IPv4Network) -> None:
        """Give back a subnet that a network has by now, or that none got."""
        self._reserved.discard(subnet)

    def __str__(self) -> str:
        return str(self.pool)


def find_free_subnet(
    pool: IPv4Network, prefix: int, taken: Iterable[IPv4Network]
) -> IPv4Network | None:
    """Find the lowest subnet of the pool that overlaps nothing taken, or None where the pool is
    full.
    """
    size = 1 << (32 - prefix)
    candidate = int(pool.network_address)
    for start, end in sorted(
        (int(net.network_address), int(net.broadcast_address))
        for net in taken
        if net.overlaps(pool)
    ):
        if candidate + size <= start:
            break
        candidate = max(candidate, -(-(end + 1) // size) * size)
    if candidate + size - 1 > int(pool.broadcast_address):
        return None
    return IPv4Network((candidate, prefix))


def parse_routes(table: str) -> list[IPv4Network]:
    """Parse the text of /proc/net/route into the networks it routes; the default route is none."""
    networks = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        destination, mask = (
            int.from_bytes(bytes.fromhex(columns[index]), "little") for index in (1, 7)
        )
        if mask:
            networks.append(IPv4Network((destination, mask.bit_count())))
    return networks


def parse_gateway(table: str) -> str:
    """Parse the text of /proc/net/route into the address of the default gateway; the empty string
    where there is none.
    """
    found = [
        columns
        for columns in map(str.split, table.splitlines()[1:])
        if columns[1] == columns[7] == "00000000"
    ]
    return str(IPv4Address(int.from_bytes(bytes.fromhex(found[0][2]), "little"))) if found else ""


def parse_engine_subnets(networks: Iterable[dict[str, Any]]) -> list[IPv4Network]:
    """Collect the IPv4 subnets of the engine's networks."""
    configs = [
        config for network in networks for config in (network.get("IPAM") or {}).get("Config") or []
    ]
    return [
        IPv4Network(config["Subnet"], strict=False)
        for config in configs
        if "." in config.get("Subnet", "")
    ]


def make_bridge_name(hub: str, subnet: IPv4Network) -> str:
    """Make the host's interface name of a network.

    The subnet makes it unique among the live ones.
    """
    return f"{make_bridge_prefix(hub)}{int(subnet.network_address) & 0xFFFFFF:06x}"


def read_routes() -> list[IPv4Network]:
    """Read the routes of this process's own network namespace."""
    return parse_routes(read_route_table())


def read_route_table() -> str:
    table = Path("/proc/net/route")
    return table.read_text() if table.exists() else ""
