"""The part of a spawner that is the same wherever workspaces run.

Invariants: nothing a site configured is ever changed in place. What we add to environment, labels,
volumes and host config lies *under* the configured values and is put together anew at each start,
because traitlets shares the result of ``c.Spawner.environment.update(...)`` between all users.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from jupyterhub.utils import maybe_future
from traitlets import Dict, Int, List, Unicode, default

from mlhub.errors import WorkspaceError
from mlhub.identity import Identity
from mlhub.options.images import DEFAULT_MOUNT_POINT
from mlhub.policy.disk import DiskUse
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.texts import Text
from mlhub.workspaces.addresses import AddressMixin
from mlhub.workspaces.belief import UNKNOWN_BELIEF_SECONDS
from mlhub.workspaces.deletions import complete_deletion, forget_deletion, note_deletion
from mlhub.workspaces.due_stops import forget_stop, stop_now_or_later
from mlhub.workspaces.holder import LABEL_PERSON, Holder
from mlhub.workspaces.image import ImageMixin
from mlhub.workspaces.options_form import OptionsForm
from mlhub.workspaces.port import Backend, Reason, SshAccess, WorkspaceSpawner
from mlhub.workspaces.progress import Progress
from mlhub.workspaces.start import make_http_error
from mlhub.workspaces.tokens import revoke_server_tokens


class WorkspaceSpawnerMixin(AddressMixin, ImageMixin, OptionsForm):
    """Make a JupyterHub spawner start workspaces of this product.

    Put it before the spawner class.
    """

    hub_name = Unicode(
        "mlhub",
        config=True,
        help=(
            "Name of the hub: part of every object's name, and the host name under which "
            "workspaces reach it."
        ),
    )
    workspace_images = List(
        Unicode(), config=True, help="Images that people may choose from. Empty: only `image`."
    )
    default_port = Int(
        8080,
        min=1,
        max=65535,
        config=True,
        help="Port of images of which nobody says another one: what DEFAULT_WORKSPACE_PORT says.",
    )
    extra_labels = Dict(
        Unicode(), config=True, help="Further labels for every object of a workspace."
    )

    _holder: Holder | None = None
    _configured_for_images: dict[str, Any]
    _site_says: dict[str, Any]

    # what the hub calls, in this order

    async def apply_group_overrides(self) -> None:
        """Lay the site's group overrides over its defaults, and refuse options before the site's
        hooks see them.
        """
        self.start_progress = Progress()
        with self.friendly_errors():
            self.refuse_leaving()
            await self.begin_attempt()
            self.check_before_hooks()

    async def run_pre_spawn_hook(self) -> None:
        """Run the site's hook, decide what the workspace gets, and prepare what may take longer
        than start_timeout.
        """
        with self.friendly_errors():
            await maybe_future(super().run_pre_spawn_hook())
            self.reserve()
            self.apply_image_settings()
            if not self.adopts_only:
                await self.prepare_workspace()

    async def start(self) -> Any:
        """Decide once more, start the workspace, and remember the options as the last accepted
        ones.
        """
        with self.friendly_errors():
            self.refuse_leaving()
            self.reserve()
            await complete_deletion(self.user.db, self.backend, self.identity)
            if self.adopts_only and not await self._runs():
                raise self.make_adoption_error("does not run any more")
            await forget_stop(self)
            url = await self.start_workspace()
        self.accept()
        return url

    async def stop(self, now: bool = False) -> None:
        """Stop the workspace, unless this is JupyterHub cleaning up after a refusal, or after it
        could not go on with what runs.
        """
        if self.adopts_only or (self.attempt is not None and self.attempt.is_refused):
            return
        with self.friendly_errors():
            await stop_now_or_later(self, now)

    async def run_post_stop_hook(self) -> None:
        """Count the workspace no longer; JupyterHub calls this after every stop and every start
        that failed.
        """
        self.release()
        revoke_server_tokens(self.user.db, self.orm_spawner)
        self.user.db.commit()
        try:
            await maybe_future(super().run_post_stop_hook())
        finally:
            self._reset_traits()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield how far the start has come."""
        async for event in self.start_progress.watch():
            yield event

    async def rename(self, old_name: str, new_name: str) -> None:
        """Refuse to rename a server: its name is part of the name and labels of its data."""
        raise make_http_error(
            WorkspaceError(
                f"The server {old_name!r} cannot be renamed, its data carries that name. Change "
                f"its display name, or start a server {new_name!r}."
            )
        )

    async def _runs(self) -> bool:
        found = await self.backend.list_workspaces(self.user.name)
        return any(each.is_running for each in found if each.identity == self.identity)

    def make_adoption_error(self, reason: str) -> WorkspaceError:
        """Make the error about a workspace that cannot go on as it is."""
        return WorkspaceError(
            f"{self.workspace_name} {reason}, so it is left alone until somebody starts it."
        )

    def refuse_leaving(self) -> None:
        """Refuse to start anything for somebody who is being deleted."""
        if getattr(self.user, "is_leaving", False):
            name = repr(self.user.name)
            raise WorkspaceError(
                Text("%(name)s is being deleted, so nothing is started for them.", name=name)
            )

    # what a backend implements

    @property
    def backend(self) -> Backend:
        """The place where this hub's workspaces run; all spawners of the hub share it."""
        raise NotImplementedError

    @property
    def ssh(self) -> SshAccess | None:
        """How people enter the workspace by SSH; None where nobody does."""
        return None

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

    async def delete_forever(self) -> None:
        """Remove the workspace; its data goes to the trash, from where only cleanup removes it."""
        note_deletion(self.user.db, self.identity, Reason.DELETED, time.time())
        self.user.db.commit()
        with self.friendly_errors():
            await self.backend.delete_workspace(self.identity)
        forget_deletion(self.user.db, self.identity)

    @property
    def belief_seconds(self) -> float:
        """For how long the workspace may believe what the hub said about somebody."""
        return UNKNOWN_BELIEF_SECONDS

    # what both need

    @property
    def identity(self) -> Identity:
        """Identity of this workspace."""
        return Identity(self.hub_name, self.user.name, self.name)

    @property
    def holder(self) -> Holder:
        """Who holds the name of this workspace's owner: what their data is told by."""
        if self._holder is None:
            self._holder = Holder.of(self.user)
        return self._holder

    def find_disk_use(self) -> DiskUse | None:
        """Tell what the owner's files take of the disk, as measured last; None is not known."""
        if self.site.disk.taken is None:
            return None
        return self.site.disk.find(self.user.name, self.holder.label)

    @property
    def mount_point(self) -> str:
        """Directory inside the workspace that its volume holds."""
        directory = (
            self.notebook_dir
            if self.notebook_dir.startswith("/") and "{" not in self.notebook_dir
            else ""
        )
        return self._image_settings.mount_point or directory or DEFAULT_MOUNT_POINT

    @property
    def workspace_name(self) -> str:
        """Name of the container or pod."""
        return self.identity.container

    def list_images(self) -> list[str]:
        """List the images that the site's configuration names, the default one first."""
        return list(dict.fromkeys([self.default_image, *self.workspace_images]))

    def make_labels(self) -> dict[str, str]:
        """Make the labels of the workspace's own objects; nothing a site adds can hide ours."""
        expires = {LABEL_EXPIRES: str(self.expires_at)} if self.expires_at is not None else {}
        return {
            **self.extra_labels,
            **expires,
            LABEL_PERSON: self.holder.label,
            **self.identity.labels,
        }

    def make_environment(self) -> dict[str, str]:
        """Make the variables of the original that images know; the person's own win over them."""
        environment = {"SHUTDOWN_INACTIVE_KERNELS": "true"}
        if self.cpu_limit:
            environment["MAX_NUM_THREADS"] = str(max(1, int(self.cpu_limit)))
        return environment

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace: the hub's facts cover the person's choice, that
        covers the site's defaults.
        """
        facts = super().get_env()
        asked = dict(self.decision.env) if self.decision else {}
        chosen = {
            name: value
            for name, value in asked.items()
            if name in self.environment or name not in facts
        }
        ours = {"SSH_JUMPHOST_TARGET": self.workspace_name, "AUTHENTICATE_VIA_JUPYTER": "true"}
        return {**self.make_environment(), **ours, **facts, **chosen}

    def __init__(self, **kwargs: Any) -> None:
        """Begin without a start."""
        self.start_progress = Progress()
        super().__init__(**kwargs)
        if self.name and self.user is not None:
            # JupyterHub glues user and server with "-": user "a" with server "b-c" would take over
            # the OAuth client of user "a-b" with server "c". quote() leaves no "!" in either part.
            self.oauth_client_id = (
                f"jupyterhub-user-{quote(self.user.name, safe='')}!{quote(self.name, safe='')}"
            )

    @default("port")
    def _default_port(self) -> int:
        return self.default_port

    @default("hub_connect_url")
    def _default_hub_connect_url(self) -> str:
        # Docker's DNS answers to the hub's name also after the hub's container was created anew.
        return f"http://{self.hub_name}:{self.config.JupyterHub.get('hub_port', 8081)}"


def find_workspace(spawner: Any) -> WorkspaceSpawner | None:
    """Return a spawner as what may be asked of it; None for one of a site's own class."""
    return spawner if isinstance(spawner, WorkspaceSpawnerMixin) else None


def make_nobodys(app: Any) -> WorkspaceSpawner | None:
    """Make a hub's spawner that belongs to nobody, for questions about the place; None for a class
    of a site's own, which may not be made without a user.
    """
    is_ours = issubclass(app.spawner_class, WorkspaceSpawnerMixin)
    return find_workspace(app.spawner_class(parent=app)) if is_ours else None
