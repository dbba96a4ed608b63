"""The part of a spawner that is the same wherever workspaces run.

Promise: nothing a site configured is ever changed in place. What we add to environment, labels,
volumes and host config lies *under* the configured values and is put together anew at each start,
because traitlets shares the result of ``c.Spawner.environment.update(...)`` between all users.

A refusal (unknown or malformed options) leaves things as they were: JupyterHub has already stored
the options and calls ``stop()`` after the failed start, so the last accepted options are put back
and that one ``stop()`` does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlparse

from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from traitlets import Dict, List, Unicode, default
from traitlets.config import LoggingConfigurable

from mlhub.errors import MLHubError, OptionsError, WorkspaceError
from mlhub.workspace.identity import Identity
from mlhub.workspace.images import DEFAULT_MOUNT_POINT, ImageSettings, find_image_settings

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    # Not Spawner itself, which would refuse a class without start(); not object, whose @default is ignored.
    _Base = LoggingConfigurable


class WorkspaceSpawnerMixin(_Base):
    """Make a JupyterHub spawner start workspaces of this product; put it before the spawner class."""

    hub_name = Unicode(
        "mlhub", config=True, help="Name of the hub: part of every object's name, and the host name under which workspaces reach it."
    )
    workspace_images = List(Unicode(), config=True, help="Images that people may choose from. Empty: only `image`.")
    image_settings = Dict(config=True, help="Image reference (shell wildcards allowed) → port, mount_point, notebook_dir, cmd.")
    extra_labels = Dict(Unicode(), config=True, help="Further labels for every object of a workspace.")

    accepted_options: dict[str, Any]
    _refused = False

    # what the hub calls, in this order

    async def run_pre_spawn_hook(self) -> None:
        """Check the options, run the site's hook, and prepare what may take longer than start_timeout."""
        self._refused = False
        with self.sentences():
            self._check_options()
            await maybe_future(super().run_pre_spawn_hook())
            # The site's hooks may have changed the options: what they left is what counts.
            self._check_options()
            await maybe_future(self.apply_workspace_options(dict(self.user_options)))
            self.apply_image_settings()
            await self.prepare_workspace()

    async def start(self) -> Any:
        """Check once more, start the workspace, and remember the options as the last accepted ones."""
        with self.sentences():
            self._check_options()
            url = await self.start_workspace()
        self.accepted_options = dict(self.user_options)
        return url

    async def stop(self, now: bool = False) -> None:
        """Stop the workspace, unless this is JupyterHub cleaning up after a refusal."""
        if self._refused:
            self._refused = False
            return
        with self.sentences():
            await self.stop_workspace(now)

    async def rename(self, old_name: str, new_name: str) -> None:
        """Refuse to rename a server: its name is part of the name and labels of its data."""
        raise _make_http_error(
            WorkspaceError(
                f"The server {old_name!r} can not be renamed, its data carries that name. Change its display name, or start a server {new_name!r}."
            )
        )

    # what a backend implements

    async def prepare_hub(self) -> None:
        """Make the backend ready, once, at the hub's start; this spawner belongs to nobody."""

    async def prepare_workspace(self) -> None:
        """Do what belongs before the start and may take long, such as pulling the image."""

    async def start_workspace(self) -> Any:
        """Start the workspace and return its URL once it answers."""
        raise NotImplementedError

    async def stop_workspace(self, now: bool) -> None:
        """Stop the workspace and keep its data."""
        raise NotImplementedError

    async def apply_workspace_options(self, options: dict[str, Any]) -> None:
        """Turn accepted options into traits of this spawner."""
        self._default_image = self.default_image
        self.image = self.resolve_image(options["image"]) if options.get("image") else self.default_image

    # what both need

    @property
    def identity(self) -> Identity:
        """Identity of this workspace."""
        return Identity(self.hub_name, self.user.name, self.name)

    @property
    def mount_point(self) -> str:
        """Directory inside the workspace that its volume holds."""
        directory = self.notebook_dir if self.notebook_dir.startswith("/") and "{" not in self.notebook_dir else ""
        return self._image_settings.mount_point or directory or DEFAULT_MOUNT_POINT

    @property
    def workspace_name(self) -> str:
        """Name of the container or pod."""
        return self.identity.container

    @property
    def default_image(self) -> str:
        """Image of a start without a choice: the configured one, whatever was chosen meanwhile."""
        return self._default_image or self.image

    def list_images(self) -> list[str]:
        """List the images that this person may choose from, the default one first."""
        return list(dict.fromkeys([self.default_image, *self.workspace_images]))

    def resolve_image(self, choice: Any) -> str:
        """Return the image behind a choice; raise ``OptionsError`` where it is not offered."""
        if choice not in self.list_images():
            raise OptionsError(f"The image {str(choice)[:200]!r} is not offered here. Choose one of: {', '.join(self.list_images())}.")
        return choice

    def make_labels(self) -> dict[str, str]:
        """Make the labels of the workspace's own objects; nothing a site adds can hide ours."""
        return {**self.extra_labels, **self.identity.labels}

    def make_environment(self) -> dict[str, str]:
        """Make the variables that workspaces get from us; hub facts and the configured ones win over them."""
        environment = {"SSH_JUMPHOST_TARGET": self.workspace_name, "AUTHENTICATE_VIA_JUPYTER": "true", "SHUTDOWN_INACTIVE_KERNELS": "true"}
        if self.cpu_limit:
            environment["MAX_NUM_THREADS"] = str(max(1, int(self.cpu_limit)))
        return environment

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace."""
        return {**self.make_environment(), **super().get_env()}

    def apply_image_settings(self) -> None:
        """Take over what is known about the chosen image."""
        self._image_settings = settings = find_image_settings(self.image, self.image_settings)
        if settings.port:
            self.port = settings.port
        if settings.notebook_dir:
            self.notebook_dir = settings.notebook_dir
        if settings.cmd:
            self.cmd = list(settings.cmd)

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn our own errors into errors whose sentence JupyterHub shows to the person."""
        try:
            yield
        except MLHubError as error:
            if isinstance(error, OptionsError):
                self._put_back_options()
            raise _make_http_error(error) from error

    # state

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote."""
        super().load_state(state)
        self.accepted_options = dict(state.get("accepted_options", {}))

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        return {**super().get_state(), "accepted_options": self.accepted_options}

    def __init__(self, **kwargs: Any) -> None:
        """Begin without options and without a chosen image."""
        self.accepted_options = {}
        self._image_settings = ImageSettings()
        self._default_image = ""
        super().__init__(**kwargs)
        if self.name and self.user is not None:
            # JupyterHub glues user and server with "-": user "a" with server "b-c" would take over the OAuth client
            # of user "a-b" with server "c". quote() leaves no "!" in either part.
            self.oauth_client_id = f"jupyterhub-user-{quote(self.user.name, safe='')}!{quote(self.name, safe='')}"

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        # Ours are applied after the site's hook, see run_pre_spawn_hook; without any hook JupyterHub logs a warning.
        return lambda spawner, options: None

    @default("hub_connect_url")
    def _default_hub_connect_url(self) -> str:
        # Docker's DNS answers to the hub's name also after the hub's container was created anew.
        return f"http://{self.hub_name}:{urlparse(self.hub.url).port or 8081}"

    def _check_options(self) -> None:
        unknown = sorted(map(str, set(self.user_options) - {"image"}))
        if unknown:
            raise OptionsError(f"The option {', '.join(map(repr, unknown))} is not known here. Known options: image.")
        if self.user_options.get("image"):
            self.resolve_image(self.user_options["image"])

    def _put_back_options(self) -> None:
        self._refused = True
        self.user_options = dict(self.accepted_options)
        if self.orm_spawner is not None:
            # JupyterHub commits this together with its own record of the failed start.
            self.orm_spawner.user_options = dict(self.accepted_options)


def _make_http_error(error: MLHubError) -> SpawnException:
    sentence = str(error)
    exception = SpawnException(sentence, reason=type(error).__name__, status_code=error.status_code)
    # The "not running" page shows this attribute alone.
    exception.jupyterhub_message = sentence
    return exception
