"""MLHubDockerSpawner: a workspace as a container, with its own volume, in its user's own network.

Promise: no Docker call runs on the event loop; starting a workspace takes as few round trips to the
engine as it can; what carries another identity's labels is never adopted, mounted, routed to or removed.

The container is kept when the workspace stops and started again while nothing that makes it up has
changed; else it is created anew on the same volume. It keeps its image until its owner asks for the newer one.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from docker.api.client import APIClient
from docker.errors import DockerException
from docker.tls import TLSConfig
from dockerspawner import DockerSpawner
from jupyterhub.traitlets import ByteSpecification
from jupyterhub.utils import url_path_join
from traitlets import Bool, Int, List, Unicode, default

from mlhub.backends.base import Address
from mlhub.backends.docker.arguments import takes_mount_point
from mlhub.backends.docker.container import LABEL_PORT, Container, read_address
from mlhub.backends.docker.engine import Engine, is_hiccup
from mlhub.backends.docker.entry import SshEntryMixin
from mlhub.backends.docker.hosts import read_host
from mlhub.backends.docker.images import WorkspaceImage
from mlhub.backends.docker.inventory import DockerBackend
from mlhub.backends.docker.launch import Launch
from mlhub.backends.docker.names import check_template, render_name
from mlhub.backends.docker.prepull import keep_pulling
from mlhub.backends.docker.volumes import ensure_volume
from mlhub.errors import NameTakenError
from mlhub.workspace.policy import Host
from mlhub.workspace.spawner import WorkspaceSpawnerMixin


class MLHubDockerSpawner(SshEntryMixin, WorkspaceSpawnerMixin, DockerSpawner):
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
    host_gpus = List(
        Unicode(),
        default_value=None,
        allow_none=True,
        config=True,
        help="The host's GPUs, as UUIDs in the order of their indices. None: they are found where the hub can see them. []: there are none.",
    )
    min_free_disk = ByteSpecification(
        2**30, config=True, help="Disk to keep free on the Docker host: below that no image is pulled and no container made. 0: no limit."
    )
    image_pull_interval_seconds = Int(
        0, min=0, config=True, help="Seconds between two pulls of all images that the site offers, beginning when the hub starts. 0: never."
    )

    _backends: ClassVar[dict[str, DockerBackend]] = {}
    object_id: str  # DockerSpawner's: the container's id
    image_info: dict[str, Any] | None = None  # of the image that a container made now would have
    update_due = False  # the next start takes the newest image that is here
    _container: dict[str, Any] | None = None  # as the engine described it last

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

    def list_images(self) -> list[str]:
        """List the images that the site's configuration names; its own ``allowed_images`` counts, too."""
        allowed = self._get_allowed_images() or {}
        return list(dict.fromkeys([*super().list_images(), *(allowed.values() if isinstance(allowed, dict) else ())]))

    def translate_image(self, choice: Any) -> Any:
        """Return the image behind a name of the site's own ``allowed_images``."""
        allowed = self._get_allowed_images()
        return allowed.get(choice, choice) if isinstance(allowed, dict) and isinstance(choice, str) else choice

    def allows_any_image(self) -> bool:
        """Tell whether the site's own ``allowed_images`` lets everybody use any image."""
        return bool(self._get_allowed_images() == "*")

    def list_catalogue(self) -> list[str]:
        """List the references of all images that the site offers."""
        return [entry.image for entry in self.site.policy.list_catalogue(self.make_defaults())]

    def make_labels(self) -> dict[str, str]:
        """Make the container's labels."""
        return {**super().make_labels(), LABEL_PORT: str(self.port), **self.make_ssh_labels()}

    # start

    async def prepare_hub(self) -> None:
        """Check what the site says about names, and find the hub's own place on the engine."""
        await super().prepare_hub()
        if self.name_template:
            check_template(self.name_template)
        if self.image_pull_interval_seconds:
            pulling = keep_pulling(self.backend.engine, self.list_catalogue, self.image_pull_interval_seconds)
            self.backend.keep(asyncio.create_task(pulling))
        with self.backend.engine.sentences():
            await self.backend.settle()
        self.backend.keep(asyncio.create_task(self.prepare_ssh()))

    async def prepare_workspace(self) -> None:
        """Make sure that the image is here and can run; pulling counts against no timeout."""
        with self.backend.engine.sentences():
            await self.workspace_image.prepare()

    async def start_workspace(self) -> str:
        """Start the container, made anew where it has to be, and return its URL once it answers."""
        backend = self.backend
        with backend.engine.sentences():
            await backend.settle()
            await backend.finish_deletion(self.identity)
        async with backend.networks.hold(self.identity):
            self._container = await Launch(self).run()
        self.open_ssh()
        address = self.read_address(self._container)
        return f"http://{address.host}:{address.port}"

    def report(self, percent: float, message: str) -> None:
        """Tell whoever watches the start how far it has come."""
        self.start_progress.report(percent, message)

    # newer images

    def take_update_mark(self) -> bool:
        """Tell whether this start is to take the newest image; the next one is not."""
        is_due, self.update_due = self.update_due, False
        return is_due

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote."""
        super().load_state(state)
        self.update_due = bool(state.get("update_due"))

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub, an update that waits for the next start, too."""
        return {**super().get_state(), **({"update_due": True} if self.update_due else {})}

    async def find_update(self) -> str | None:
        """Tell where an image newer than the container's is: "local", "registry", or None where none is known."""
        with self.backend.engine.sentences():
            return await self.workspace_image.find_update()

    async def begin_update(self) -> None:
        """Get the newest image while the workspace may still run, and have its next start take it.

        That start goes back to the container of now where the new one does not come up.
        """
        with self.backend.engine.sentences():
            await self.workspace_image.begin_update()

    async def describe_image(self) -> dict[str, Any]:
        """Describe the image of the workspace, and tell whether there is a newer one."""
        with self.backend.engine.sentences():
            return await self.workspace_image.describe()

    async def read_host(self) -> Host:
        """Tell what the Docker host has."""
        with self.backend.engine.sentences():
            return await read_host(self.backend.host, self.host_gpus)

    # what the hub asks while it runs

    async def poll(self) -> int | None:
        """Return None while the container runs, else its exit code; an engine that does not answer proves nothing."""
        try:
            await self.backend.settle()
            self._container = found = await self.inspect()
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
                self._container = await self.inspect()
        address = self.read_address(self._container)
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

    @property
    def workspace_image(self) -> WorkspaceImage:
        """This workspace's image on the engine."""
        return WorkspaceImage(self)

    async def inspect(self) -> dict[str, Any] | None:
        """Return the engine's description of the container, or None where there is none."""
        found = await self.container.inspect()
        if found is not None:
            self.object_id = found["Id"]
        return found

    async def ensure_network(self) -> str:
        """Make sure of the network, and return its name."""
        return self.network_name or await self.backend.networks.ensure(self.identity)

    async def join_network(self) -> None:
        """Make sure that the hub is in the network."""
        if not self.network_name:
            await self.backend.networks.join(self.identity)

    async def ensure_volume(self) -> str | None:
        """Make sure of the volume and return its name; None where the site mounts its own, or none is wanted."""
        wants_none = self.decision is not None and not self.decision.is_mount_volume
        if wants_none or takes_mount_point(self):
            return None
        return await ensure_volume(self.backend.engine, self.identity, dict(self.extra_labels))

    def read_address(self, container: dict[str, Any] | None) -> Address:
        """Read where the workspace answers, from the engine's description of its container."""
        return read_address(container, self.network_name or self.identity.network, self.port)

    def adopt_token(self, environment: dict[str, str]) -> None:
        """Take over the token that is part of a kept container; JupyterHub registers what it finds here."""
        if token := environment.get("JUPYTERHUB_API_TOKEN"):
            self.api_token = token
