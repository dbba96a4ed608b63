"""MLHubDockerSpawner: a workspace as a container, with its own volume, in its user's own network.

Promise: no Docker call runs on the event loop; starting a workspace takes as few round trips to the
engine as it can; what carries another identity's labels is never adopted, mounted, routed to or removed.

The container is kept when the workspace stops and started again while nothing that makes it up has
changed; else it is created anew on the same volume.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from docker.api.client import APIClient
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from dockerspawner import DockerSpawner
from jupyterhub.utils import url_path_join
from traitlets import Bool, Int, Unicode, default

from mlhub.backends.base import Address
from mlhub.backends.docker.arguments import LABEL_CONFIG, make_create_arguments, takes_mount_point
from mlhub.backends.docker.container import LABEL_PORT, Clock, Container, read_address, read_environment
from mlhub.backends.docker.engine import Engine, is_hiccup
from mlhub.backends.docker.inventory import DockerBackend
from mlhub.backends.docker.names import check_template, render_name
from mlhub.backends.docker.volumes import ensure_volume
from mlhub.errors import ImageError, NameTakenError, OptionsError
from mlhub.workspace.spawner import WorkspaceSpawnerMixin


class MLHubDockerSpawner(WorkspaceSpawnerMixin, DockerSpawner):
    """Start workspaces as containers of a Docker engine."""

    network_pool = Unicode("10.64.0.0/12", config=True, help="Private range from which each user's network takes a subnet.")
    network_prefix = Int(27, config=True, help="Size of each user's subnet, as a prefix length.")
    host_guard = Bool(
        True, config=True, help="Keep workspaces away from the host's own ports and from link-local (cloud metadata) addresses."
    )
    stop_seconds = Int(10, min=1, config=True, help="Seconds a workspace gets to end by itself when it is stopped.")
    use_init = Bool(
        True,
        config=True,
        help="Run a small init process in containers whose image brings none, so that they stop at once and leave no zombies.",
    )

    _backends: ClassVar[dict[str, DockerBackend]] = {}
    _image_info: dict[str, Any] | None = None
    _container: dict[str, Any] | None = None

    @property
    def backend(self) -> DockerBackend:
        """The backend that all spawners of this hub share."""
        key = json.dumps(
            [self.hub_name, self.client_kwargs, self.tls_config, self.network_pool, self.network_prefix, self.host_guard],
            sort_keys=True,
            default=str,
        )
        if key not in self._backends:
            arguments = {"tls": TLSConfig(**self.tls_config)} if self.tls_config else {}
            engine = Engine({**arguments, **self.client_kwargs})
            self._backends[key] = DockerBackend(
                self.hub_name, engine, self.network_pool, self.network_prefix, dict(self.extra_labels), self.host_guard
            )
        return self._backends[key]

    @property
    def client(self) -> APIClient:
        """The engine's client; for upstream code only, ours calls the engine in threads."""
        return self.backend.engine.get_client()

    def docker(self, method: str, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Call the engine in a thread; upstream's own methods come through here as well."""
        return asyncio.ensure_future(self.backend.engine.call(method, *args, **kwargs))

    # names

    @default("prefix")
    def _default_prefix(self) -> str:
        return "ws"

    @default("name_template")
    def _default_name_template(self) -> str:
        return ""

    @default("object_name")
    def _object_name_default(self) -> str:
        if self.user is None:  # the one of prepare_hub
            return ""
        return render_name(self.identity, self.prefix, self.name_template, self._render_templates)

    @property
    def workspace_name(self) -> str:
        """Name of the container."""
        return self.object_name

    @default("network_name")
    def _default_network_name(self) -> str:
        return ""  # the user's own

    @default("use_internal_ip")
    def _default_use_ip(self) -> bool:
        return True

    @default("allowed_images")
    def _default_allowed_images(self) -> dict[str, str]:
        return {image: image for image in self.list_images()}

    def resolve_image(self, choice: Any) -> str:
        """Return the image behind a choice; a site's own ``allowed_images`` decides where it is set."""
        allowed = self._get_allowed_images() or {}
        if isinstance(choice, str) and (allowed == "*" or choice == self.default_image):
            return choice
        if not isinstance(choice, str) or choice not in allowed:
            raise OptionsError(
                f"The image {str(choice)[:200]!r} is not offered here. Choose one of: {', '.join(allowed or [self.default_image])}."
            )
        return str(allowed[choice])

    def make_labels(self) -> dict[str, str]:
        """Make the container's labels."""
        return {**super().make_labels(), LABEL_PORT: str(self.port)}

    # start

    async def prepare_hub(self) -> None:
        """Check what the site says about names, and find the hub's own place on the engine."""
        if self.name_template:
            check_template(self.name_template)
        with self.backend.engine.sentences():
            await self.backend.settle()

    async def prepare_workspace(self) -> None:
        """Make sure that the image is here; pulling counts against no timeout."""
        engine = self.backend.engine
        with engine.sentences():
            self._image_info = None if self.pull_policy == "always" else await engine.find("inspect_image", self.image)
            if self._image_info is None and self.pull_policy == "never":
                raise ImageError(
                    f"The image {self.image!r} is not on the Docker host, and pulling is switched off. Ask your administrator to pull it."
                )
            if self._image_info is None:
                await engine.pull(self.image, self.report_pull)
                self._image_info = await engine.call("inspect_image", self.image)

    def report_pull(self, event: dict[str, Any]) -> None:
        """Take one event of the pull; a subclass may turn it into progress."""

    async def start_workspace(self) -> str:
        """Start the container, made anew where it has to be, and return its URL once it answers."""
        backend, clock = self.backend, Clock()
        with backend.engine.sentences():
            await backend.settle()
            await backend.finish_deletion(self.identity)
            async with backend.networks.hold(self.identity):
                self._container = await self._ensure_running(clock)
                address = self._read_address()
                if not self.internal_ssl:  # else JupyterHub itself asks, with the certificates that it has
                    path = url_path_join(self.server.base_url, "api")
                    await self.container.wait_until_ready(str(self.object_id), address, path, self.http_timeout)
        clock.lap("answer")
        self.log.info("Workspace %s answers after %s", self.object_name, clock)
        return f"http://{address.host}:{address.port}"

    async def _ensure_running(self, clock: Clock) -> dict[str, Any] | None:
        found = await self._inspect()  # first: where the name is somebody else's, nothing else is touched
        volume, network = await asyncio.gather(self._ensure_volume(), self._ensure_network())
        clock.lap("look-up")
        # The hub joins while the container is made and starts; it is needed there only when the workspace first asks.
        joining = asyncio.create_task(self._join_network())
        try:
            return await self._run_container(found, volume, network, clock)
        finally:
            await joining
            clock.lap("join")

    async def _run_container(self, found: dict[str, Any] | None, volume: str | None, network: str, clock: Clock) -> dict[str, Any] | None:
        if found and found["State"]["Running"] and self._fits_hub(found):
            await self._adopt(found)
            return found
        if self._image_info is None:
            await self.prepare_workspace()
        arguments = await make_create_arguments(self, self._image_info or {}, volume, network)
        if found and (self.remove or not self._still_fits(found, arguments) or not await self._start_again(found)):
            await self.container.remove()
            await self._ensure_network()  # the start may have failed because the network was gone
            await self._join_network()
            clock.lap("remove")
            found = None
        if found is None:
            await self._create_and_start(arguments, clock)
        clock.lap("start")
        found = await self._inspect()
        clock.lap("inspect")
        return found

    async def _start_again(self, found: dict[str, Any]) -> bool:
        self._adopt_token(found)
        try:
            await self.container.start(found["Id"])
        except APIError as error:
            # Something that it was made with is gone: its network, a device, a mount.
            self.log.warning("%s does not start again (%s) and is created anew; its data is kept.", self.object_name, error)
            self.backend.networks.forget(self.identity)
            return False
        return True

    async def _create_and_start(self, arguments: dict[str, Any], clock: Clock) -> None:
        try:
            self.object_id = await self.container.create(arguments)
        except APIError:
            # The image or the network may be gone since they were looked up: the next start looks again.
            self._image_info = None
            self.backend.networks.forget(self.identity)
            raise
        clock.lap("create")
        try:
            await self.container.start(self.object_id)
        except APIError:
            # Nothing ran in it yet; it would only be in the way.
            await self.container.remove()
            self.backend.networks.forget(self.identity)
            raise

    # what the hub asks while it runs

    async def poll(self) -> int | None:
        """Return None while the container runs, else its exit code; an engine that does not answer proves nothing."""
        try:
            await self.backend.settle()
            self._container = found = await self._inspect()
        except NameTakenError as error:
            self.log.warning("%s", error)
            return 0
        except (OSError, DockerException) as error:  # docker-py's and requests' errors
            if not is_hiccup(error):
                raise
            self.log.warning("Whether %s runs is unknown, the engine does not answer: %s", self.object_name, error)
            return None if self.object_id else 0
        if found is None:
            self.object_id = ""
            return 0
        return None if found["State"]["Running"] else int(found["State"].get("ExitCode") or 0)

    async def get_url(self) -> str:
        """Return where the workspace answers now: its address may change whenever its container starts."""
        if self._container is None:
            with self.sentences(), self.backend.engine.sentences():
                self._container = await self._inspect()
        address = self._read_address()
        return url_path_join(f"http://{address.host}:{address.port}", self.server.base_url)

    async def stop_workspace(self, now: bool) -> None:
        """Stop the container and keep it: politely, then, after the deadline, by force."""
        with self.backend.engine.sentences():
            await self.container.end(0 if now else self.stop_seconds)
            if self.remove:
                await self.container.remove()
                self.object_id = ""
        self.clear_state()
        self.backend.release_network(self.identity)

    async def delete_forever(self) -> None:
        """Remove the container; the data goes to the trash, from where only cleanup removes it."""
        with self.sentences():
            await self.backend.delete_workspace(self.identity)
        self.object_id = ""

    # parts

    @property
    def container(self) -> Container:
        """This workspace's container on the engine."""
        return Container(self.backend.engine, self.identity, self.object_name)

    async def _inspect(self) -> dict[str, Any] | None:
        found = await self.container.inspect()
        if found is not None:
            self.object_id = found["Id"]
        return found

    async def _ensure_network(self) -> str:
        return self.network_name or await self.backend.networks.ensure(self.identity)

    async def _join_network(self) -> None:
        if not self.network_name:
            await self.backend.networks.join(self.identity)

    async def _ensure_volume(self) -> str | None:
        return None if takes_mount_point(self) else await ensure_volume(self.backend.engine, self.identity, dict(self.extra_labels))

    def _read_address(self) -> Address:
        return read_address(self._container, self.network_name or self.identity.network, self.port)

    def _still_fits(self, found: dict[str, Any], arguments: dict[str, Any]) -> bool:
        labels = found["Config"].get("Labels") or {}
        return labels.get(LABEL_CONFIG) == arguments["labels"][LABEL_CONFIG] and not found["State"].get("Dead")

    def _fits_hub(self, found: dict[str, Any]) -> bool:
        ours, theirs = self.get_env(), read_environment(found)
        return all(
            ours.get(name) == theirs.get(name) for name in ("JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_CLIENT_ID")
        )

    async def _adopt(self, found: dict[str, Any]) -> None:
        self.log.info("Workspace %s runs already and is adopted as it is.", self.object_name)
        self._adopt_token(found)
        if found["State"].get("Paused"):
            await self.backend.engine.call("unpause", found["Id"])

    def _adopt_token(self, found: dict[str, Any]) -> None:
        # The token is part of the container; JupyterHub registers what it finds here.
        token = read_environment(found).get("JUPYTERHUB_API_TOKEN")
        if token:
            self.api_token = token
