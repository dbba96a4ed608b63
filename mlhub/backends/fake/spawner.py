"""FakeSpawner: a workspace in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from traitlets import default

from mlhub.backends.fake.inventory import FakeBackend
from mlhub.backends.fake.server import Servers
from mlhub.backends.memory import MemorySpawner
from mlhub.backends.ssh import SshEntry
from mlhub.errors import BackendError, WorkspaceError
from mlhub.quantities import MEBIBYTE
from mlhub.texts import Text
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.measures import Use
from mlhub.workspaces.port import Address, ImageInfo


class FakeSpawner(SshEntry, MemorySpawner):
    """Start workspaces in memory."""

    backend_class = FakeBackend
    has_own_address = True  # in memory, where no front leads to its ports
    update_due = False  # the next start takes the newest image

    @property
    def backend(self) -> FakeBackend:
        """The backend that all spawners of this hub share."""
        return FakeBackend.of(self.hub_name)

    @default("image")
    def _default_image(self) -> str:
        return "fake/workspace:1"

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace, and what tests look at."""
        return {**super().get_env(), "FAKE_IMAGE": self.image}

    async def start_workspace(self) -> str:
        """Start a workspace and return its URL."""
        if self.update_due:
            self.backend.updates_due.add(self.identity)
            self.update_due = False
        url = await super().start_workspace()
        if self.image == "fake/slow":
            await asyncio.sleep(1)
        return url

    async def measure_use(self) -> Use | None:
        """Tell of half a core and 256 MB while it runs."""
        if self._find_servers() is None:
            return None
        return Use(time.monotonic() / 2, 256 * MEBIBYTE)

    # SSH

    @property
    def ssh_address(self) -> Address | None:
        """Where the workspace's SSH server answers, by a name as other places give one."""
        servers = self._find_servers()
        if servers is None or not self.ssh_folder:
            return None
        return Address("localhost", servers.ssh_address.port)

    @property
    def made_for(self) -> str:
        """For whom the workspace was made; "" where there is none."""
        record = self.backend.records.get(self.identity)
        return record.labels.get(LABEL_PERSON, "") if record else ""

    def find_sshd_run(self) -> str | None:
        """Find the run of the SSH server by its port, which no other has."""
        address = self.ssh_address
        return str(address.port) if address is not None else None

    async def reach_sshd(self) -> Address | None:
        """Return where the SSH server answers; that of one image does not."""
        servers = self._find_servers()
        if self.image == "fake/mute":
            raise BackendError(Text("The workspace's SSH server does not answer."))
        return servers.ssh_address if servers else None

    async def read_file(self, path: str, size: int) -> str:
        """Read one of the workspace's files."""
        servers = self._find_servers()
        if servers is None or path not in servers.files:
            raise BackendError(Text("There is no file %(path)s in the workspace.", path=path))
        return servers.files[path][:size]

    def _find_servers(self) -> Servers | None:
        running = self.backend.find_running(self.identity)
        return running if isinstance(running, Servers) else None

    # newer images

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote."""
        super().load_state(state)
        self.update_due = bool(state.get("update_due"))

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        return {**super().get_state(), **({"update_due": True} if self.update_due else {})}

    async def find_update(self) -> str | None:
        """Tell that a newer image is in the registry, as it is where one was published."""
        return "registry" if self.backend.is_old(self.identity) else None

    async def begin_update(self) -> None:
        """Have the next start take the newest image."""
        if await self.find_update() is None:
            raise WorkspaceError(
                Text(
                    "This workspace has the newest image already that %(image)s stands for.",
                    image=repr(self.image),
                )
            )
        self.update_due = True

    async def describe_image(self) -> ImageInfo:
        """Describe the image, and tell whether there is a newer one."""
        is_old = await self.find_update() is not None
        return {"reference": self.image, "update_available": is_old}
