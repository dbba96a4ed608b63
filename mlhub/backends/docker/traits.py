"""DockerSpawner with what a site may set beyond upstream's traits, our defaults for upstream's, and
the engine behind all spawners of a hub.

Invariants: no Docker call runs on the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any, ClassVar

from docker.api.client import APIClient
from docker.tls import TLSConfig
from dockerspawner import DockerSpawner
from jupyterhub.traitlets import ByteSpecification
from traitlets import Bool, Int, List, Unicode, default

from mlhub import egress
from mlhub.backends.docker.container import Container, FormerContainerError
from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.inventory import DockerBackend
from mlhub.backends.docker.names import render_name
from mlhub.workspaces.spawner import WorkspaceSpawnerMixin


class ConfiguredDockerSpawner(WorkspaceSpawnerMixin, DockerSpawner):
    """Hold what a site configures; find the backend and the container that belong to it."""

    network_pool = Unicode(
        "10.64.0.0/12",
        config=True,
        help="Private range from which each user's network takes a subnet.",
    )
    network_prefix = Int(27, config=True, help="Size of each user's subnet, as a prefix length.")
    host_guard = Bool(
        True,
        config=True,
        help=(
            "Hold workspaces to workspace_egress, and off the host's own ports and cloud metadata"
            " addresses."
        ),
    )
    workspace_egress = List(
        Unicode(),
        list(egress.DEFAULT),
        config=True,
        help="What workspaces may reach, as MLHUB_WORKSPACE_EGRESS says.",
    )
    stop_seconds = Int(
        10, min=1, config=True, help="Seconds a workspace gets to end by itself when it is stopped."
    )
    use_init = Bool(
        True,
        config=True,
        help=(
            "Run a small init process in containers whose image brings none, so that they stop at"
            " once and leave no zombies."
        ),
    )
    own_seccomp = Bool(
        True,
        config=True,
        help=(
            "Give workspaces a seccomp profile as Docker 28 has it where the engine's own is older,"
            " which lets AF_ALG through, and before that io_uring and AF_VSOCK."
        ),
    )
    host_gpus = List(
        Unicode(),
        default_value=None,
        allow_none=True,
        config=True,
        help=(
            "The host's GPUs, as UUIDs in the order of their indices. None: they are found where"
            " the hub can see them. []: there are none."
        ),
    )
    min_free_disk = ByteSpecification(
        2**30,
        config=True,
        help=(
            "Disk to keep free on the Docker host: below that no image is pulled and no container"
            " made. 0: no limit."
        ),
    )
    image_pull_interval_seconds = Int(
        0,
        min=0,
        config=True,
        help=(
            "Seconds between two pulls of all images that the site offers, beginning when the hub"
            " starts. 0: never."
        ),
    )

    object_id: str  # DockerSpawner's: the container's id
    _backends: ClassVar[dict[str, DockerBackend]] = {}

    @property
    def backend(self) -> DockerBackend:
        """The backend that all spawners of this hub share."""
        key = json.dumps(
            [
                self.hub_name,
                self.client_kwargs,
                self.tls_config,
                self.network_pool,
                self.network_prefix,
                self.host_guard,
                self.workspace_egress,
            ],
            sort_keys=True,
            default=str,
        )
        if key not in self._backends:
            arguments = {"tls": TLSConfig(**self.tls_config)} if self.tls_config else {}
            engine = Engine({**arguments, **self.client_kwargs})
            self._backends[key] = DockerBackend(
                self.hub_name,
                engine,
                self.network_pool,
                self.network_prefix,
                dict(self.extra_labels),
                self.host_guard,
                self.workspace_egress,
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
        """List the images that the site's configuration names; its own ``allowed_images`` counts,
        too. Where it names none but ours, those are offered that are on the host.
        """
        allowed = self._get_allowed_images() or {}
        named = [*super().list_images(), *(allowed.values() if isinstance(allowed, dict) else ())]
        found = self.backend.variants if set(named) == {self.default_image} else ()
        return list(dict.fromkeys([*named, *found]))

    def translate_image(self, choice: Any) -> Any:
        """Return the image behind a name of the site's own ``allowed_images``."""
        allowed = self._get_allowed_images()
        return (
            allowed.get(choice, choice)
            if isinstance(allowed, dict) and isinstance(choice, str)
            else choice
        )

    def allows_any_image(self) -> bool:
        """Return True if the site's own ``allowed_images`` lets everybody use any image."""
        return bool(self._get_allowed_images() == "*")

    def list_catalogue(self) -> list[str]:
        """List the references of all images that the site offers."""
        return [entry.image for entry in self.site.policy.list_catalogue(self.make_defaults())]

    async def read_site(self, value: Any) -> dict[str, Any]:
        """Return one of the site's dicts, which may be a function of the spawner, with its
        templates filled in.
        """
        value = value(self) if callable(value) else value
        if inspect.isawaitable(value):
            value = await value
        return dict(self._render_templates(value or {}))

    # on the engine

    @property
    def container(self) -> Container:
        """This workspace's container on the engine."""
        return Container(self.backend.engine, self.identity, self.object_name, self.holder)

    async def inspect(self) -> dict[str, Any] | None:
        """Return the engine's description of the container, or None where there is none of this
        person's.
        """
        try:
            found = await self.container.inspect()
        except FormerContainerError:
            return None
        if found is not None:
            self.object_id = found["Id"]
        return found
