"""One workspace's container on the engine: look it up, create, start, end it.

Invariants: a container whose labels name another workspace is never touched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from docker.errors import APIError, NotFound

from mlhub.backends.docker.engine import Engine, is_transient, seconds
from mlhub.backends.docker.limits import list_changes
from mlhub.backends.readiness import quote_last_words, wait_until_ready
from mlhub.errors import BackendError, ConfigurationError, NameTakenError, WorkspaceDiedError
from mlhub.identity import Identity
from mlhub.texts import Text
from mlhub.workspaces.holder import Holder
from mlhub.workspaces.port import Address

LABEL_PORT = "mlhub.port"
# No workspace's name has a dot (they are DNS labels), so this cannot be another one's name.
# Behind the name of the container that a workspace had before; older versions wrote the same.
PREVIOUS = ".aside"
LOG_LINES = 20
LAST_BYTES = 16_000
STOP_GRACE_SECONDS = 15  # beyond the deadline given to the engine, before the workspace is killed
CREATE_ATTEMPTS = 5
log = logging.getLogger(__name__)


class FormerContainerError(NameTakenError):
    """Report a container of somebody who had the user's name before."""


class Container:
    """The container of one workspace, whether it exists or not."""

    def __init__(
        self, engine: Engine, identity: Identity, name: str, holder: Holder | None = None
    ) -> None:
        """Without a ``holder`` it may be that of anybody who ever had the user's name."""
        self.engine, self.identity, self.name, self.holder = engine, identity, name, holder

    async def inspect(self) -> dict[str, Any] | None:
        """Return the engine's description, or None where there is no such container.

        Raises ``NameTakenError`` where it belongs to somebody else, ``FormerContainerError`` where
        that one had the user's name before.
        """
        found: dict[str, Any] | None = await self.engine.find("inspect_container", self.name)
        if found is not None and not self.identity.owns(found["Config"].get("Labels")):
            raise NameTakenError(
                Text(
                    "A container named %(name)s exists already and does not belong to this"
                    " workspace. Ask your administrator to remove or rename it.",
                    name=repr(self.name),
                )
            )
        if (
            found is not None
            and self.holder
            and not self.holder.may_use(found["Config"]["Labels"], seconds(found.get("Created")))
        ):
            raise FormerContainerError(
                f"The container {self.name!r} holds files of somebody else who was "
                f"{self.identity.user!r} before. Ask your administrator to copy what is wanted and "
                "to remove it."
            )
        return found

    async def create(self, arguments: Mapping[str, Any]) -> str:
        """Create the container and return its id; the host config is given in docker-py's terms."""
        try:
            host_config = await self.engine.call("create_host_config", **arguments["host_config"])
        except TypeError as error:
            raise ConfigurationError(
                f"extra_host_config is not understood by the Docker client: {error}."
            ) from error

        async def create() -> str:
            try:
                return str(
                    (
                        await self.engine.call(
                            "create_container", **{**arguments, "host_config": host_config}
                        )
                    )["Id"]
                )
            except TypeError as error:
                raise ConfigurationError(
                    f"extra_create_kwargs is not understood by the Docker client: {error}."
                ) from error

        return await self._take_name(create)

    async def rename(self, container_id: str) -> None:
        """Give this container's name to another one; nothing that exists under it survives."""
        await self._take_name(lambda: self.engine.call("rename", container_id, self.name))

    async def update_limits(self, found: dict[str, Any], host_config: dict[str, Any]) -> None:
        """Bring the CPU and memory limits of a container that exists up to date; the host config is
        given in docker-py's terms.
        """
        changes = list_changes(host_config, found["HostConfig"])
        if changes:
            await self.engine.call("update_container", found["Id"], **changes)

    async def start(self, container_id: str) -> None:
        """Start the container."""
        await self.engine.call("start", container_id)

    async def end(self, seconds: int) -> None:
        """Stop the container politely, then, after the deadline, by force; it is kept."""
        found = await self.inspect()
        if found is None or not found["State"]["Running"]:
            return
        try:
            async with asyncio.timeout(seconds + STOP_GRACE_SECONDS):
                await self.engine.call("stop", found["Id"], timeout=seconds)
        except NotFound:
            return
        except OSError as error:  # the errors of docker-py and requests, and TimeoutError, are such
            if not is_transient(error) and not isinstance(error, TimeoutError):
                raise
            log.warning("%s did not stop within its deadline and is killed.", self.name)
            await self._kill(found["Id"])

    async def remove(self) -> None:
        """Remove the container, running or not; its named volumes stay."""
        found = await self.inspect()
        if found is None:
            return
        try:
            await self.engine.call("remove_container", found["Id"], v=True, force=True)
        except APIError as error:
            # 409: a removal is under way already.
            if error.status_code not in (404, 409):
                raise

    async def wait_until_ready(
        self, container_id: str, address: Address, path: str, timeout_seconds: float
    ) -> None:
        """Wait until the workspace answers. Raises ``WorkspaceDiedError`` with its last lines where
        it does not.
        """
        try:
            lives = await wait_until_ready(
                address.host,
                address.port,
                path,
                timeout_seconds,
                self._make_death_check(container_id),
            )
        except TimeoutError:
            words = await self._read_last_words(container_id)
            raise WorkspaceDiedError(
                Text(
                    "The workspace did not answer on port %(port)s within"
                    " %(seconds)s seconds. %(words)s",
                    port=address.port,
                    seconds=timeout_seconds,
                    words=words,
                )
            ) from None
        if not lives:
            raise await self.make_death_error(container_id)

    async def make_death_error(self, container_id: str) -> WorkspaceDiedError:
        """Make the error about a workspace that ended too early, with its last lines."""
        return WorkspaceDiedError(
            Text(
                "The workspace ended before it answered. %(words)s",
                words=await self._read_last_words(container_id),
            )
        )

    async def _take_name(self, act: Callable[[], Awaitable[Any]]) -> Any:
        for attempt in range(CREATE_ATTEMPTS):
            try:
                return await act()
            except APIError as error:
                if error.status_code != 409 or attempt == CREATE_ATTEMPTS - 1:
                    raise
            # The engine may hold a name for a moment after its container was removed (moby#37698).
            await self.remove()
            await asyncio.sleep(0.2)
        raise AssertionError("the loop above returns or raises")

    async def _kill(self, container_id: str) -> None:
        try:
            await self.engine.call("kill", container_id)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise

    def _make_death_check(self, container_id: str) -> Callable[[], Awaitable[bool]]:
        async def has_died() -> bool:
            try:
                found = await self.engine.find("inspect_container", container_id)
            except OSError as error:
                if not is_transient(error):
                    raise
                return False
            return found is None or not found["State"]["Running"]

        return has_died

    async def _read_last_words(self, container_id: str) -> str:
        try:
            said: bytes = await self.engine.call("logs", container_id, tail=LOG_LINES)
            # An engine may hand out lines of any length.
            lines = said[-LAST_BYTES:].decode(errors="replace").strip()
        except OSError:
            lines = ""
        return quote_last_words(lines)


def read_environment(container: dict[str, Any]) -> dict[str, str]:
    """Read the environment of an existing container."""
    entries = container["Config"].get("Env") or []
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def read_address(container: dict[str, Any] | None, network: str, default_port: int) -> Address:
    """Read where a container answers.

    Its address in the preferred network, the port of its label.
    """
    found = container or {}
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    host = pick_host(networks, network)
    if host is None:
        raise BackendError(
            Text(
                "The workspace's container has no address. Start it again; if that"
                " does not help, ask your administrator to look at its networks."
            )
        )
    port = ((found.get("Config") or {}).get("Labels") or {}).get(LABEL_PORT, "")
    return Address(host, int(port) if port.isdecimal() else default_port)


def pick_host(networks: dict[str, Any], preferred: str) -> str | None:
    """Pick the address in the preferred network, else in any."""
    candidates = [networks[preferred]] if preferred in networks else list(networks.values())
    return next(
        (endpoint["IPAddress"] for endpoint in candidates if endpoint.get("IPAddress")), None
    )


class Clock:
    """Measure the steps of a start."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._began = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap under a name."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        steps = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in self.laps.items())
        return f"{(self._last - self._began) * 1000:.0f} ms ({steps})"
