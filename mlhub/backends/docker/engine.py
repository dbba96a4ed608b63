"""One container engine: calls in threads over connections that stay open, and its errors as
sentences.

Invariants: no call blocks the event loop. Quick calls (16 threads) never queue behind slow ones
(stops, waits: 16 threads of their own), nor these behind pulls (16 more), so one person's pull
holds up nobody's start and stop. No thread waits for a program inside a workspace, and none for
ever: an answer has a length and a time (mlhub/backends/docker/client.py).
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, InvalidVersion, NotFound
from docker.utils import kwargs_from_env, parse_repository_tag

from mlhub.backends.background import Once, await_to_the_end
from mlhub.backends.docker.client import Client
from mlhub.backends.docker.pulls import Listener, Pull
from mlhub.errors import (
    BackendError,
    CapacityError,
    EngineUnreachableError,
    ImageError,
    MLHubError,
    friendly_errors,
)
from mlhub.options.our_images import explain_missing_image
from mlhub.texts import Text

THREADS = 16
# What these do must not come to pass after whoever asked was cancelled and has looked: what was
# made would be found by nobody, and what is removed by its name may be the next one's.
_LASTING_METHODS = frozenset(
    {
        "create_container",
        "create_volume",
        "create_network",
        "start",
        "rename",
        "remove_container",
        "remove_volume",
        "remove_network",
    }
)
# A registry of somebody's own may hand out an image as slowly as it likes.
PULL_SECONDS = 2 * 3600.0
_SLOW_METHODS = frozenset(
    {
        "stop",
        "wait",
        "logs",
        "exec_start",
        "read_file",
        "inspect_distribution",
        "measure_disk",
    }
)
# What is said of a way to the engine that does not work, by the words of the error.
_CURES = {
    r"FileNotFoundError|No such file": (
        "There is no such socket. Start the hub with --volume "
        "/var/run/docker.sock:/var/run/docker.sock."
    ),
    r"PermissionError|Permission denied": (
        "The hub may not open it. Give the hub the group of the socket."
    ),
    r"ConnectionRefused|Connection refused": (
        "Nothing listens there. Start the engine, or correct DOCKER_HOST."
    ),
    r"[Tt]imed? ?out": (
        "It did not answer in time. Look at the engine's log and at the load of its host."
    ),
}


class Engine:
    """Call the Docker API of one engine; ``arguments`` are those of ``docker.APIClient``."""

    def __init__(self, arguments: dict[str, Any] | None = None) -> None:
        self.arguments = {
            "version": "auto",
            "max_pool_size": 3 * THREADS,
            **kwargs_from_env(),
            **(arguments or {}),
        }
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._quick = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self._slow = ThreadPoolExecutor(THREADS, thread_name_prefix="engine-slow")
        self._pulling = ThreadPoolExecutor(THREADS, thread_name_prefix="engine-pull")
        self._pulls: dict[str, Pull] = {}
        self._version = Once(self._ask_version)

    @property
    def address(self) -> str:
        """Address of the engine, for messages."""
        return str(self.arguments.get("base_url") or "unix:///var/run/docker.sock")

    def get_client(self) -> Client:
        """Return the client; the first call connects, so make it in a thread."""
        with self._lock:
            if self._client is None:
                self._client = Client(**self.arguments)
            return self._client

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client in a thread. Raises what docker-py raises; see
        ``friendly_errors``.
        """
        pool = self._slow if method in _SLOW_METHODS else self._quick
        call = asyncio.get_running_loop().run_in_executor(
            pool, lambda: getattr(self.get_client(), method)(*args, **kwargs)
        )
        return await (await_to_the_end(call) if method in _LASTING_METHODS else call)

    async def find(self, method: str, *args: Any) -> Any | None:
        """Call an inspect method and return None where the object does not exist."""
        try:
            return await self.call(method, *args)
        except NotFound:
            return None

    def friendly_errors(self) -> AbstractContextManager[None]:
        """Turn the engine's errors into ours."""
        kinds = (DockerException, requests.RequestException)
        return friendly_errors(lambda error: make_error(error, self.address), kinds)

    async def pull(self, image: str, listener: Listener | None = None) -> None:
        """Pull an image once, however many ask for it at the same time; each listener is told
        percent and message.
        """
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
            deadline = time.monotonic() + PULL_SECONDS
            for event in self.get_client().pull(
                repository, tag or "latest", stream=True, decode=True
            ):
                if "error" in event:
                    raise ImageError(
                        f"The image {image!r} cannot be pulled: {event['error'].rstrip('.')}. "
                        + explain_missing_image(image)
                    )
                if time.monotonic() > deadline:
                    raise ImageError(
                        f"The image {image!r} did not arrive within {PULL_SECONDS / 3600:.0f} "
                        "hours. Choose another registry."
                    )
                loop.call_soon_threadsafe(pull.feed, event)

        try:
            await loop.run_in_executor(self._pulling, follow)
        except APIError as error:
            if is_full(error):
                raise
            raise ImageError(
                f"The image {image!r} cannot be pulled: {_explain(error)}. "
                + explain_missing_image(image)
            ) from error
        pull.finish()

    async def read_version(self) -> dict[str, Any]:
        """Return what the engine says about itself, asked once."""
        return await self._version.get()

    async def _ask_version(self) -> dict[str, Any]:
        return dict(await self.call("version"))

    async def has_init(self) -> bool:
        """Return True if the engine can put a small init process into containers."""
        version = await self.read_version()
        return "docker-init" in {
            str(component.get("Name", "")).lower() for component in version.get("Components") or []
        }

    def close(self) -> None:
        """Close threads and connections."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        self._pulling.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


def is_full(error: Exception) -> bool:
    """Return True if the engine ran out of disk."""
    return (
        "no space left on device" in str(error).lower()
        or "disk quota exceeded" in str(error).lower()
    )


def is_transient(error: Exception) -> bool:
    """Return True if an error says nothing about the object asked for: no answer, or the engine's
    own trouble.
    """
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
            Text(
                "The Docker host has no disk space left. Ask your administrator to"
                " free some (`docker system df` shows what takes it)."
            )
        )
    if isinstance(error, ImageNotFound):
        return ImageError(
            f"The image is missing on the Docker host: {_explain(error)}. Ask your administrator "
            "to pull it."
        )
    if isinstance(error, InvalidVersion) or ("client version" in text and "too" in text):
        return EngineUnreachableError(
            f"The Docker engine at {address} is too old: {text}. Docker 20.10 or newer is needed."
        )
    if isinstance(error, APIError):
        return _make_refusal(error)
    for pattern, cure in _CURES.items():
        if re.search(pattern, text):
            return EngineUnreachableError(
                f"The Docker engine at {address} cannot be reached. {cure}"
            )
    return EngineUnreachableError(
        f"The Docker engine at {address} cannot be reached ({text[:300]}). Check DOCKER_HOST and "
        "the engine."
    )


def _make_refusal(error: APIError) -> MLHubError:
    text = _explain(error)
    if re.search(r"could not find an available.*address pool|no available network", text):
        return CapacityError(
            f"The Docker host has no addresses left for networks ({text}). Give the hub a larger "
            "MLHUB_NETWORK_POOL."
        )
    if "could not select device driver" in text:
        return CapacityError(
            f"The Docker host cannot give GPUs to containers ({text}). Install the NVIDIA "
            "container toolkit there, or start without GPUs."
        )
    if re.search(r"cannot allocate memory|not enough memory", text, re.IGNORECASE):
        return CapacityError(
            Text("The Docker host has too little memory for this workspace (%(text)s).", text=text)
        )
    if re.search(
        r"executable file not found|exec format error|OCI runtime create failed.*exec", text
    ):
        return ImageError(
            f"The image does not start: {text[:500]}. Set its command in image_settings, or choose "
            "another image."
        )
    return BackendError(f"The Docker engine refused: {text[:500]}.")


def _explain(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).strip().rstrip(".")


def seconds(timestamp: str | None) -> float:
    """Return the seconds since the epoch of a timestamp of the engine.

    It carries nanoseconds or no fraction.
    """
    try:
        return datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return 0.0
