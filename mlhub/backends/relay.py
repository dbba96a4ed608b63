"""Ask the relay in a workspace (mlhub/ssh/relay.py)."""

from __future__ import annotations

import asyncio
import contextlib

from mlhub.workspaces.port import Address

ANSWER_SECONDS = 5.0
LONGEST_ANSWER = 64 * 1024


async def ask(relay: Address, message: bytes) -> bytes:
    """Send a message to a relay, and return its answer; b"" where there is no relay."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(relay.host, relay.port)
            try:
                writer.write(message)
                writer.write_eof()
                return await reader.readexactly(LONGEST_ANSWER)
            except asyncio.IncompleteReadError as answer:
                return answer.partial
            finally:
                writer.close()
    return b""
