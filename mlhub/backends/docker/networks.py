"""One private network per user, and the hub's membership in those that hold running workspaces.

Invariants: subnets come from the configured pool (``subnets.py``).

Workspaces of one user see each other, those of different users do not. Workspaces reach the hub
under the alias ``HUB_NAME``, which Docker's DNS answers also after the hub's container was created
anew; so no two live containers may hold that alias in one network.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.former_networks import FormerNetworks
from mlhub.backends.docker.hub_container import refuse_second_hub
from mlhub.backends.docker.subnets import Pool, make_bridge_name, parse_gateway, read_route_table
from mlhub.errors import CapacityError, NameTakenError
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, Identity
from mlhub.texts import Text

log = logging.getLogger(__name__)
CREATE_ATTEMPTS = 50
LINGER_SECONDS = 30.0  # a person who restarts a workspace should not pay for leaving and joining


class Networks:
    """Look after the users' networks of one hub on one engine.

    ``hub_id`` is the hub's own container, or None where the hub runs outside of this engine;
    then nothing is joined, and workspaces are reached by address.
    """

    def __init__(
        self,
        engine: Engine,
        hub_name: str,
        pool: str,
        prefix: int,
        extra_labels: dict[str, str] | None = None,
    ) -> None:
        self.engine, self.hub_name = engine, hub_name
        self.pool = Pool(engine, IPv4Network(pool), prefix)
        self.extra_labels = extra_labels or {}
        self.hub_id: str | None = None
        self.linger_seconds = LINGER_SECONDS
        self.former = FormerNetworks()
        self._known: set[str] = set()
        self._joined: set[str] = set()
        self._own_gateways: set[str] | None = None  # None: nothing has to be said about them
        self._new: set[str] = set()
        self._starting: Counter[str] = Counter()
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def hold(self, identity: Identity) -> AsyncIterator[None]:
        """Keep the hub in a user's network while a workspace of theirs starts."""
        self._starting[identity.network] += 1
        try:
            yield
        finally:
            self._starting[identity.network] -= 1

    def name(self, identity: Identity) -> str:
        """Return the name of the network that a user has, or gets."""
        return self.former.name(identity)

    async def ensure(self, identity: Identity) -> str:
        """Make sure that a user's network exists; return its name."""
        async with self._lock(identity):
            if self.name(identity) not in self._known:
                if self.former.has(identity) and not await self._keeps_former(identity):
                    self.former.forget(identity)
                name = self.name(identity)
                if not self.former.has(identity) and await self._create(identity):
                    self._new.add(name)
                self._known.add(name)
            return self.name(identity)

    async def join(self, identity: Identity) -> None:
        """Make sure that the hub is in a user's network, which exists."""
        async with self._lock(identity):
            name = self.name(identity)
            if self.hub_id and name not in self._joined:
                # Nobody can hold our alias in a network that we have just made.
                is_new = name in self._new
                self._new.discard(name)
                try:
                    await self._join(name, check=not is_new)
                except NotFound:
                    self.forget(
                        identity
                    )  # the container's start meets the same and makes the network anew

    def forget(self, identity: Identity) -> None:
        """Forget what is known about a user's network, because the engine just contradicted it."""
        self._known.discard(self.name(identity))
        self._joined.discard(self.name(identity))

    async def release(self, identity: Identity) -> None:
        """Take the hub out of a user's network unless something runs or starts there."""
        if not self.hub_id:
            return
        await asyncio.sleep(self.linger_seconds)
        async with self._lock(identity):
            name = self.name(identity)
            if (
                name in self._joined
                and not self._starting[identity.network]
                and not await self._list_others(name)
            ):
                await self._leave(name)

    async def remove(self, identity: Identity) -> bool:
        """Remove a user's network unless something runs or starts there.

        Tell whether it is gone.
        """
        async with self._lock(identity):
            name = self.name(identity)
            network = await self.engine.find("inspect_network", name)
            if network is None:
                return True
            if (
                not identity.owns_for_user(network.get("Labels"))
                or self._starting[identity.network]
                or await self._list_others(name)
            ):
                return False
            # First: it may go although the answer is lost.
            self.forget(identity)
            if not await self._remove(name, network["Id"]):
                return False
            self.former.forget(identity)
            return True

    async def _remove(self, name: str, network_id: str) -> bool:
        await self._leave(name)
        try:
            await self.engine.call("remove_network", network_id)
        except APIError as error:
            return isinstance(error, NotFound)  # else something joined meanwhile
        return True

    async def _keeps_former(self, identity: Identity) -> bool:
        """Return True if a user goes on with the network that an older version made."""
        name = identity.former_network
        network = await self.engine.find("inspect_network", name)
        if network is None or not identity.owns_for_user(network.get("Labels")):
            return False
        is_used = self._starting[identity.network] > 1 or await self._list_others(name)
        if is_used or not self.former.is_in_the_way(identity):
            return True
        return not await self._remove(name, network["Id"])

    async def prepare(self) -> None:
        """Join the networks of running workspaces and leave the others; for the start of the hub.

        Raises ``ConfigurationError`` where another live container answers to this hub's name.
        """
        filters = {"label": [f"{LABEL_ORIGIN}={self.hub_name}", LABEL_SERVER]}
        containers, networks, version = await asyncio.gather(
            self.engine.call("containers", filters=filters),
            self.engine.call("networks", filters={"label": f"{LABEL_ORIGIN}={self.hub_name}"}),
            self.engine.read_version(),
        )
        ours = {network["Name"] for network in networks}
        own = await self.engine.call("inspect_container", self.hub_id) if self.hub_id else {}
        endpoints = (own.get("NetworkSettings") or {}).get("Networks") or {}
        self.former.note(ours, set(endpoints) - ours, version["ApiVersion"])
        if not self.hub_id:
            return
        needed = {
            name for container in containers for name in container["NetworkSettings"]["Networks"]
        } & ours
        attached = set(endpoints) & ours
        self._own_gateways = {
            endpoint.get("Gateway") for name, endpoint in endpoints.items() if name not in ours
        }
        self._joined |= attached & needed
        self._known |= needed
        await asyncio.gather(
            *(self._leave(name) for name in attached - needed),
            *(self._join(name) for name in needed - attached),
        )

    async def _create(self, identity: Identity) -> bool:
        """Create a user's network; return False where it exists already."""
        network = await self.engine.find("inspect_network", identity.network)
        for _ in range(CREATE_ATTEMPTS):
            if network is not None:
                break
            subnet = await self.pool.reserve()
            try:
                await self._create_in(identity, subnet)
            except APIError as error:
                if _is_taken_name(error):
                    network = await self.engine.find("inspect_network", identity.network)
                elif not _is_taken_subnet(error):
                    self.pool.give_back(subnet)
                    raise
                # Else the subnet stays reserved: taken by something that the engine sees and we do
                # not.
            else:
                self.pool.give_back(subnet)
                return True
        if network is None:
            raise CapacityError(
                Text(
                    "No free subnet was found in MLHUB_NETWORK_POOL=%(pool)s. Choose a"
                    " pool that nothing else on the Docker host uses.",
                    pool=self.pool,
                )
            )
        if not identity.owns_for_user(network.get("Labels")):
            raise NameTakenError(
                Text(
                    "A network named %(network)s exists already and is not this user's."
                    " Ask your administrator to remove or rename it.",
                    network=repr(identity.network),
                )
            )
        return False

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
            await refuse_second_hub(self.engine, self.hub_name, name, await self._list_others(name))
        try:
            await self.engine.call("join_network", self.hub_id, name, [self.hub_name])
        except APIError as error:
            if "already exists in network" not in str(error):
                raise
        self._joined.add(name)
        self._look_at_gateway(name)

    def _look_at_gateway(self, name: str) -> None:
        """Say once where the hub's own connections have moved into a workspace's network, with what
        holds there.
        """
        gateway = parse_gateway(read_route_table())
        if gateway and self._own_gateways is not None and gateway not in self._own_gateways:
            self._own_gateways = None
            log.warning(
                "The hub's own connections now leave by a network of workspaces (since %s), where "
                "MLHUB_WORKSPACE_EGRESS holds for them, too: the engine takes the network whose "
                "name sorts first. Connect the hub to one whose name sorts before %r.",
                name,
                name,
            )

    async def _leave(self, name: str) -> None:
        self._joined.discard(name)
        if not self.hub_id:
            return
        try:
            await self.engine.call(
                "disconnect_container_from_network", self.hub_id, name, force=True
            )
        except APIError as error:
            if not isinstance(error, NotFound) and "is not connected" not in str(error):
                raise

    async def _list_others(self, name: str) -> list[dict[str, Any]]:
        containers = await self.engine.call("containers", filters={"network": name})
        return [container for container in containers if container["Id"] != self.hub_id]

    def _lock(self, identity: Identity) -> asyncio.Lock:
        return self._locks.setdefault(identity.network, asyncio.Lock())


def _is_taken_name(error: APIError) -> bool:
    text = str(error).lower()
    return "already exists" in text and "bridge" not in text


def _is_taken_subnet(error: APIError) -> bool:
    text = str(error).lower()
    return any(each in text for each in ("overlap", "bridge name", "conflicts with network"))
