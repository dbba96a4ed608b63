"""The part of a spawner that is the same wherever workspaces run.

Promise: nothing a site configured is ever changed in place. What we add to environment, labels,
volumes and host config lies *under* the configured values and is put together anew at each start,
because traitlets shares the result of ``c.Spawner.environment.update(...)`` between all users.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlparse

from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from traitlets import Dict, List, Unicode, default

from mlhub.errors import MLHubError, OptionsError, WorkspaceError
from mlhub.workspace.enforcement import PolicyEnforcement
from mlhub.workspace.expiry import LABEL_EXPIRES
from mlhub.workspace.form import make_form, read_fields, read_typed
from mlhub.workspace.identity import Identity
from mlhub.workspace.images import DEFAULT_MOUNT_POINT, ImageSettings, find_image_settings, lay_over
from mlhub.workspace.options import WorkspaceOptions
from mlhub.workspace.progress import Progress

FORM_TEMPLATE = "options_form.html"


class WorkspaceSpawnerMixin(PolicyEnforcement):
    """Make a JupyterHub spawner start workspaces of this product; put it before the spawner class."""

    hub_name = Unicode(
        "mlhub", config=True, help="Name of the hub: part of every object's name, and the host name under which workspaces reach it."
    )
    workspace_images = List(Unicode(), config=True, help="Images that people may choose from. Empty: only `image`.")
    image_settings = Dict(config=True, help="Image reference (shell wildcards allowed) → port, mount_point, notebook_dir, cmd, ssh_port.")
    extra_labels = Dict(Unicode(), config=True, help="Further labels for every object of a workspace.")

    # what the hub calls, in this order

    async def apply_group_overrides(self) -> None:
        """Lay the site's group overrides over its defaults, and refuse options before the site's hooks see them."""
        self.start_progress = Progress()
        with self.sentences():
            await self.refresh_defaults()
            self.check_before_hooks()

    async def run_pre_spawn_hook(self) -> None:
        """Run the site's hook, decide what the workspace gets, and prepare what may take longer than start_timeout."""
        with self.sentences():
            await maybe_future(super().run_pre_spawn_hook())
            self.reserve()
            self.apply_image_settings()
            await self.prepare_workspace()

    async def start(self) -> Any:
        """Decide once more, start the workspace, and remember the options as the last accepted ones."""
        with self.sentences():
            self.reserve()
            url = await self.start_workspace()
        self.accept_options()
        return url

    async def stop(self, now: bool = False) -> None:
        """Stop the workspace, unless this is JupyterHub cleaning up after a refusal."""
        if self._refused:
            self._refused = False
            return
        with self.sentences():
            await self.stop_workspace(now)

    async def run_post_stop_hook(self) -> None:
        """Count the workspace no longer; JupyterHub calls this after every stop and every start that failed."""
        self.release()
        await maybe_future(super().run_post_stop_hook())

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield how far the start has come."""
        async for event in self.start_progress.watch():
            yield event

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
        return str(self._defaults["image"])

    def list_images(self) -> list[str]:
        """List the images that the site's configuration names, the default one first."""
        return list(dict.fromkeys([self.default_image, *self.workspace_images]))

    def make_labels(self) -> dict[str, str]:
        """Make the labels of the workspace's own objects; nothing a site adds can hide ours."""
        expires = {LABEL_EXPIRES: str(self.expires_at)} if self.expires_at is not None else {}
        return {**self.extra_labels, **expires, **self.identity.labels}

    def make_environment(self) -> dict[str, str]:
        """Make the variables of the original that images know; the person's own win over them."""
        environment = {"SHUTDOWN_INACTIVE_KERNELS": "true"}
        if self.cpu_limit:
            environment["MAX_NUM_THREADS"] = str(max(1, int(self.cpu_limit)))
        return environment

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace: the hub's facts cover the person's choice, that covers the site's defaults."""
        facts = super().get_env()
        asked = dict(self.decision.env) if self.decision else {}
        chosen = {name: value for name, value in asked.items() if name in self.environment or name not in facts}
        ours = {"SSH_JUMPHOST_TARGET": self.workspace_name, "AUTHENTICATE_VIA_JUPYTER": "true"}
        return {**self.make_environment(), **ours, **facts, **chosen}

    def apply_image_settings(self) -> None:
        """Take over what is known about the chosen image."""
        known = find_image_settings(self.image, self.image_settings)
        self._image_settings = settings = lay_over(known, self.decision.image.entry if self.decision else None)
        for name, configured in self._configured_for_images.items():
            value = getattr(settings, name) or configured
            setattr(self, name, list(value) if isinstance(value, tuple) else value)

    # the form

    async def render_options_form(self) -> str:
        """Render what the person may choose; nothing where there is no choice, so that the start needs no click."""
        if self.handler is None:
            return ""  # SpawnFormHandler asks again, with itself as the handler
        with self.sentences():
            offer = (await self.make_probe()).make_offer(counts_grant=True)
        if not offer.has_choice:
            return ""
        sent = getattr(self.handler, "sent_fields", None)
        is_refused = self.handler.request.method == "POST" or (sent is None and self.refused_options is not None)
        # What the next start without options would take: a PATCH of the REST API changes the database alone.
        stored = self.orm_spawner.user_options if self.orm_spawner is not None else self.user_options
        typed = read_typed(sent, self.refused_options or stored or self.accepted_options)
        form = make_form(offer, typed, self.refusal.fields if is_refused and self.refusal else {})
        template = self.handler.settings["jinja2_env"].get_template(FORM_TEMPLATE)
        return str(await template.render_async(form=form, server_name=self.name))

    def read_options_form(self, formdata: dict[str, list[Any]]) -> dict[str, Any]:
        """Turn the fields of the form into options, as a REST call would send them."""
        extra = {name: texts[-1] for name, texts in formdata.items() if name in self.extra_options and texts}
        with self.sentences():
            asked = WorkspaceOptions.from_form(
                read_fields({name: texts for name, texts in formdata.items() if name not in self.extra_options})
            )
        return {**extra, **asked.to_user_options()}

    @default("options_form")
    def _default_options_form(self) -> Any:
        return lambda spawner: spawner.render_options_form()

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return self.read_options_form

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn our own errors into errors whose sentence JupyterHub shows to the person."""
        try:
            yield
        except MLHubError as error:
            if isinstance(error, OptionsError):
                self.put_back_options(error)
            raise _make_http_error(error) from error

    def __init__(self, **kwargs: Any) -> None:
        """Begin without a chosen image."""
        self._image_settings = ImageSettings()
        self.start_progress = Progress()
        super().__init__(**kwargs)
        self._configured_for_images = {"port": self.port, "notebook_dir": self.notebook_dir, "cmd": self.cmd}
        if self.name and self.user is not None:
            # JupyterHub glues user and server with "-": user "a" with server "b-c" would take over the OAuth client
            # of user "a-b" with server "c". quote() leaves no "!" in either part.
            self.oauth_client_id = f"jupyterhub-user-{quote(self.user.name, safe='')}!{quote(self.name, safe='')}"

    @default("hub_connect_url")
    def _default_hub_connect_url(self) -> str:
        # Docker's DNS answers to the hub's name also after the hub's container was created anew.
        return f"http://{self.hub_name}:{urlparse(self.hub.url).port or 8081}"


def _make_http_error(error: MLHubError) -> SpawnException:
    sentence = str(error)
    exception = SpawnException(sentence, reason=type(error).__name__, status_code=error.status_code)
    # The "not running" page shows this attribute alone.
    exception.jupyterhub_message = sentence
    return exception
