"""Wait until a workspace answers HTTP, without the pauses of a back-off.

JupyterHub itself asks with an exponential back-off (up to 5 s between two tries), which wastes
about as much time as the whole start takes. A connection attempt to a container on the same host
costs less than a millisecond, so it may well be made every 25 ms; JupyterHub's own first try then
succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable

from mlhub.texts import Text
from mlhub.workspaces.port import Address

INTERVAL_SECONDS = 0.025
ATTEMPT_SECONDS = 2.0
DEATH_CHECK_SECONDS = 0.5
LISTEN_SECONDS = 5.0
LINE_BYTES = 4096
LAST_WORDS = 4000
_STATUS = re.compile(rb"HTTP/\S+ +(\d{3})\s")


async def answers(host: str, port: int, path: str) -> bool:
    """Return True if an HTTP server answers a GET with anything but a server error (as JupyterHub
    asks).

    No more is read than the first line, nor longer waited than for one attempt, whatever is sent.
    """
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES)
            try:
                writer.write(
                    (
                        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
                    ).encode()
                )
                status_line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError):  # ValueError: a line that is too long
        return False
    found = _STATUS.match(status_line)
    return found is not None and int(found[1]) < 500


async def wait_until_ready(
    host: str, port: int, path: str, timeout_seconds: float, has_died: Callable[[], Awaitable[bool]]
) -> bool:
    """Wait until a workspace answers; return False as soon as it died. Raises ``TimeoutError``."""
    deadline = time.monotonic() + timeout_seconds
    death = asyncio.create_task(_watch_death(has_died))
    try:
        while not death.done():
            if await answers(host, port, path):
                return True
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(INTERVAL_SECONDS)
        death.result()
        return False
    finally:
        death.cancel()


async def _watch_death(has_died: Callable[[], Awaitable[bool]]) -> None:
    while True:
        await asyncio.sleep(DEATH_CHECK_SECONDS)
        if await has_died():
            return


async def is_listening(address: Address, seconds: float = 0.0) -> bool:
    """Return True if something accepts connections there, within a time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(address.host, address.port)
            writer.close()
            return True
        except (OSError, TimeoutError):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.02)


def quote_last_words(said: str) -> str:
    """Tell what a workspace that ended had printed, or what an image is that prints nothing."""
    if said:
        return Text("Its last lines were:\n%(words)s", words=said[-LAST_WORDS:])
    return Text(
        "It printed nothing. An image without JupyterHub's single-user server"
        " (jupyterhub-singleuser) is no workspace: choose another one if this"
        " one has none."
    )
