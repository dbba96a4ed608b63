"""The part of the Docker spawner that lets people in by SSH: where, with which host identity, and
that its sshd runs.

Invariants: nothing here is on the way from a start to a workspace that answers in the browser.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mlhub.backends.docker.container import pick_host, read_environment
from mlhub.backends.docker.ssh_bundle import has_bundle, make_start_environment, start_sshd
from mlhub.backends.readiness import is_listening
from mlhub.backends.ssh import SshEntry
from mlhub.errors import BackendError, MLHubError
from mlhub.ssh.authority import PORT
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Address

LABEL_SSH_PORT = "mlhub.ssh_port"


class SshEntryMixin(SshEntry):
    """Give a Docker spawner its SSH side; put it before the spawner class."""

    ssh_bundle: str | None = None

    @property
    def ssh_address(self) -> Address | None:
        """Where the bastion reaches this workspace's sshd, or None where it has none."""
        container = self._container or {}
        port = self._read_own_port(container) or (PORT if has_bundle(container) else None)
        if port is None or not self.ssh_folder:
            return None
        if self.backend.networks.hub_id and not self.network_name:
            return Address(
                self.object_name, port
            )  # Docker's DNS knows it, whatever its address is now
        networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
        host = pick_host(networks, self.network_name or self.identity.network)
        return Address(host, port) if host else None

    @property
    def made_for(self) -> str:
        """For whom the container was made; "" where there is none, or an old one."""
        labels = ((self._container or {}).get("Config") or {}).get("Labels") or {}
        return str(labels.get(LABEL_PERSON, ""))

    async def prepare_ssh(self) -> None:
        """Make sure of the bundle's volume before the container is made; without it the workspace
        starts all the same.
        """
        self.ssh_bundle = None
        if not self.wants_bundle:
            return
        try:
            with self.backend.engine.friendly_errors():
                self.ssh_bundle = await self.backend.ssh_bundle.ensure()
        except MLHubError as error:
            self.log.warning("%s starts without SSH: %s", self.object_name, error)

    def open_ssh(self) -> None:
        """Let people in by SSH, in the background: the workspace answers the browser by now."""
        if self.ssh_address is not None:
            self.backend.keep(asyncio.create_task(self.ensure_ssh()))

    def find_sshd_run(self) -> str | None:
        """Find the run of the container into which SSH was brought; an image's own sshd is its own
        affair.
        """
        container = self._container or {}
        if self.ssh_address is None or not has_bundle(container):
            return None
        # A container that is kept has the same id each time that it runs.
        return f"{self.object_id} {container.get('State', {}).get('StartedAt', '')}"

    async def reach_sshd(self) -> Address | None:
        """Reach the workspace's sshd; one that does not run is started."""
        address = self.ssh_address
        if address is None or await is_listening(address):
            return address
        with self.backend.engine.friendly_errors():
            environment = make_start_environment(
                await self.make_host(), read_environment(self._container or {})
            )
            try:
                await start_sshd(self.backend.engine, str(self.object_id), environment, address)
            except BackendError:
                self.backend.ssh_bundle.forget()
                raise
        return address

    async def read_file(self, path: str, size: int) -> str:
        """Read the start of a small file inside the workspace; ``~`` is the container's home.

        The engine reads it, and no program of the workspace's: whatever the file is, this ends.
        """
        home = read_environment(self._container or {}).get("HOME", "/root")
        path = home + path[1:] if path.startswith("~/") else path
        with self.backend.engine.friendly_errors():
            content = await self.backend.engine.call("read_file", str(self.object_id), path, size)
        return bytes(content).decode("utf-8", "replace")

    def make_ssh_labels(self) -> dict[str, str]:
        """Make the label that tells where an image's own sshd listens."""
        port = self._image_settings.ssh_port
        return {LABEL_SSH_PORT: str(port)} if port else {}

    def _read_own_port(self, container: dict[str, Any]) -> int | None:
        port = ((container.get("Config") or {}).get("Labels") or {}).get(LABEL_SSH_PORT, "")
        return int(port) if port.isdecimal() else None
