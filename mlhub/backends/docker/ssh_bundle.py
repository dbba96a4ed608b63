"""SSH into workspaces on a Docker engine: the bundle as a volume, and its sshd started in a running
container.

Invariants: nothing is asked of the image, and no path of the host is used. The volume is filled by
the engine itself, when a container of the hub's own image is created with it, and is mounted
read-only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from docker.errors import APIError

from mlhub.backends.background import Once
from mlhub.backends.docker.engine import Engine
from mlhub.backends.readiness import is_listening
from mlhub.errors import BackendError
from mlhub.identity import LABEL_ORIGIN, HostIdentity
from mlhub.ssh.authority import BUNDLE, make_hub_line, make_session_environment
from mlhub.workspaces.port import Address

LABEL_BUNDLE = "mlhub.ssh_bundle"
PRIVSEP_FOLDER = "/run/sshd"
# sshd as root shuts the part that speaks to strangers into an empty folder, and reports terminals
# to the kernel's audit:
# without these two, which are among any container's by default, it ends. Other users' sshd does
# neither.
ROOT_CAPABILITIES = ("AUDIT_WRITE", "SYS_CHROOT")
START_SECONDS = 10.0
LOOK_SECONDS = 0.1
# What `start` ends with on purpose.
_REASONS = {
    73: (
        "Neither /dev/shm nor /tmp nor the home can be written. Mount a temporary file system at"
        " /tmp."
    )
}
log = logging.getLogger(__name__)


class Bundle:
    """The OpenSSH server that this hub's image carries, as a volume of one engine."""

    def __init__(
        self,
        engine: Engine,
        hub_name: str,
        extra_labels: Mapping[str, str],
        find_hub: Callable[[], Awaitable[dict[str, Any] | None]],
        folder: str = BUNDLE,
    ) -> None:
        """``find_hub`` finds the hub's own container, whose image carries the bundle."""
        self.engine, self.hub_name, self.extra_labels = engine, hub_name, dict(extra_labels)
        self._find_hub, self._version = find_hub, Path(folder) / "version"
        self._filled = Once(self._fill)

    async def ensure(self) -> str | None:
        """Make sure of the volume; return its name, or None where this hub carries no bundle or
        runs outside of the engine.
        """
        return await self._filled.get()

    def forget(self) -> None:
        """Look for the volume again at the next start: something is wrong with it."""
        self._filled.forget()

    async def _fill(self) -> str | None:
        hub = await self._find_hub()
        if hub is None or not self._version.is_file():
            return None
        version = self._version.read_text().strip()
        name = f"{self.hub_name}-ssh-{version}"
        labels = {**self.extra_labels, LABEL_ORIGIN: self.hub_name, LABEL_BUNDLE: version}
        await self.engine.call("create_volume", name, labels=labels)
        # The engine copies what the image has there into the volume where that is empty; the
        # container never runs.
        container = await self.engine.call(
            "create_container",
            hub["Image"],
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
        "MLHUB_SSH_RELAY": host.relay,
        "MLHUB_SSH_SETENV": make_session_environment(environment),
    }


async def start_sshd(
    engine: Engine, container_id: str, environment: Mapping[str, str], address: Address
) -> None:
    """Start the bundle's sshd in a running container, as the user that the container runs as, and
    wait until it answers.

    What runs there is in the hands of whoever is inside, so the hub takes nothing of it but its
    exit code: it does not listen to what it prints, and no thread of the hub waits for it. Raises
    ``BackendError`` where sshd does not answer.
    """
    made = await engine.call(
        "exec_create",
        container_id,
        [f"{BUNDLE}/start"],
        environment=dict(environment),
        stdout=False,
        stderr=False,
    )
    await engine.call("exec_start", made["Id"], detach=True)
    deadline = time.monotonic() + START_SECONDS
    while not await is_listening(address):
        code = (await engine.call("exec_inspect", made["Id"])).get("ExitCode")
        if code:
            reason = _REASONS.get(
                code, f"It ended with code {code}; the log of the container says more."
            )
            raise BackendError(f"The workspace's SSH server does not start: {reason}")
        if time.monotonic() > deadline:
            if code is None:
                raise BackendError(
                    f"The workspace's SSH server is still starting after {START_SECONDS:.0f}"
                    " seconds. Connect again in a moment."
                )
            raise BackendError(
                f"The workspace's SSH server does not answer on port {address.port} after"
                f" {START_SECONDS:.0f} seconds; is that port taken inside? Stop and start the"
                " workspace."
            )
        await asyncio.sleep(LOOK_SECONDS)


def runs_as_root(user: Any) -> bool:
    """Return True if a container with this ``user`` runs as root."""
    return str(user or "0").partition(":")[0] in ("0", "root")


def admit_ssh(host: dict[str, Any], bundle: str | None, *, as_root: bool) -> None:
    """Add the bundle, where it is not left to the image's own sshd, to a container's host config,
    and what sshd as root needs.
    """
    if bundle:
        host["binds"] = {**(host.get("binds") or {}), bundle: {"bind": BUNDLE, "mode": "ro"}}
    if as_root:
        host["cap_add"] = [*(host.get("cap_add") or []), *ROOT_CAPABILITIES]
        if bundle:
            host["tmpfs"] = {PRIVSEP_FOLDER: "size=4k,mode=755", **(host.get("tmpfs") or {})}


def has_bundle(container: Mapping[str, Any]) -> bool:
    """Return True if SSH was brought into a container when it was made."""
    return any(mount.get("Destination") == BUNDLE for mount in container.get("Mounts") or [])
