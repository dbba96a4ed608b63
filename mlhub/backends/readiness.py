"""Wait until a workspace answers HTTP, without the pauses of a back-off.

JupyterHub itself asks with an exponential back-off (up to 5 s between two tries), which wastes about
as much time as the whole start takes. A connection attempt to a container on the same host costs
less than a millisecond, so it may well be made every 25 ms; JupyterHub's own first try then succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from mlhub.backends.base import Address

INTERVAL_SECONDS = 0.025
ATTEMPT_SECONDS = 2.0
DEATH_CHECK_SECONDS = 0.5
LISTEN_SECONDS = 5.0


async def answers(host: str, port: int, path: str) -> bool:
    """Tell whether an HTTP server answers a GET with anything but a server error (as JupyterHub asks)."""
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                status_line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    parts = status_line.split()
    return len(parts) > 1 and parts[0].startswith(b"HTTP/") and parts[1].isdigit() and int(parts[1]) < 500


async def wait_until_ready(host: str, port: int, path: str, timeout_seconds: float, has_died: Callable[[], Awaitable[bool]]) -> bool:
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
    """Tell whether something accepts connections there, within a time."""
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
