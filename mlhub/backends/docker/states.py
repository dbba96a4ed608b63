"""Which containers of a hub run, and where: one question to the engine for all who ask.

The hub looks at each workspace every few seconds; to have the engine describe each of them each
time would cost more the more there are.
"""

from __future__ import annotations

from typing import Any

from mlhub.backends.background import Once
from mlhub.backends.docker.engine import Engine
from mlhub.identity import LABEL_ORIGIN

FRESH_SECONDS = 2.0


class States:
    """Tell whether a container is still as it was described."""

    def __init__(self, engine: Engine, hub_name: str) -> None:
        self.engine, self.hub_name = engine, hub_name
        self._asking = Once(self._ask, FRESH_SECONDS)

    async def confirm(self, container: dict[str, Any]) -> bool:
        """Return True if a container runs as it did, in the same networks at the same addresses."""
        if not container["State"]["Running"]:
            return False
        return (await self._asking.get()).get(container["Id"]) == _read_addresses(container)

    async def _ask(self) -> dict[str, dict[str, str]]:
        running = await self.engine.call(
            "containers", filters={"label": f"{LABEL_ORIGIN}={self.hub_name}"}
        )
        return {each["Id"]: _read_addresses(each) for each in running}


def _read_addresses(container: dict[str, Any]) -> dict[str, str]:
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return {name: endpoint.get("IPAddress") or "" for name, endpoint in networks.items()}
