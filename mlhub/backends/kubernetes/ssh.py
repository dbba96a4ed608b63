"""The part of the Kubernetes spawner that lets people in by SSH.

Invariants: the hub runs nothing inside pods; it needs no right to. A pod is made with all that its
sshd needs.
"""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.spec import Sshd
from mlhub.backends.readiness import LISTEN_SECONDS, is_listening
from mlhub.backends.ssh import SshEntry
from mlhub.errors import BackendError
from mlhub.ssh.authority import BUNDLE, PORT
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Address

# A workspace that has just started fetches its SSH server once it listens itself, or ten seconds
# later.
ARRIVAL_SECONDS = 20.0


class KubernetesSshEntry(SshEntry):
    """Give the Kubernetes spawner its SSH side; put it before the spawner class."""

    @property
    def ssh_address(self) -> Address | None:
        """Where the bastion reaches this workspace's sshd, or None where it has none."""
        pod = self.find_known_pod()
        port = pods.read_port(pod, "ssh") if pod is not None else None
        return Address(self.pod_name, port) if port and self.ssh_folder else None

    @property
    def made_for(self) -> str:
        """For whom the pod was made; "" where there is none, or an old one."""
        pod = self.find_known_pod()
        labels = (pod["metadata"].get("labels") or {}) if pod is not None else {}
        return str(labels.get(LABEL_PERSON, ""))

    def find_sshd_run(self) -> str | None:
        """Find the uid of the pod in which sshd runs."""
        pod = self.find_known_pod()
        return None if pod is None or self.ssh_address is None else str(pod["metadata"]["uid"])

    async def reach_sshd(self) -> Address | None:
        """Reach the workspace's sshd, which its own startup probe starts, at the pod's own address.

        Each pod has a new Service of the old name, and for up to half a minute DNS may tell the
        address of the one before, which nothing answers.
        """
        pod, named = self.find_known_pod(), self.ssh_address
        if pod is None or named is None:
            return None
        address = Address(pods.read_ip(pod) or named.host, named.port)
        patience = LISTEN_SECONDS if pods.has_arrived(pod) else ARRIVAL_SECONDS
        if not await is_listening(address, patience):
            if trouble := self.find_ssh_trouble():
                raise BackendError(
                    "The workspace could not fetch its SSH server and tries again in growing"
                    f" pauses: {trouble}"
                )
            raise BackendError(
                f"The workspace's SSH server does not answer on port {address.port}. "
                "Start the workspace again; its log and its pod's events say why it does not run."
            )
        return address

    def find_ssh_trouble(self) -> str:
        """Tell what the workspace said of its last try to fetch the SSH server; nothing where it
        has it by now.
        """
        pod = self.find_known_pod()
        return "" if pod is None or pods.has_arrived(pod) else self.ssh_trouble

    async def read_file(self, path: str, size: int) -> str:
        """Refuse: the hub has no right to run anything inside pods."""
        raise BackendError(
            f"The hub cannot read {path} inside a pod. Have the image serve its key at /publickey."
        )

    async def choose_sshd(self, pod: Any) -> Sshd | None:
        """Choose the sshd of a pod that is about to be made, None where it gets none."""
        if self.brings_sshd:
            return Sshd(self._image_settings.ssh_port)
        if self.wants_bundle and pod.spec.containers[0].startup_probe is None:
            return Sshd(PORT, *await asyncio.to_thread(_read_commands))
        if self.wants_bundle:
            self.log.warning(
                "%s gets no SSH: the site gives it a startup probe, which is what would start the"
                " SSH server.",
                self.pod_name,
            )
        return None


@cache
def _read_commands() -> tuple[str, str]:
    return (Path(BUNDLE) / "fetch.py").read_text(), (Path(BUNDLE) / "keys").read_text()
