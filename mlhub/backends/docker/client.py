"""docker-py's client, with an end to what it reads: much of what an engine answers was written by
those inside workspaces.
"""

from __future__ import annotations

import io
import tarfile
from typing import Any

import requests
from docker.api.client import APIClient
from docker.utils import version_gte

from mlhub.errors import BackendError

# All containers of some ten thousand people are listed in less.
ANSWER_BYTES = 64 * 2**20
PIECE_BYTES = 2**16
# An engine says nothing of a pull that goes on more slowly than half a megabyte in this time.
SILENCE_SECONDS = 600.0
# In front of a file's content: its own block, and what long names and extended attributes need.
HEADER_BYTES = 8 * 2**10


class Client(APIClient):
    """Call an engine; no answer is longer than ``ANSWER_BYTES``, nor waited for longer than the
    client's timeout allows.
    """

    def send(self, request: requests.PreparedRequest, **named: Any) -> requests.Response:
        """Send a request; what docker-py would read as a whole is read as far as the limit."""
        is_stream = named.pop("stream", False)
        if named.get("timeout") is None:  # how docker-py follows a pull
            named["timeout"] = SILENCE_SECONDS
        response = super().send(request, stream=True, **named)
        if not is_stream:
            # What `requests` itself does, but for the limit.
            response._content = _read(response, ANSWER_BYTES)
        return response

    def join_network(self, container: str, network: str, aliases: list[str]) -> None:
        """Connect a container to one more network, which does not become its gateway.

        An engine that knows priorities of gateways (28, API 1.48) is told so, whatever the names;
        older ones go by the name (``Identity.network``).
        """
        endpoint = self.create_endpoint_config(aliases=aliases)
        if version_gte(self._version, "1.48"):
            endpoint["GwPriority"] = -1  # without one it is 0
        data = {"Container": container, "EndpointConfig": endpoint}
        response = self._post_json(self._url("/networks/{0}/connect", network), data=data)
        self._raise_for_status(response)

    def measure_disk(self) -> dict[str, Any]:
        """Return what volumes and containers take. The engine looks through all their files for
        it.
        """
        kinds = {"type": ["container", "volume"], "verbose": "1"}
        params = kinds if version_gte(self._version, "1.42") else {}
        response = self._get(self._url("/system/df"), params=params, timeout=SILENCE_SECONDS)
        taken: dict[str, Any] = self._result(response, json=True)
        return taken

    def read_file(self, container: str, path: str, size: int) -> bytes:
        """Return the first bytes of a file inside a container, running or not; no program in there
        has a part in it.
        """
        url = self._url("/containers/{0}/archive", container)
        response = self._get(
            url, params={"path": path}, stream=True, headers={"Accept-Encoding": "identity"}
        )
        try:
            self._raise_for_status(response)
            archive = response.raw.read(HEADER_BYTES + size)
        finally:
            response.close()
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
                member = opened.next()
                file = opened.extractfile(member) if member is not None and member.isreg() else None
                if member is not None and file is not None:
                    return file.read(min(size, member.size))
        except tarfile.TarError as error:
            raise BackendError(f"{path} cannot be read in that workspace: {error}.") from error
        raise BackendError(f"{path} is no plain file in that workspace.")


def _read(response: requests.Response, limit: int) -> bytes:
    content = bytearray()
    for piece in response.iter_content(PIECE_BYTES):
        content += piece
        if len(content) > limit:
            response.close()
            raise requests.RequestException(f"it answers with more than {limit // 2**20} MiB")
    return bytes(content)
