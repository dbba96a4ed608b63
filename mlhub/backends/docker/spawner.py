"""MLHubDockerSpawner: a workspace as a container, with its own volume, in its user's own network.

Invariants: no Docker call runs on the event loop; starting a workspace takes as few round trips to
the engine as it can; what carries another identity's labels is never adopted, mounted, routed to or
removed.

The container is kept when the workspace stops and started again while nothing that makes it up has
changed; else it is created anew on the same volume. It keeps its image until its owner asks for the
newer one.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from docker.errors import DockerException

from mlhub.backends.adoption import NOT_ALLOWED, Replace, judge
from mlhub.backends.docker.container import LABEL_PORT, read_address
from mlhub.backends.docker.guard import check_networks
from mlhub.backends.docker.held import read_held
from mlhub.backends.docker.hosts import read_host
from mlhub.backends.docker.names import check_template
from mlhub.backends.docker.offered import find_variants, note_images
from mlhub.backends.docker.original_spawner import OriginalMixin
from mlhub.backends.docker.post_start import run_inside
from mlhub.backends.docker.prepull import keep_pulling
from mlhub.backends.docker.seccomp import find_profile
from mlhub.backends.docker.spec import (
    ContainerSpec,
    Mounts,
    Place,
    Probe,
    Wanted,
    make_spec,
)
from mlhub.backends.docker.ssh import SshEntryMixin
from mlhub.backends.docker.start import Start
from mlhub.errors import NameTakenError
from mlhub.options.option import Host
from mlhub.workspaces.belief import read_belief
from mlhub.workspaces.port import Address
from mlhub.workspaces.tokens import keep_server_token

# What no list of containers tells is looked at so often.
INSPECT_SECONDS = 30.0


class MLHubDockerSpawner(SshEntryMixin, OriginalMixin):
    """Start workspaces as containers of a Docker engine."""

    has_own_address = True
    _container: dict[str, Any] | None = None  # as the engine described it last
    _inspected_at = 0.0

    def make_labels(self) -> dict[str, str]:
        """Make the container's labels."""
        return {**super().make_labels(), LABEL_PORT: str(self.port), **self.make_ssh_labels()}

    # start

    async def prepare_hub(self) -> None:
        """Check what the site says about names, and find the hub's own place on the engine."""
        await super().prepare_hub()
        if self.name_template:
            check_template(self.name_template)
        await asyncio.to_thread(note_images, self.make_defaults())
        check_networks(self.workspace_egress, self.network_name, self.extra_host_config)
        if self.image_pull_interval_seconds:
            pulling = keep_pulling(
                self.backend.engine, self.list_catalogue, self.image_pull_interval_seconds
            )
            self.backend.keep(asyncio.create_task(pulling))
        with self.backend.engine.friendly_errors():
            self.backend.variants = await find_variants(self.backend.engine, self.default_image)
            await self.backend.prepare()
        self.backend.keep(asyncio.create_task(self.prepare_ssh()))

    async def start_workspace(self) -> str:
        """Start the container, made anew where it has to be, and return its URL once it answers."""
        backend = self.backend
        with backend.engine.friendly_errors():
            await backend.prepare()
            await backend.finish_deletion(self.identity)
            await self.refuse_a_second()
        async with backend.networks.hold(self.identity):
            address = await self._start()
        self.open_ssh()
        return f"http://{address.host}:{address.port}"

    async def _start(self) -> Address:
        start = self._make_start()
        with self.backend.engine.friendly_errors():
            found = await start.find()
        if self.adopts_only and not (found and found["State"]["Running"]):
            raise self.make_adoption_error("does not run")
        try:
            spec = await self._prepare_place()
            # Where an update was cut off, the newer container is here and is tried.
            is_update = (
                not self.adopts_only and self.take_update_mark() and not start.previous.is_there
            )
            kept = None
            if found and found["State"]["Running"] and not is_update:
                kept = await self._adopt(found, spec)
            running = await start.run(kept or spec, adopts=kept is not None, is_update=is_update)
        finally:
            self.object_id = start.container_id
        self._container = dict(running.container)
        if running.has_previous:
            self.backend.keep(asyncio.create_task(start.previous.remove()))
        return running.address

    async def _prepare_place(self) -> ContainerSpec:
        if self.original:
            return await self.make_spec(None)
        with self.backend.engine.friendly_errors():
            volume, *_ = await asyncio.gather(
                self.ensure_volume(), self.ensure_network(), self.prepare_ssh()
            )
            return await self.make_spec(volume)

    async def _adopt(self, found: dict[str, Any], spec: ContainerSpec) -> ContainerSpec | None:
        """Go on with a container that runs, as far as what it holds may be had now; return what it
        is to be then, None where it has to be made anew.
        """
        asked = self.decision.env if self.decision and not self.adopts_only else {}
        verdict = judge(self.read_told(found), asked, spec.environment)
        if not isinstance(verdict, Replace):
            if self.take_over(read_held(found, spec.wanted.site_host or {})):
                self.tell_of_files(found)
                return await self.make_spec(spec.place.volume)
            verdict = Replace(NOT_ALLOWED)
        if self.adopts_only:
            raise self.make_adoption_error(f"runs {verdict.reason}")
        self.log.warning("%s runs %s, and is created anew.", self.object_name, verdict.reason)
        return None

    def _make_start(self) -> Start:
        return Start(
            self.container,
            None if self.network_name or self.original else self.backend.networks,
            self.workspace_image.ensure,
            stop_seconds=self.stop_seconds,
            may_restart=not self.adopts_only,
            report=self.report,
            after_start=self.run_post_start_cmd,
            keep_token=lambda token: keep_server_token(self, token),
            log=self.log,
        )

    async def run_post_start_cmd(self, container_id: str) -> None:
        """Run the site's command in a container that was started just now, to its end."""
        if self.post_start_cmd:
            await run_inside(self.backend.engine, container_id, self.post_start_cmd, self.log)

    async def make_spec(self, volume: str | None) -> ContainerSpec:
        """Make the spec of the container, with everything as the site, its hooks and the decision
        have it now.
        """
        probe = Probe(self.find_ready_path(), self.http_timeout)
        wanted = Wanted(
            name=self.object_name,
            image=self.image,
            network=self.network_name or self.backend.networks.name(self.identity),
            former_network="" if self.network_name else self.identity.former_network,
            port=self.port,
            environment=self.get_env(),
            labels=self.make_labels(),
            mounts=self.make_mounts(),
            command=list(self.cmd or []),
            options=self.get_args(),
            links=self.links,
            site_create=await self.read_site(self.extra_create_kwargs),
            site_host=await self.read_site(self.extra_host_config),
            decision=self.decision,
            cpu_limit=self.cpu_limit,
            mem_limit=self.mem_limit,
            mem_guarantee=self.mem_guarantee,
            use_init=self.use_init,
            wants_ssh=self.wants_bundle,
            brings_sshd=self.brings_sshd,
            # Else JupyterHub itself asks, with the certificates that it has.
            probe=None if self.internal_ssl else probe,
            is_kept=not self.remove,
        )
        engine = self.backend.engine
        has_init = self.use_init and await engine.has_init()
        seccomp = await find_profile(engine, self.backend.host) if self.own_seccomp else None
        place = Place(self.image_info, volume, self.ssh_bundle, has_init, seccomp)
        return make_spec(wanted, place)

    def make_mounts(self) -> Mounts:
        """Make what the site mounts."""
        return Mounts(self.mount_point, self.volume_binds, self.mount_binds)

    def report(self, percent: float, message: str) -> None:
        """Tell whoever watches the start how far it has come."""
        self.start_progress.report(percent, message)

    async def read_host(self) -> Host:
        """Tell what the Docker host has."""
        with self.backend.engine.friendly_errors():
            host = await read_host(self.backend.host, self.host_gpus)
            free, taken = await self.backend.read_free_disk(), self.site.disk.taken
        if free is None or taken is None:
            return host
        return replace(host, disk_bytes=free + taken)

    # what the hub asks while it runs

    async def poll(self) -> int | None:
        """Return None while the container runs, else its exit code; an engine that does not tell
        proves nothing.
        """
        try:
            await self.backend.prepare()
            if await self._is_as_before():
                return None
            self._container = found = await self.inspect()
            self._inspected_at = time.monotonic()
        except NameTakenError as error:
            self.log.warning("%s", error)
            return 0
        except (OSError, DockerException) as error:  # docker-py's and requests' errors
            # Also a refusal: JupyterHub stops at its start whatever it could not ask about.
            self.log.warning(
                "Whether %s runs is unknown, the engine does not tell: %s",
                self.object_name,
                error,
            )
            return None if self.object_id else 0
        if found is None:
            self.object_id = ""
            return 0
        return None if found["State"]["Running"] else int(found["State"].get("ExitCode") or 0)

    async def _is_as_before(self) -> bool:
        """Return True if the container was described lately, and nothing of that has changed."""
        is_recent = time.monotonic() - self._inspected_at < INSPECT_SECONDS
        found = self._container if is_recent else None
        return found is not None and await self.backend.states.confirm(found)

    @property
    def belief_seconds(self) -> float:
        """For how long the workspace may believe what the hub said about somebody, as its container
        was told.
        """
        return read_belief((self._container or {}).get("Config", {}).get("Cmd") or [])

    async def find_url(self) -> str | None:
        """Return where the workspace answers now: its address may change whenever its container
        starts.
        """
        if self._container is None:
            with self.backend.engine.friendly_errors():
                self._container = await self.inspect()
        if not (self._container or {}).get("State", {}).get("Running"):
            return None
        address = self.read_address(self._container)
        return self.make_url(f"http://{address.host}:{address.port}")

    async def stop_workspace(self, now: bool) -> None:
        """Stop the container and keep it: politely, then, after the deadline, by force."""
        self._inspected_at = 0.0
        with self.backend.engine.friendly_errors():
            await self.container.end(0 if now else self.stop_seconds)
            if self.remove:
                await self.container.remove()
                self.object_id = ""
        self.clear_state()
        self.backend.release_network(self.identity)

    async def delete_forever(self) -> None:
        """Remove the container; the data goes to the trash, from where only cleanup removes it."""
        await super().delete_forever()
        self.object_id = ""

    async def ensure_network(self) -> str:
        """Make sure of the network, and return its name."""
        return self.network_name or await self.backend.networks.ensure(self.identity)

    async def ensure_volume(self) -> str | None:
        """Make sure of the volume and return its name; None where the site mounts its own, or none
        is wanted.
        """
        wants_none = self.decision is not None and not self.decision.is_mount_volume
        if wants_none or self.make_mounts().takes_mount_point:
            return None
        return await self.backend.volumes.ensure(self.identity, self.holder, self.extra_labels)

    def read_address(self, container: dict[str, Any] | None) -> Address:
        """Read where the workspace answers, from the engine's description of its container."""
        return read_address(container, self.network_name or self.identity.network, self.port)
