"""The part of the Docker spawner that lets people in by SSH: where, with which host identity, and that its sshd runs.

Promise: nothing here is on the way from a start to a workspace that answers in the browser.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mlhub.backends.base import Address
from mlhub.backends.docker.container import pick_host, read_environment
from mlhub.backends.docker.ssh import make_start_environment, start_sshd
from mlhub.backends.entry import SshEntry
from mlhub.backends.readiness import LISTEN_SECONDS, is_listening
from mlhub.errors import BackendError, MLHubError
from mlhub.workspace.ssh import BUNDLE, PORT

LABEL_SSH_PORT = "mlhub.ssh_port"
# An sshd that answered so recently is not looked at again at each login.
TRUSTED_SECONDS = 30.0


class SshEntryMixin(SshEntry):
    """Give a Docker spawner its SSH side; put it before the spawner class."""

    ssh_bundle: str | None = None
    _ssh_seen: tuple[str, float] = ("", 0.0)
    _ssh_lock: asyncio.Lock | None = None

    @property
    def ssh_address(self) -> Address | None:
        """Where the bastion reaches this workspace's sshd, or None where it has none."""
        container = self._container or {}
        port = self._read_own_port(container) or (PORT if has_bundle(container) else None)
        if port is None or not self.ssh_folder:
            return None
        if self.backend.networks.hub_id and not self.network_name:
            return Address(self.object_name, port)  # Docker's DNS knows it, whatever its address is now
        networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
        host = pick_host(networks, self.network_name or self.identity.network)
        return Address(host, port) if host else None

    async def prepare_ssh(self) -> None:
        """Make sure of the bundle's volume before the container is made; without it the workspace starts all the same."""
        self.ssh_bundle = None
        if not self.wants_bundle:
            return
        try:
            with self.backend.engine.sentences():
                own = await self.backend.find_self()
                self.ssh_bundle = await self.backend.ssh_bundle.ensure(own["Image"] if own else None)
        except MLHubError as error:
            self.log.warning("%s starts without SSH: %s", self.object_name, error)

    def open_ssh(self) -> None:
        """Let people in by SSH, in the background: the workspace answers the browser by now."""
        if self.ssh_address is not None:
            self.backend.keep(asyncio.create_task(self.ensure_ssh()))

    async def ensure_ssh(self) -> None:
        """Make sure that the workspace's sshd answers. Raises ``BackendError`` with a sentence where it does not."""
        address = self.ssh_address
        if address is None or not has_bundle(self._container or {}):
            return
        if self._ssh_seen[0] == self.object_id and time.monotonic() - self._ssh_seen[1] < TRUSTED_SECONDS:
            return
        self._ssh_lock = self._ssh_lock or asyncio.Lock()
        async with self._ssh_lock:
            if not await is_listening(address):
                await self._start_sshd(address)
            self._ssh_seen = (self.object_id, time.monotonic())

    async def _start_sshd(self, address: Address) -> None:
        with self.backend.engine.sentences():
            environment = make_start_environment(await self.make_host(), read_environment(self._container or {}))
            try:
                await start_sshd(self.backend.engine, str(self.object_id), environment)
            except BackendError:
                self.backend.ssh_bundle.forget()
                raise
        if not await is_listening(address, LISTEN_SECONDS):
            raise BackendError(f"The workspace's SSH server does not answer on port {address.port}. Is that port taken inside?")

    async def read_file(self, path: str, size: int) -> str:
        """Read the start of a small file inside the workspace; ``~`` is the container's home."""
        home = read_environment(self._container or {}).get("HOME", "/root")
        path = home + path[1:] if path.startswith("~/") else path
        with self.backend.engine.sentences():
            made = await self.backend.engine.call("exec_create", str(self.object_id), ["cat", path], stderr=False)
            output = await self.backend.engine.call("exec_start", made["Id"])
        return bytes(output[:size]).decode("utf-8", "replace")

    def make_ssh_labels(self) -> dict[str, str]:
        """Make the label that tells where an image's own sshd listens."""
        port = self._image_settings.ssh_port
        return {LABEL_SSH_PORT: str(port)} if port else {}

    def _read_own_port(self, container: dict[str, Any]) -> int | None:
        port = ((container.get("Config") or {}).get("Labels") or {}).get(LABEL_SSH_PORT, "")
        return int(port) if port.isdecimal() else None


def has_bundle(container: dict[str, Any]) -> bool:
    """Tell whether SSH was brought into a container when it was made."""
    return any(mount.get("Destination") == BUNDLE for mount in container.get("Mounts") or [])
