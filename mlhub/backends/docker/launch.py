"""One start of one workspace: use its container again, make it anew, take a newer image, or go back.

Promise: a container goes only after the one in its place has answered. Until then it stands aside, stopped, its name with
``.aside`` behind it. Whatever ends a start in between, the next one mends it: one that stands aside alone gets its name
back; where both are there, the newer one is tried, kept where it answers, and else the older one is put back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException
from jupyterhub.utils import url_path_join
from requests import RequestException

from mlhub.backends.adoption import fits_hub
from mlhub.backends.docker.arguments import LABEL_CONFIG, LABEL_DECIDED, keeps_data, make_create_arguments, read_held, resolve
from mlhub.backends.docker.container import ASIDE, Clock, Container, read_environment
from mlhub.backends.docker.entry import has_bundle
from mlhub.errors import MLHubError, OptionsError

if TYPE_CHECKING:
    from mlhub.backends.docker.spawner import MLHubDockerSpawner

_PUT_BACK = "The new container did not come up, and the previous one was put back with all that was in it."
REMOVE_ATTEMPTS, REMOVE_PAUSE_SECONDS = 10, 10.0


class Launch:
    """Start one workspace."""

    def __init__(self, spawner: MLHubDockerSpawner) -> None:
        """Nothing is asked yet."""
        self.spawner, self.backend, self.clock = spawner, spawner.backend, Clock()
        self.engine, self.networks, self.log = self.backend.engine, self.backend.networks, spawner.log
        self.main = spawner.container
        self.aside = Container(self.engine, spawner.identity, self.main.name + ASIDE)
        self.old: dict[str, Any] | None = None

    async def run(self) -> dict[str, Any] | None:
        """Start the workspace, and return the engine's description of its container once it answers.

        Where a new container does not come up, the one before it is put back and the error says so.
        """
        try:
            with self.engine.sentences():
                container = await self._start()
                await self._wait(container)
        except MLHubError as error:
            if await self._put_back():
                raise type(error)(f"{_PUT_BACK} {error}") from error
            raise
        except asyncio.CancelledError:  # start_timeout
            await self._put_back()
            raise
        if self.old:
            self.backend.keep(asyncio.create_task(self._remove_old()))
        self.log.info("Workspace %s answers after %s", self.main.name, self.clock)
        return container

    async def _start(self) -> dict[str, Any] | None:
        found = await self._find()  # first: where the name is somebody else's, nothing else is touched
        volume, network, _ = await asyncio.gather(self.spawner.ensure_volume(), self.spawner.ensure_network(), self.spawner.prepare_ssh())
        self.clock.lap("look-up")
        # The hub joins while the container is made and starts; it is needed there only when the workspace first asks.
        joining = asyncio.create_task(self.spawner.join_network())
        try:
            return await self._run_container(found, volume, network)
        finally:
            await joining
            self.clock.lap("join")

    async def _find(self) -> dict[str, Any] | None:
        found, self.old = await asyncio.gather(self.spawner.inspect(), self.aside.inspect())
        if self.old and (self.old["State"].get("Dead") or self.old["State"].get("Status") == "removing"):
            self.old = None
        if self.old and not found:
            self.log.warning("A start of %s was cut off; the container from before it is put back.", self.main.name)
            await self.main.rename(self.old["Id"])
            found, self.old = await self.spawner.inspect(), None
        return found

    async def _run_container(self, found: dict[str, Any] | None, volume: str | None, network: str) -> dict[str, Any] | None:
        # Where a container stands aside, an update was cut off: the newer one is here and is tried.
        is_update = self.spawner.take_update_mark() and self.old is None
        if found and not is_update and found["State"]["Running"] and self._fits_hub(found) and await self._adopt(found, volume, network):
            return found
        arguments = await make_create_arguments(self.spawner, self.spawner.image_info or {}, volume, network)
        keeps = found is not None and not is_update and self._still_fits(found, arguments)
        if not (found and keeps and await self._start_again(found, arguments)):
            if self.spawner.image_info is None:
                arguments = await make_create_arguments(self.spawner, await self.spawner.workspace_image.ensure(), volume, network)
            if found:
                await self._make_room(found)
            await self._create_and_start(arguments)
        self.clock.lap("start")
        found = await self.spawner.inspect()
        self.clock.lap("inspect")
        return found

    async def _start_again(self, found: dict[str, Any], arguments: dict[str, Any]) -> bool:
        self.spawner.report(75, "Starting the container")
        self.spawner.adopt_token(read_environment(found))
        for attempt in range(2):
            try:
                await self.main.update_limits(found, arguments["host_config"])
                await self.main.start(found["Id"])
                return True
            except APIError as error:
                # Something that it was made with is gone: its network, a device, a mount. A network can be had again.
                reason = error
                if attempt == 0 and not await self._connect_again(found):
                    break
        self.networks.forget(self.spawner.identity)
        if keeps_data(found):
            raise reason
        self.log.warning("%s does not start again (%s) and is created anew; its data is kept.", self.main.name, reason)
        return False

    async def _connect_again(self, found: dict[str, Any]) -> bool:
        self.networks.forget(self.spawner.identity)
        network = await self.spawner.ensure_network()
        try:
            await self.engine.call("disconnect_container_from_network", found["Id"], network, force=True)
            await self.engine.call("connect_container_to_network", found["Id"], network)
        except APIError as error:
            self.log.info("%s can not be connected to %s again: %s", self.main.name, network, error)
            return False
        await self.spawner.join_network()
        return True

    async def _make_room(self, found: dict[str, Any]) -> None:
        if found["State"]["Running"]:
            await self.main.end(self.spawner.stop_seconds)
        if self.spawner.remove or self.old or found["State"].get("Dead"):
            # Where one stands aside already, this one never answered.
            await self.main.remove()
        else:
            await self.aside.rename(found["Id"])
            self.old = found
        await self.spawner.ensure_network()  # the start may have failed because the network was gone
        await self.spawner.join_network()
        self.clock.lap("make room")

    async def _create_and_start(self, arguments: dict[str, Any]) -> None:
        self.spawner.report(65, "Creating the container")
        try:
            container_id = self.spawner.object_id = await self.main.create(arguments)
        except APIError:
            # The image or the network may be gone since they were looked up: the next start looks again.
            self.spawner.image_info = None
            self.networks.forget(self.spawner.identity)
            raise
        self.clock.lap("create")
        self.spawner.report(75, "Starting the container")
        try:
            await self.main.start(container_id)
        except APIError:
            # Nothing ran in it yet; it would only be in the way.
            await self.main.remove()
            self.networks.forget(self.spawner.identity)
            raise

    async def _wait(self, container: dict[str, Any] | None) -> None:
        if container and not container["State"]["Running"]:
            raise await self.main.make_death_error(container["Id"])
        address = self.spawner.read_address(container)
        self.spawner.report(80, "Waiting for the workspace to answer")
        if not self.spawner.internal_ssl:  # else JupyterHub itself asks, with the certificates that it has
            path = url_path_join(self.spawner.server.base_url, "api")
            await self.main.wait_until_ready(str(self.spawner.object_id), address, path, self.spawner.http_timeout)
        self.clock.lap("answer")

    async def _put_back(self) -> bool:
        if self.old is None:
            return False
        try:
            await self.main.remove()
            await self.main.rename(self.old["Id"])
        except (MLHubError, DockerException, RequestException) as error:
            self.log.warning("The previous container of %s stands aside until the next start: %s", self.main.name, error)
            return False
        self.spawner.object_id = self.old["Id"]
        self.old = None
        return True

    async def _remove_old(self) -> None:
        for _ in range(REMOVE_ATTEMPTS):
            try:
                return await self.aside.remove()
            except (MLHubError, DockerException, RequestException) as error:
                self.log.warning("The previous container of %s is not removed yet: %s", self.main.name, error)
            await asyncio.sleep(REMOVE_PAUSE_SECONDS)

    async def _adopt(self, found: dict[str, Any], volume: str | None, network: str) -> bool:
        """Go on with a container that runs, as far as what it holds may be had now; CPU and memory change while it runs."""
        environment = read_environment(found)
        asked = self.spawner.decision.env if self.spawner.decision else {}
        site = await resolve(self.spawner, self.spawner.extra_host_config)
        is_as_asked = all(environment.get(name) == value for name, value in asked.items())
        if not is_as_asked or not self.spawner.take_over(read_held(found, site)):
            self.log.warning("%s runs with more than may be had now, or other than was asked, and is created anew.", self.main.name)
            return False
        if found["State"].get("Paused"):
            await self.engine.call("unpause", found["Id"])
        arguments = await make_create_arguments(self.spawner, self.spawner.image_info or {}, volume, network)
        try:
            await self.main.update_limits(found, arguments["host_config"])
        except APIError as error:  # a kernel may refuse to take away memory that is in use
            self.log.warning("The limits of %s can not be changed while it runs (%s): it is started again.", self.main.name, error)
            await self.main.end(self.spawner.stop_seconds)
            return False
        self.log.info("Workspace %s runs already and is adopted.", self.main.name)
        self.spawner.adopt_token(environment)
        return True

    def _still_fits(self, found: dict[str, Any], arguments: dict[str, Any]) -> bool:
        labels, wanted = found["Config"].get("Labels") or {}, arguments["labels"]
        if self.spawner.remove or found["State"].get("Dead"):
            return False
        lacks_ssh = self.spawner.ssh_bundle is not None and not has_bundle(found)
        fits = labels.get(LABEL_CONFIG) == wanted[LABEL_CONFIG] and not lacks_ssh
        if fits or not keeps_data(found):
            return fits
        if labels.get(LABEL_DECIDED) == wanted[LABEL_DECIDED] and self._fits_hub(found):
            self.log.warning("%s keeps its files inside its container, so what the site changed does not reach it.", self.main.name)
            return True
        raise OptionsError(
            "This workspace keeps its files inside its container, because it was made without a volume, and no container can take on other options: "
            "the files would be lost. Start it with the options it was made with, or copy the files out and delete it first."
        )

    def _fits_hub(self, found: dict[str, Any]) -> bool:
        return fits_hub(self.spawner.get_env(), read_environment(found))
