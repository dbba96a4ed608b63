"""One container engine: calls in threads over connections that stay open, and its errors as sentences.

Promise: no call blocks the event loop. Quick calls (16 threads) never queue behind slow ones
(pulls, stops, waits: 16 threads of their own), so one person's pull holds up nobody's start.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import requests
from docker.api.client import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, InvalidVersion, NotFound
from docker.utils import kwargs_from_env, parse_repository_tag

from mlhub.backends.docker.pulls import Listener, Pull
from mlhub.errors import BackendError, CapacityError, EngineUnreachableError, ImageError, MLHubError

THREADS = 16
_SLOW_METHODS = frozenset({"pull", "stop", "wait", "logs", "exec_start", "inspect_distribution"})


class Engine:
    """Call the Docker API of one engine; ``arguments`` are those of ``docker.APIClient``."""

    def __init__(self, arguments: dict[str, Any] | None = None) -> None:
        self.arguments = {"version": "auto", "max_pool_size": 2 * THREADS, **kwargs_from_env(), **(arguments or {})}
        self._client: APIClient | None = None
        self._lock = threading.Lock()
        self._quick = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self._slow = ThreadPoolExecutor(THREADS, thread_name_prefix="engine-slow")
        self._pulls: dict[str, Pull] = {}
        self._version: dict[str, Any] | None = None

    @property
    def address(self) -> str:
        """Address of the engine, for messages."""
        return str(self.arguments.get("base_url") or "unix:///var/run/docker.sock")

    def get_client(self) -> APIClient:
        """Return the client; the first call connects, so make it in a thread."""
        with self._lock:
            if self._client is None:
                self._client = APIClient(**self.arguments)
            return self._client

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client in a thread. Raises what docker-py raises; see ``sentences``."""
        pool = self._slow if method in _SLOW_METHODS else self._quick
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: getattr(self.get_client(), method)(*args, **kwargs))

    async def find(self, method: str, *args: Any) -> Any | None:
        """Call an inspect method and return None where the object does not exist."""
        try:
            return await self.call(method, *args)
        except NotFound:
            return None

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn the engine's errors into ours."""
        try:
            yield
        except (DockerException, requests.RequestException) as error:
            raise make_error(error, self.address) from error

    async def pull(self, image: str, listener: Listener | None = None) -> None:
        """Pull an image once, however many ask for it at the same time; each listener is told percent and message."""
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = Pull(image)
            pull.task = asyncio.create_task(self._pull(pull))
            pull.task.add_done_callback(lambda _: self._pulls.pop(image, None))
        if listener:
            pull.listen(listener)
        assert pull.task is not None
        # One person who gives up must not stop the pull for the others.
        await asyncio.shield(pull.task)

    async def _pull(self, pull: Pull) -> None:
        loop, image = asyncio.get_running_loop(), pull.state.image
        repository, tag = parse_repository_tag(image)

        def follow() -> None:
            for event in self.get_client().pull(repository, tag or "latest", stream=True, decode=True):
                if "error" in event:
                    raise ImageError(
                        f"The image {image!r} can not be pulled: {event['error'].rstrip('.')}. Check its name and the registry's access."
                    )
                loop.call_soon_threadsafe(pull.feed, event)

        try:
            await loop.run_in_executor(self._slow, follow)
        except APIError as error:
            if is_full(error):
                raise
            raise ImageError(
                f"The image {image!r} can not be pulled: {_explain(error)}. Check its name and the registry's access."
            ) from error
        pull.finish()

    async def read_version(self) -> dict[str, Any]:
        """Return what the engine says about itself, asked once."""
        if self._version is None:
            self._version = dict(await self.call("version"))
        return self._version

    async def has_init(self) -> bool:
        """Tell whether the engine can put a small init process into containers."""
        version = await self.read_version()
        return "docker-init" in {str(component.get("Name", "")).lower() for component in version.get("Components") or []}

    def close(self) -> None:
        """Close threads and connections."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


def is_full(error: Exception) -> bool:
    """Tell whether the engine ran out of disk."""
    return "no space left on device" in str(error).lower() or "disk quota exceeded" in str(error).lower()


def is_hiccup(error: Exception) -> bool:
    """Tell whether an error says nothing about the object asked for: no answer, or the engine's own trouble."""
    if isinstance(error, NotFound):
        return False
    if isinstance(error, APIError):
        return bool(error.is_server_error())
    return isinstance(error, (DockerException, requests.RequestException, EngineUnreachableError))


def make_error(error: Exception, address: str) -> MLHubError:
    """Make a sentence of an error of the engine or of the way to it."""
    text = str(error)
    if is_full(error):
        return CapacityError(
            "The Docker host has no disk space left. Ask your administrator to free some (`docker system df` shows what takes it)."
        )
    if isinstance(error, ImageNotFound):
        return ImageError(f"The image is missing on the Docker host: {_explain(error)}. Ask your administrator to pull it.")
    if isinstance(error, InvalidVersion) or ("client version" in text and "too" in text):
        return EngineUnreachableError(f"The Docker engine at {address} is too old: {text}. Docker 20.10 or newer is needed.")
    if isinstance(error, APIError):
        return _make_refusal(error)
    cures = {
        r"FileNotFoundError|No such file": "There is no such socket. Start the hub with --volume /var/run/docker.sock:/var/run/docker.sock.",
        r"PermissionError|Permission denied": "The hub may not open it. Give the hub the group of the socket.",
        r"ConnectionRefused|Connection refused": "Nothing listens there. Start the engine, or correct DOCKER_HOST.",
        r"[Tt]imed? ?out": "It did not answer in time. Look at the engine's log and at the load of its host.",
    }
    for pattern, cure in cures.items():
        if re.search(pattern, text):
            return EngineUnreachableError(f"The Docker engine at {address} can not be reached. {cure}")
    return EngineUnreachableError(f"The Docker engine at {address} can not be reached ({text[:300]}). Check DOCKER_HOST and the engine.")


def _make_refusal(error: APIError) -> MLHubError:
    text = _explain(error)
    if re.search(r"could not find an available.*address pool|no available network", text):
        return CapacityError(f"The Docker host has no addresses left for networks ({text}). Give the hub a larger MLHUB_NETWORK_POOL.")
    if "could not select device driver" in text:
        return CapacityError(
            f"The Docker host can not give GPUs to containers ({text}). Install the NVIDIA container toolkit there, or start without GPUs."
        )
    if re.search(r"cannot allocate memory|not enough memory", text, re.IGNORECASE):
        return CapacityError(f"The Docker host has too little memory for this workspace ({text}).")
    if re.search(r"executable file not found|exec format error|OCI runtime create failed.*exec", text):
        return ImageError(f"The image does not start: {text[:500]}. Set its command in image_settings, or choose another image.")
    return BackendError(f"The Docker engine refused: {text[:500]}.")


def _explain(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).strip().rstrip(".")
