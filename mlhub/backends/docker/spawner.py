"""MLHubDockerSpawner: a workspace as a container, with its own volume, in its user's own network.

Promise: no Docker call runs on the event loop; starting a workspace takes as few round trips to the
engine as it can; what carries another identity's labels is never adopted, mounted, routed to or removed.

The container is kept when the workspace stops and started again while nothing that makes it up has
changed; else it is created anew on the same volume.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, ClassVar

from docker.api.client import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.tls import TLSConfig
from dockerspawner import DockerSpawner
from jupyterhub.utils import url_path_join
from traitlets import Bool, Int, Unicode, default

from mlhub.backends.base import Address
from mlhub.backends.docker.container import LABEL_CONFIG, make_create_arguments, read_environment, takes_mount_point
from mlhub.backends.docker.engine import Engine, is_hiccup
from mlhub.backends.docker.inventory import LABEL_PORT, DockerBackend, read_address, verify_owner
from mlhub.backends.docker.names import render_name
from mlhub.backends.docker.volumes import ensure_volume
from mlhub.backends.readiness import wait_until_ready
from mlhub.errors import BackendError, ConfigurationError, ImageError, NameTakenError, OptionsError, WorkspaceDiedError
from mlhub.workspace.spawner import WorkspaceSpawnerMixin

STOP_GRACE_SECONDS = 15  # beyond the deadline given to the engine, before the workspace is killed
LOG_LINES = 20


class MLHubDockerSpawner(WorkspaceSpawnerMixin, DockerSpawner):
    """Start workspaces as containers of a Docker engine."""

    network_pool = Unicode("10.64.0.0/12", config=True, help="Private range from which each user's network takes a subnet.")
    network_prefix = Int(27, config=True, help="Size of each user's subnet, as a prefix length.")
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
            [self.hub_name, self.client_kwargs, self.tls_config, self.network_pool, self.network_prefix], sort_keys=True, default=str
        )
        if key not in self._backends:
            arguments = {"tls": TLSConfig(**self.tls_config)} if self.tls_config else {}
            engine = Engine({**arguments, **self.client_kwargs})
            self._backends[key] = DockerBackend(self.hub_name, engine, self.network_pool, self.network_prefix, dict(self.extra_labels))
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
        began = time.perf_counter()
        backend = self.backend
        with backend.engine.sentences():
            await backend.settle()
            await backend.finish_deletion(self.identity)
            async with backend.networks.hold(self.identity):
                steps = await self._ensure_running()
                address = self._read_address()
                started = time.perf_counter()
                await self._wait_until_ready(address)
        done = time.perf_counter()
        steps["answer"] = done - started
        detail = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in steps.items())
        self.log.info("Workspace %s answers after %.0f ms (%s)", self.object_name, (done - began) * 1000, detail)
        return f"http://{address.host}:{address.port}"

    async def _ensure_running(self) -> dict[str, float]:
        clock = _Clock()
        container = await self._inspect()  # first: where the name is somebody else's, nothing else is touched
        volume, network = await asyncio.gather(self._ensure_volume(), self._ensure_network())
        clock.lap("look-up")
        if container and container["State"]["Running"] and self._fits_hub(container):
            self._adopt(container)
            clock.lap("adopt")
            return clock.laps
        if self._image_info is None:
            await self.prepare_workspace()
        arguments = await make_create_arguments(self, self._image_info or {}, volume, network)
        if container and (self.remove or not self._still_fits(container, arguments)):
            await self.backend.remove_container(self.identity, container["Id"])
            container = None
            clock.lap("remove")
        await self._start_container(container, arguments, clock)
        self._container = await self._inspect()
        clock.lap("inspect")
        return clock.laps

    async def _start_container(self, container: dict[str, Any] | None, arguments: dict[str, Any], clock: _Clock) -> None:
        engine = self.backend.engine
        if container:
            self._adopt_token(container)
            try:
                await engine.call("start", container["Id"])
            except APIError as error:
                # Something it was made with is gone (its network, a device): make it anew.
                self.log.warning("%s does not start again (%s) and is created anew; its data is kept.", self.object_name, error)
                await self.backend.remove_container(self.identity, container["Id"])
                self.backend.networks.forget(self.identity)
                await self._ensure_network()
            else:
                clock.lap("start")
                return
        container_id = await self._create(arguments)
        clock.lap("create")
        try:
            await engine.call("start", container_id)
        except APIError:
            # Nothing ran in it yet; it would only be in the way.
            await self.backend.remove_container(self.identity, container_id)
            self.backend.networks.forget(self.identity)
            raise
        clock.lap("start")

    async def _create(self, arguments: dict[str, Any]) -> str:
        engine = self.backend.engine
        try:
            host_config = await engine.call("create_host_config", **arguments["host_config"])
        except TypeError as error:
            raise ConfigurationError(f"extra_host_config is not understood by the Docker client: {error}.") from error
        for attempt in range(5):
            try:
                answer = await engine.call("create_container", **{**arguments, "host_config": host_config})
                self.object_id = answer["Id"]
                return str(self.object_id)
            except TypeError as error:
                raise ConfigurationError(f"extra_create_kwargs is not understood by the Docker client: {error}.") from error
            except ImageNotFound:
                # Removed since the check: the next start pulls it again.
                self._image_info = None
                raise
            except APIError as error:
                if error.status_code != 409 or attempt == 4:
                    raise
            # The engine may hold a name for a moment after its container was removed (moby#37698).
            if existing := await self._inspect():
                await self.backend.remove_container(self.identity, existing["Id"])
            await asyncio.sleep(0.2)
        raise AssertionError("unreachable")

    async def _wait_until_ready(self, address: Address) -> None:
        if self.internal_ssl or self.server is None:
            return  # JupyterHub itself asks, with the certificates that it has
        path = url_path_join(self.server.base_url, "api")
        try:
            lives = await wait_until_ready(address.host, address.port, path, self.http_timeout, self._has_died)
        except TimeoutError:
            raise WorkspaceDiedError(
                f"The workspace did not answer on port {address.port} within {self.http_timeout} seconds. {await self._read_last_words()}"
            ) from None
        if not lives:
            raise WorkspaceDiedError(f"The workspace ended before it answered. {await self._read_last_words()}")

    async def _has_died(self) -> bool:
        try:
            container = await self.backend.engine.find("inspect_container", self.object_id)
        except (APIError, OSError) as error:
            if not is_hiccup(error):
                raise
            return False
        return container is None or not container["State"]["Running"]

    async def _read_last_words(self) -> str:
        try:
            lines = (await self.backend.engine.call("logs", self.object_id, tail=LOG_LINES)).decode(errors="replace").strip()
        except (APIError, OSError):
            lines = ""
        return f"Its last lines were:\n{lines[-4000:]}" if lines else "It printed nothing."

    # what the hub asks while it runs

    async def poll(self) -> int | None:
        """Return None while the container runs, else its exit code; an engine that does not answer proves nothing."""
        try:
            await self.backend.settle()
            container = await self._inspect()
        except NameTakenError as error:
            self.log.warning("%s", error)
            return 0
        except (APIError, OSError, DockerException) as error:
            if not is_hiccup(error):
                raise
            self.log.warning("Whether %s runs is unknown, the engine does not answer: %s", self.object_name, error)
            return None if self.object_id else 0
        self._container = container
        if container is None:
            self.object_id = ""
            return 0
        state = container["State"]
        return None if state["Running"] else int(state.get("ExitCode") or 0)

    async def get_url(self) -> str:
        """Return where the workspace answers now: its address may change whenever its container starts."""
        if self._container is None:
            with self.sentences(), self.backend.engine.sentences():
                self._container = await self._inspect()
        address = self._read_address()
        return url_path_join(f"http://{address.host}:{address.port}", self.server.base_url)

    async def stop_workspace(self, now: bool) -> None:
        """Stop the container and keep it: politely, then, after the deadline, by force."""
        engine = self.backend.engine
        with engine.sentences():
            container = await self._inspect()
            if container and container["State"]["Running"]:
                await self._end(container["Id"], 0 if now else self.stop_seconds)
            if container and self.remove:
                await self.backend.remove_container(self.identity, container["Id"])
                self.object_id = ""
        self.clear_state()
        self.backend.release_network(self.identity)

    async def _end(self, container_id: str, seconds: int) -> None:
        engine = self.backend.engine
        try:
            async with asyncio.timeout(seconds + STOP_GRACE_SECONDS):
                await engine.call("stop", container_id, timeout=seconds)
        except NotFound:
            return
        except OSError as error:
            if not is_hiccup(error) and not isinstance(error, TimeoutError):
                raise
            self.log.warning("%s did not stop within its deadline and is killed.", self.object_name)
            try:
                await engine.call("kill", container_id)
            except APIError as error:
                if error.status_code not in (404, 409):
                    raise

    async def delete_forever(self) -> None:
        """Remove the container; the data goes to the trash, from where only cleanup removes it."""
        with self.sentences():
            await self.backend.delete_workspace(self.identity)
        self.object_id = ""

    # parts

    async def _inspect(self) -> dict[str, Any] | None:
        container: dict[str, Any] | None = await self.backend.engine.find("inspect_container", self.object_name)
        if container is not None:
            verify_owner(self.identity, self.object_name, container)
            self.object_id = container["Id"]
        return container

    async def _ensure_network(self) -> str:
        return self.network_name or await self.backend.networks.ensure(self.identity)

    async def _ensure_volume(self) -> str | None:
        return None if takes_mount_point(self) else await ensure_volume(self.backend.engine, self.identity, dict(self.extra_labels))

    def _read_address(self) -> Address:
        settings = (self._container or {}).get("NetworkSettings") or {}
        address = read_address(settings.get("Networks"), self.port, self.network_name or self.identity.network)
        if address is None:
            raise BackendError(
                f"The container {self.object_name!r} has no address. Start it again; if that does not help, ask your administrator to look at its networks."
            )
        return address

    def _still_fits(self, container: dict[str, Any], arguments: dict[str, Any]) -> bool:
        labels = container["Config"].get("Labels") or {}
        return labels.get(LABEL_CONFIG) == arguments["labels"][LABEL_CONFIG] and not container["State"].get("Dead")

    def _fits_hub(self, container: dict[str, Any]) -> bool:
        ours, theirs = self.get_env(), read_environment(container)
        return all(
            ours.get(name) == theirs.get(name) for name in ("JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_CLIENT_ID")
        )

    def _adopt(self, container: dict[str, Any]) -> None:
        self.log.info("Workspace %s runs already and is adopted as it is.", self.object_name)
        self._adopt_token(container)
        self._container = container
        port = (container["Config"].get("Labels") or {}).get(LABEL_PORT, "")
        if port.isdecimal():
            self.port = int(port)

    def _adopt_token(self, container: dict[str, Any]) -> None:
        # The token is part of the container; JupyterHub registers what it finds here.
        token = read_environment(container).get("JUPYTERHUB_API_TOKEN")
        if token:
            self.api_token = token


class _Clock:
    """Measure the steps of a start."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now
