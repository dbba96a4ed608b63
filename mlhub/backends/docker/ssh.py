"""SSH into workspaces on a Docker engine: the bundle as a volume, and its sshd started in a running container.

Promise: nothing is asked of the image, and no path of the host is used. The volume is filled by the engine itself, when a
container of the hub's own image is created with it, and is mounted read-only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.errors import APIError

from mlhub.backends.docker.engine import Engine
from mlhub.errors import BackendError
from mlhub.workspace.identity import LABEL_ORIGIN
from mlhub.workspace.ssh import BUNDLE, HostIdentity, make_hub_line, make_session_environment

LABEL_BUNDLE = "mlhub.ssh_bundle"
PRIVSEP_FOLDER = "/run/sshd"
# sshd as root shuts the part that speaks to strangers into an empty folder, and reports terminals to the kernel's audit:
# without these two, which are among any container's by default, it ends. Other users' sshd does neither.
ROOT_CAPABILITIES = ("AUDIT_WRITE", "SYS_CHROOT")
log = logging.getLogger(__name__)


class Bundle:
    """The OpenSSH server that this hub's image carries, as a volume of one engine."""

    def __init__(self, engine: Engine, hub_name: str, extra_labels: Mapping[str, str], folder: str = BUNDLE) -> None:
        self.engine, self.hub_name, self.extra_labels = engine, hub_name, dict(extra_labels)
        self._version = Path(folder) / "version"
        self._filled: asyncio.Task[str | None] | None = None

    async def ensure(self, image_id: str | None) -> str | None:
        """Make sure of the volume; return its name, or None where this hub carries no bundle or runs outside of the engine."""
        if self._filled is None or (self._filled.done() and (self._filled.cancelled() or self._filled.exception() is not None)):
            self._filled = asyncio.create_task(self._fill(image_id))
        return await asyncio.shield(self._filled)

    def forget(self) -> None:
        """Look for the volume again at the next start: something is wrong with it."""
        self._filled = None

    async def _fill(self, image_id: str | None) -> str | None:
        if image_id is None or not self._version.is_file():
            return None
        version = self._version.read_text().strip()
        name = f"{self.hub_name}-ssh-{version}"
        labels = {**self.extra_labels, LABEL_ORIGIN: self.hub_name, LABEL_BUNDLE: version}
        await self.engine.call("create_volume", name, labels=labels)
        # The engine copies what the image has there into the volume where that is empty; the container never runs.
        container = await self.engine.call(
            "create_container",
            image_id,
            entrypoint=["true"],
            labels=labels,
            host_config={"Binds": [f"{name}:{BUNDLE}"], "NetworkMode": "none"},
        )
        await self.engine.call("remove_container", container["Id"], force=True, v=True)
        await self._remove_others(name)
        return name

    async def _remove_others(self, name: str) -> None:
        """Remove the volumes of former versions that no workspace uses any more."""
        filters = {"label": [f"{LABEL_ORIGIN}={self.hub_name}", LABEL_BUNDLE]}
        for volume in (await self.engine.call("volumes", filters=filters)).get("Volumes") or []:
            if volume["Name"] != name:
                try:
                    await self.engine.call("remove_volume", volume["Name"])
                except APIError as error:
                    if error.status_code not in (404, 409):  # gone, or in use
                        raise


def make_start_environment(host: HostIdentity, environment: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of the bundle's ``start``, from a container's own."""
    return {
        "MLHUB_SSH_KEY": host.key,
        "MLHUB_SSH_CERTIFICATE": host.certificate,
        "MLHUB_SSH_HUB": make_hub_line(environment),
        "MLHUB_SSH_SETENV": make_session_environment(environment),
    }


async def start_sshd(engine: Engine, container_id: str, environment: Mapping[str, str]) -> None:
    """Start the bundle's sshd in a running container, as the user that the container runs as.

    Raises ``BackendError`` with what it said where it does not start.
    """
    made = await engine.call("exec_create", container_id, [f"{BUNDLE}/start"], environment=dict(environment))
    output = await engine.call("exec_start", made["Id"])
    code = (await engine.call("exec_inspect", made["Id"])).get("ExitCode")
    if code:
        said = output.decode(errors="replace").strip()[-500:] or f"code {code}"
        raise BackendError(f"The workspace's SSH server does not start: {said}")


def runs_as_root(user: Any) -> bool:
    """Tell whether a container with this ``user`` runs as root."""
    return str(user or "0").partition(":")[0] in ("0", "root")


def admit_ssh(host: dict[str, Any], bundle: str | None, *, as_root: bool) -> None:
    """Add the bundle, where it is not left to the image's own sshd, to a container's host config, and what sshd as root needs."""
    if bundle:
        host["binds"] = {**(host.get("binds") or {}), bundle: {"bind": BUNDLE, "mode": "ro"}}
    if as_root:
        host["cap_add"] = [*(host.get("cap_add") or []), *ROOT_CAPABILITIES]
        if bundle:
            host["tmpfs"] = {PRIVSEP_FOLDER: "size=4k,mode=755", **(host.get("tmpfs") or {})}
