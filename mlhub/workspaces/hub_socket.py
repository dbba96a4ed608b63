"""How a command asks the hub that runs in its container: a unix socket that only the hub's account
and root may open. One line of JSON asks, one answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mlhub.errors import BackendError, MLHubError

LINE_BYTES = 2**16
ANSWER_SECONDS = 3600.0
Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def open_socket(path: Path, answer: Answer) -> asyncio.Server:
    """Listen; an error of ours is answered as its sentence."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            asked = json.loads(await reader.readline())
            try:
                told = await answer(asked)
            except MLHubError as error:
                told = {"error": str(error)}
            writer.write(json.dumps(told).encode() + b"\n")
            await writer.drain()

    return await asyncio.start_unix_server(serve, sock=_bind(path), limit=LINE_BYTES)


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))  # its directory is the hub's alone
    path.chmod(0o600)
    return listener


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Ask the hub from another process.

    Raises ``BackendError`` where it does not answer, or with why it did nothing.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer: dict[str, Any] = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise BackendError(
            f"The hub does not answer at {path} ({error}). Run the command in the hub's container,"
            " while the hub runs."
        ) from error
    if "error" in answer:
        raise BackendError(answer["error"])
    return answer
