"""One start of one workspace: use its container again, make it anew, take a newer image, or go
back.

Invariants: a container goes only after the one in its place has answered (``previous.py``). Nothing
here knows of the hub, of a spawner or of a policy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError

from mlhub.backends.adoption import TOKEN_VARIABLE, fits_hub
from mlhub.backends.docker.container import Clock, Container, read_address, read_environment
from mlhub.backends.docker.held import keeps_data
from mlhub.backends.docker.networks import Networks
from mlhub.backends.docker.previous import Previous
from mlhub.backends.docker.spec import ContainerSpec
from mlhub.errors import MLHubError, OptionsError
from mlhub.texts import Text
from mlhub.workspaces.port import Address

Report = Callable[[float, str], None]
_log = logging.getLogger(__name__)
_PUT_BACK = (
    "The new container did not come up, and the previous one was put back with all that was in it."
)


async def do_nothing(container_id: str) -> None:
    """Do nothing with a container that was started."""


@dataclass(frozen=True)
class Running:
    """A workspace that runs: its container as the engine describes it, and where it answers."""

    container: Mapping[str, Any]
    address: Address
    has_previous: bool  # the container from before it is there, and can go


class Start:
    """Start one workspace: first ``find``, then ``run``.

    ``networks`` are this hub's, None where the site has one of its own. ``find_image`` has the
    engine get the image, where that is not known yet. ``after_start`` is told the id of a container
    that was started just now. ``keep_token`` is told the token of a
    container that is used again, before it runs. Without ``may_restart`` what runs is never ended
    for its limits. ``container_id`` is what bears the workspace's
    name, as far as is known.
    """

    def __init__(
        self,
        container: Container,
        networks: Networks | None,
        find_image: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        stop_seconds: int = 10,
        may_restart: bool = True,
        report: Report = lambda percent, message: None,
        after_start: Callable[[str], Awaitable[None]] = do_nothing,
        keep_token: Callable[[str], None] = lambda token: None,
        log: Any = _log,
    ) -> None:
        self.main, self.engine, self.identity = container, container.engine, container.identity
        self.previous = Previous(container, stop_seconds, log)
        self.networks, self.find_image, self.stop_seconds = networks, find_image, stop_seconds
        self.report, self.keep_token, self.log = report, keep_token, log
        self.after_start, self.may_restart = after_start, may_restart
        self.clock, self.container_id = Clock(), ""
        self.found: dict[str, Any] | None = None

    async def find(self) -> dict[str, Any] | None:
        """Find the container that bears the workspace's name, and mend what a start that was cut
        off has left.

        To be called before anything is made for the workspace: where the name is somebody else's,
        it raises ``NameTakenError``.
        """
        self.found = await self.previous.find()
        self.container_id = self.found["Id"] if self.found else ""
        return self.found

    async def run(
        self, spec: ContainerSpec, *, adopts: bool = False, is_update: bool = False
    ) -> Running:
        """Start the workspace, and return once it answers.

        ``adopts``: the container that was found runs and goes on, ``spec`` says with which limits.
        ``is_update``: it is made anew from the image that ``spec`` knows.

        Where a new container does not come up, the one before it is put back and the error says so.
        """
        self.clock.lap("look-up")
        try:
            with self.engine.friendly_errors():
                container = await self._bring_up(spec, adopts, is_update)
                address = await self._wait(spec, container)
        except MLHubError as error:
            if await self._go_back():
                raise type(error)(f"{_PUT_BACK} {error}") from error
            raise
        except asyncio.CancelledError:  # start_timeout
            await self._go_back()
            raise
        self.log.info("Workspace %s answers after %s", self.main.name, self.clock)
        return Running(container, address, has_previous=self.previous.is_there)

    async def _bring_up(self, spec: ContainerSpec, adopts: bool, is_update: bool) -> dict[str, Any]:
        """Return the container as the engine describes it once it was told to run."""
        # The hub joins while the container is made and starts; it is needed there only when the
        # workspace first asks.
        joining = asyncio.create_task(self._join())
        try:
            return await self._run_container(spec, adopts, is_update)
        finally:
            await joining
            self.clock.lap("join")

    async def _run_container(
        self, spec: ContainerSpec, adopts: bool, is_update: bool
    ) -> dict[str, Any]:
        found = self.found
        if found and adopts and await self._go_on(found, spec):
            return found
        keeps = found is not None and not is_update and self._may_keep(found, spec)
        if not (found and keeps and await self._start_again(found, spec)):
            if spec.place.image is None:
                spec = spec.with_image(await self.find_image())
            if found:
                await self.previous.make_room(found, spec.wanted.is_kept)
                # The start may have failed because the network was gone.
                await self._ensure_network()
                self.clock.lap("make room")
            await self._create_and_start(spec)
        self.clock.lap("start")
        running = await self.main.inspect()
        self.clock.lap("inspect")
        if running is None:
            raise await self.main.make_death_error(self.container_id)
        self.container_id = running["Id"]
        await self.after_start(running["Id"])
        return running

    async def _go_on(self, found: dict[str, Any], spec: ContainerSpec) -> bool:
        """Go on with a container that runs; CPU and memory change while it does."""
        if found["State"].get("Paused"):
            await self.engine.call("unpause", found["Id"])
        try:
            await self.main.update_limits(found, spec.host_config)
        except APIError as error:  # a kernel may refuse to take away memory that is in use
            if not self.may_restart:
                raise
            self.log.warning(
                "The limits of %s cannot be changed while it runs (%s): it is started again.",
                self.main.name,
                error,
            )
            await self.main.end(self.stop_seconds)
            return False
        self.log.info("Workspace %s runs already and is adopted.", self.main.name)
        self._keep_token(found)
        return True

    def _may_keep(self, found: dict[str, Any], spec: ContainerSpec) -> bool:
        """Return True if a container can be started again. Raises ``OptionsError`` for one that
        cannot, and holds files that would be lost.
        """
        if not spec.wanted.is_kept or found["State"].get("Dead"):
            return False
        if spec.fits(found) or not keeps_data(found):
            return spec.fits(found)
        if spec.fits_choice(found) and fits_hub(spec.environment, read_environment(found)):
            self.log.warning(
                "%s keeps its files inside its container, so what the site changed does not"
                " reach it.",
                self.main.name,
            )
            return True
        raise OptionsError(
            Text(
                "This workspace keeps its files inside its container, because it was"
                " made without a volume, and no container can take on other options:"
                " the files would be lost. Start it with the options it was made with,"
                " or copy the files out and delete it first."
            )
        )

    async def _start_again(self, found: dict[str, Any], spec: ContainerSpec) -> bool:
        self.report(75, Text("Starting the container"))
        self._keep_token(found)
        for attempt in range(2):
            try:
                await self.main.update_limits(found, spec.host_config)
                await self.main.start(found["Id"])
                return True
            except APIError as error:
                # Something that it was made with is gone: its network, a device, a mount. A network
                # can be had again.
                reason = error
                if attempt == 0 and not await self._connect_again(found, spec):
                    break
        self._forget_network()
        if keeps_data(found):
            raise reason
        self.log.warning(
            "%s does not start again (%s) and is created anew; its data is kept.",
            self.main.name,
            reason,
        )
        return False

    async def _create_and_start(self, spec: ContainerSpec) -> None:
        self.report(65, Text("Creating the container"))
        try:
            self.container_id = await self.main.create(spec.arguments)
        except APIError:
            # The network may be gone since it was looked up: the next start looks again.
            self._forget_network()
            raise
        self.clock.lap("create")
        self.report(75, Text("Starting the container"))
        try:
            await self.main.start(self.container_id)
        except APIError:
            # Nothing ran in it yet; it would only be in the way.
            await self.main.remove()
            self._forget_network()
            raise

    async def _wait(self, spec: ContainerSpec, container: dict[str, Any]) -> Address:
        if not container["State"]["Running"]:
            raise await self.main.make_death_error(container["Id"])
        address = read_address(container, spec.wanted.network, spec.wanted.port)
        self.report(80, Text("Waiting for the workspace to answer"))
        if probe := spec.wanted.probe:
            await self.main.wait_until_ready(self.container_id, address, probe.path, probe.seconds)
        self.clock.lap("answer")
        return address

    async def _go_back(self) -> bool:
        went_back = await self.previous.put_back()
        if went_back is not None:
            self.container_id = went_back
        return went_back is not None

    def _keep_token(self, found: dict[str, Any]) -> None:
        if token := read_environment(found).get(TOKEN_VARIABLE):
            self.keep_token(token)

    # the network

    async def _join(self) -> None:
        if self.networks:
            await self.networks.join(self.identity)

    async def _ensure_network(self) -> None:
        if self.networks:
            await self.networks.ensure(self.identity)
            await self.networks.join(self.identity)

    def _forget_network(self) -> None:
        if self.networks:
            self.networks.forget(self.identity)

    async def _connect_again(self, found: dict[str, Any], spec: ContainerSpec) -> bool:
        network = spec.wanted.network
        self._forget_network()
        if self.networks:
            network = await self.networks.ensure(self.identity)
        # In which it is still said to be: the same, or that of an older version.
        held = {network, self.identity.former_network} & set(found["NetworkSettings"]["Networks"])
        try:
            for name in held:
                await self.engine.call(
                    "disconnect_container_from_network", found["Id"], name, force=True
                )
            await self.engine.call("connect_container_to_network", found["Id"], network)
        except APIError as error:
            self.log.info("%s cannot be connected to %s again: %s", self.main.name, network, error)
            return False
        await self._join()
        return True
