"""One private network per user, and the hub's membership in those that hold running workspaces.

Promise: subnets come from the configured pool, never overlap what the engine or the hub's own
routes already use, and are used again once freed. The first half is pure arithmetic.

Workspaces of one user see each other, those of different users do not. Workspaces reach the hub
under the alias ``HUB_NAME``, which Docker's DNS answers also after the hub's container was created
anew; so no two live containers may hold that alias in one network.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.own import make_refusal
from mlhub.errors import CapacityError, NameTakenError
from mlhub.workspace.identity import LABEL_ORIGIN, LABEL_SERVER, Identity, make_bridge_prefix

LINGER_SECONDS = 30.0  # a person who restarts a workspace should not pay for leaving and joining


def find_free_subnet(pool: IPv4Network, prefix: int, taken: Iterable[IPv4Network]) -> IPv4Network | None:
    """Find the lowest subnet of the pool that overlaps nothing taken, or None where the pool is full."""
    size = 1 << (32 - prefix)
    candidate = int(pool.network_address)
    for start, end in sorted((int(net.network_address), int(net.broadcast_address)) for net in taken if net.overlaps(pool)):
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
        destination, mask = (int.from_bytes(bytes.fromhex(columns[index]), "little") for index in (1, 7))
        if mask:
            networks.append(IPv4Network((destination, mask.bit_count())))
    return networks


def parse_engine_subnets(networks: Iterable[dict[str, Any]]) -> list[IPv4Network]:
    """Collect the IPv4 subnets of the engine's networks."""
    configs = [config for network in networks for config in (network.get("IPAM") or {}).get("Config") or []]
    return [IPv4Network(config["Subnet"], strict=False) for config in configs if "." in config.get("Subnet", "")]


def make_bridge_name(hub: str, subnet: IPv4Network) -> str:
    """Make the host's interface name of a network; the subnet makes it unique among the live ones."""
    return f"{make_bridge_prefix(hub)}{int(subnet.network_address) & 0xFFFFFF:06x}"


def read_routes() -> list[IPv4Network]:
    """Read the routes of this process's own network namespace."""
    table = Path("/proc/net/route")
    return parse_routes(table.read_text()) if table.exists() else []


class Networks:
    """Look after the users' networks of one hub on one engine.

    ``hub_id`` is the hub's own container, or None where the hub runs outside of this engine;
    then nothing is joined, and workspaces are reached by address.
    """

    def __init__(self, engine: Engine, hub_name: str, pool: str, prefix: int, extra_labels: dict[str, str] | None = None) -> None:
        self.engine, self.hub_name, self.prefix = engine, hub_name, prefix
        self.pool = IPv4Network(pool)
        self.extra_labels = extra_labels or {}
        self.hub_id: str | None = None
        self.linger_seconds = LINGER_SECONDS
        self._known: set[str] = set()
        self._joined: set[str] = set()
        self._new: set[str] = set()
        self._starting: Counter[str] = Counter()
        self._reserved: set[IPv4Network] = set()
        self._choosing = asyncio.Lock()
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def hold(self, identity: Identity) -> AsyncIterator[None]:
        """Keep the hub in a user's network while a workspace of theirs starts."""
        self._starting[identity.network] += 1
        try:
            yield
        finally:
            self._starting[identity.network] -= 1

    async def ensure(self, identity: Identity) -> str:
        """Make sure that a user's network exists; return its name."""
        name = identity.network
        async with self._lock(name):
            if name not in self._known:
                if await self._create(identity):
                    self._new.add(name)
                self._known.add(name)
        return name

    async def join(self, identity: Identity) -> None:
        """Make sure that the hub is in a user's network, which exists."""
        name = identity.network
        async with self._lock(name):
            if self.hub_id and name not in self._joined:
                # Nobody can hold our alias in a network that we have just made.
                is_new = name in self._new
                self._new.discard(name)
                try:
                    await self._join(name, check=not is_new)
                except NotFound:
                    self.forget(identity)  # the container's start meets the same and makes the network anew

    def forget(self, identity: Identity) -> None:
        """Forget what is known about a user's network, because the engine just contradicted it."""
        self._known.discard(identity.network)
        self._joined.discard(identity.network)

    async def release(self, identity: Identity) -> None:
        """Take the hub out of a user's network unless something runs or starts there."""
        if not self.hub_id:
            return
        name = identity.network
        await asyncio.sleep(self.linger_seconds)
        async with self._lock(name):
            if name in self._joined and not self._starting[name] and not await self._list_others(name):
                await self._leave(name)

    async def remove(self, identity: Identity) -> bool:
        """Remove a user's network unless something runs or starts there; tell whether it is gone."""
        name = identity.network
        async with self._lock(name):
            network = await self.engine.find("inspect_network", name)
            if network is None:
                return True
            if not identity.owns_for_user(network.get("Labels")) or self._starting[name] or await self._list_others(name):
                return False
            await self._leave(name)
            try:
                await self.engine.call("remove_network", network["Id"])
            except APIError as error:
                if not isinstance(error, NotFound):
                    return False  # something joined meanwhile
            self.forget(identity)
            return True

    async def settle(self) -> None:
        """Join the networks of running workspaces and leave the others; for the start of the hub.

        Raises ``ConfigurationError`` where another live container answers to this hub's name.
        """
        if not self.hub_id:
            return
        filters = {"label": [f"{LABEL_ORIGIN}={self.hub_name}", LABEL_SERVER]}
        own, containers, networks = await asyncio.gather(
            self.engine.call("inspect_container", self.hub_id),
            self.engine.call("containers", filters=filters),
            self.engine.call("networks", filters={"label": f"{LABEL_ORIGIN}={self.hub_name}"}),
        )
        ours = {network["Name"] for network in networks}
        needed = {name for container in containers for name in container["NetworkSettings"]["Networks"]} & ours
        attached = set(own["NetworkSettings"]["Networks"]) & ours
        self._joined |= attached & needed
        self._known |= needed
        await asyncio.gather(*(self._leave(name) for name in attached - needed), *(self._join(name) for name in needed - attached))

    async def _create(self, identity: Identity) -> bool:
        network = await self.engine.find("inspect_network", identity.network)
        for _ in range(50):
            if network is not None:
                break
            subnet = await self._choose_subnet()
            try:
                await self._create_in(identity, subnet)
            except APIError as error:
                text = str(error).lower()
                if "already exists" in text and "bridge" not in text:
                    network = await self.engine.find("inspect_network", identity.network)
                elif "overlap" not in text and "bridge name" not in text and "conflicts with network" not in text:
                    self._reserved.discard(subnet)
                    raise
                # Else the subnet stays reserved: taken by something that the engine sees and we do not.
            else:
                self._reserved.discard(subnet)
                return True
        if network is None:
            raise CapacityError(
                f"No free subnet was found in MLHUB_NETWORK_POOL={self.pool}. Choose a pool that nothing else on the Docker host uses."
            )
        if not identity.owns_for_user(network.get("Labels")):
            raise NameTakenError(
                f"A network named {identity.network!r} exists already and is not this user's. Ask your administrator to remove or rename it."
            )
        return False

    async def _choose_subnet(self) -> IPv4Network:
        async with self._choosing:
            networks = await self.engine.call("networks")
            taken = [*parse_engine_subnets(networks), *read_routes(), *self._reserved]
            subnet = find_free_subnet(self.pool, self.prefix, taken)
            if subnet is None:
                raise CapacityError(
                    f"All subnets of MLHUB_NETWORK_POOL={self.pool} are taken. Choose a larger pool or delete users that are gone."
                )
            self._reserved.add(subnet)
            return subnet

    async def _create_in(self, identity: Identity, subnet: IPv4Network) -> None:
        await self.engine.call(
            "create_network",
            identity.network,
            driver="bridge",
            check_duplicate=True,
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))]),
            labels={**self.extra_labels, **identity.user_labels},
            options={"com.docker.network.bridge.name": make_bridge_name(self.hub_name, subnet)},
        )

    async def _join(self, name: str, check: bool = True) -> None:
        assert self.hub_id
        if check:
            await self._refuse_second_hub(name)
        try:
            await self.engine.call("connect_container_to_network", self.hub_id, name, aliases=[self.hub_name])
        except APIError as error:
            if "already exists in network" not in str(error):
                raise
        self._joined.add(name)

    async def _leave(self, name: str) -> None:
        self._joined.discard(name)
        if not self.hub_id:
            return
        try:
            await self.engine.call("disconnect_container_from_network", self.hub_id, name, force=True)
        except APIError as error:
            if not isinstance(error, NotFound) and "is not connected" not in str(error):
                raise

    async def _list_others(self, name: str) -> list[dict[str, Any]]:
        containers = await self.engine.call("containers", filters={"network": name})
        return [container for container in containers if container["Id"] != self.hub_id]

    async def _refuse_second_hub(self, name: str) -> None:
        for container in await self._list_others(name):
            if LABEL_SERVER in (container.get("Labels") or {}):
                continue  # a workspace: it gets no alias of its own choice
            full = await self.engine.find("inspect_container", container["Id"])
            endpoint = ((full or {}).get("NetworkSettings", {}).get("Networks") or {}).get(name) or {}
            names = {*(endpoint.get("Aliases") or []), *(entry.lstrip("/") for entry in container.get("Names", []))}
            if self.hub_name in names:
                other = container["Names"][0].lstrip("/")
                raise make_refusal(other, f"already answers as {self.hub_name!r} in the network {name!r}", self.hub_name)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
