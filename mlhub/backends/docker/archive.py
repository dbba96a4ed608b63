"""Volumes of one engine as streams, by way of a container that never runs: no program of any image
has a part in it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from docker.errors import APIError, NotFound

from mlhub.backends.docker.client import PIECE_BYTES, Client
from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.hub_container import find_own_container
from mlhub.backends.volume_archive import KeptVolume
from mlhub.errors import BackendError, NameTakenError
from mlhub.identity import LABEL_ORIGIN
from mlhub.settings import Settings

PLACE = "/volume"  # where the container has it, and how all members begin
MADE_BY = "mlhub.made_by"
# An engine says nothing while it writes what it was sent to a slow disk.
ANSWER_SECONDS = 600


class DockerVolumeArchive:
    """Read and write the volumes of one hub."""

    def __init__(self, settings: Settings, image: str = "") -> None:
        self._hub_name = settings.hub_name
        self._engine = Engine({"timeout": ANSWER_SECONDS})
        self._image = image  # of the containers; else that of our own one

    def list_volumes(self) -> list[KeptVolume]:
        with self._engine.friendly_errors():
            answer = self._client.volumes(filters={"label": [f"{LABEL_ORIGIN}={self._hub_name}"]})
        found = answer.get("Volumes") or []
        return sorted(
            (KeptVolume(each["Name"], each.get("Labels") or {}) for each in found),
            key=lambda volume: volume.name,
        )

    @contextmanager
    def read(self, name: str) -> Iterator[Iterator[bytes]]:
        with self._engine.friendly_errors(), self._mounted(name) as container, self._still(name):
            content, _ = self._client.get_archive(container, PLACE, chunk_size=PIECE_BYTES)
            yield self._stream(content)

    def _stream(self, content: Iterable[bytes]) -> Iterator[bytes]:
        with self._engine.friendly_errors():
            yield from content

    def create(self, volume: KeptVolume) -> None:
        with self._engine.friendly_errors():
            with suppress(NotFound):
                self._client.inspect_volume(volume.name)
                raise NameTakenError(
                    f"There is a volume {volume.name!r} on this engine, and what is in it stays."
                    " Restore to an engine without it, or remove it first."
                )
            self._client.create_volume(volume.name, labels=dict(volume.labels))

    def write(self, name: str, content: Iterable[bytes]) -> None:
        with self._engine.friendly_errors(), self._mounted(name) as container:
            self._client.put_archive(container, "/", content)

    def remove(self, name: str) -> None:
        with self._engine.friendly_errors(), suppress(NotFound):
            self._client.remove_volume(name)

    @property
    def _client(self) -> Client:
        return self._engine.get_client()

    @contextmanager
    def _mounted(self, name: str) -> Iterator[str]:
        """Have a container with a volume; one that is gone stays gone."""
        own = f"{self._hub_name}-backup-{secrets.token_hex(4)}"
        # An engine makes a volume that it does not know, with these labels and under that name.
        options = {"Labels": {MADE_BY: own}}
        mount = {"Type": "volume", "Source": name, "Target": PLACE, "VolumeOptions": options}
        made = self._client.create_container(
            self._find_image(),
            command=["true"],
            entrypoint=[],
            name=own,
            host_config=self._client.create_host_config(mounts=[mount], network_mode="none"),
        )
        is_anew = False
        try:
            labels = self._client.inspect_volume(name).get("Labels") or {}
            if is_anew := labels.get(MADE_BY) == own:
                raise BackendError(f"There is no volume {name!r} any more.")
            yield made["Id"]
        finally:
            self._client.remove_container(made["Id"], force=True)
            if is_anew:
                self._client.remove_volume(name)

    @contextmanager
    def _still(self, name: str) -> Iterator[None]:
        """Pause what writes to a volume, so that its files belong together."""
        held = []
        try:
            for entry in self._client.containers(filters={"volume": name, "status": "running"}):
                with suppress(NotFound, APIError):  # it has ended meanwhile
                    self._client.pause(entry["Id"])
                    held.append(entry["Id"])
            yield
        finally:
            for container in held:
                with suppress(NotFound, APIError):
                    self._client.unpause(container)

    def _find_image(self) -> str:
        if not self._image:
            self._image = asyncio.run(self._ask_own_image())
        return self._image

    async def _ask_own_image(self) -> str:
        container: dict[str, Any] | None = await find_own_container(self._engine)
        if container is None:
            raise BackendError(
                "This is no container of the engine that it speaks to. Run it in the hub's own"
                " container: docker exec <hub> mlhub backup --volumes."
            )
        return str(container["Image"])
