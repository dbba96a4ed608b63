"""The part of the Kubernetes spawner that lets people in by SSH.

Promise: the hub runs nothing inside pods; it needs no right to. A pod is made with all that its sshd needs.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from pathlib import Path
from typing import Any

from mlhub.backends.base import Address
from mlhub.backends.entry import SshEntry
from mlhub.backends.kubernetes import objects, pods
from mlhub.backends.readiness import LISTEN_SECONDS, is_listening
from mlhub.errors import BackendError
from mlhub.workspace.ssh import BUNDLE

TRUSTED_SECONDS = 30.0
# A workspace that has just started fetches its SSH server once it listens itself, or ten seconds later.
ARRIVAL_SECONDS = 20.0


class KubernetesSshEntry(SshEntry):
    """Give the Kubernetes spawner its SSH side; put it before the spawner class."""

    _ssh_seen: tuple[str, float] = ("", 0.0)

    @property
    def ssh_address(self) -> Address | None:
        """Where the bastion reaches this workspace's sshd, or None where it has none."""
        pod = self.find_known_pod()
        port = pods.read_port(pod, "ssh") if pod is not None else None
        return Address(self.pod_name, port) if port and self.ssh_folder else None

    async def ensure_ssh(self) -> None:
        """Make sure that the workspace's sshd answers. Raises ``BackendError`` with a sentence where it does not."""
        pod, address = self.find_known_pod(), self.ssh_address
        if pod is None or address is None:
            return
        uid = pod["metadata"]["uid"]
        if self._ssh_seen[0] == uid and time.monotonic() - self._ssh_seen[1] < TRUSTED_SECONDS:
            return
        patience = LISTEN_SECONDS if pods.has_arrived(pod) else ARRIVAL_SECONDS
        if not await is_listening(Address(pods.read_ip(pod) or address.host, address.port), patience):
            raise BackendError(
                f"The workspace's SSH server does not answer on port {address.port}. Start the workspace again; its log and its pod's events say why it does not run."
            )
        self._ssh_seen = (uid, time.monotonic())

    async def read_file(self, path: str, size: int) -> str:
        """Refuse: the hub has no right to run anything inside pods."""
        raise BackendError(f"The hub can not read {path} inside a pod. Have the image serve its key at /publickey.")

    async def admit_ssh(self, pod: Any) -> None:
        """Bring SSH into a pod that is about to be made, or name the port of the image's own."""
        if self.brings_sshd:
            objects.add_port(pod, "ssh", self._image_settings.ssh_port)
        elif self.wants_bundle and pod.spec.containers[0].startup_probe is not None:
            self.log.warning("%s gets no SSH: the site gives it a startup probe, which is what would start the SSH server.", self.pod_name)
        elif self.wants_bundle:
            objects.admit_ssh(pod, *await asyncio.to_thread(_read_commands))


@cache
def _read_commands() -> tuple[str, str]:
    return (Path(BUNDLE) / "fetch.py").read_text(), (Path(BUNDLE) / "keys").read_text()
