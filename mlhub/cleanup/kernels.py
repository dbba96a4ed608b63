"""What kernels and terminals of a workspace do while nobody is connected: one that prints nothing
for hours, or writes where nobody looks, is no use of which the hub would hear. So the workspace
itself is asked before it is stopped.

Only a Jupyter server is asked, at its own address, with the workspace's own token.

Invariants: to be asked is no use. What a workspace answers takes bounded time and memory. Whatever
is no answer, or none in time, is as good as a workspace without kernels and terminals.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub.utils import url_path_join
from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from mlhub.workspaces.spawner import find_workspace

# Long: what computes with all that it has answers slowly.
ANSWER_SECONDS = 20.0
ANSWER_BYTES = 256 * 1024  # about a thousand kernels
BUSY = "busy"
# Jupyter counts what asks with this word as no use.
KERNELS, TERMINALS = (f"api/{what}?no_track_activity=1" for what in ("kernels", "terminals"))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Use:
    """When a workspace was used by what runs in it; ``how`` is the end of a sentence."""

    at: datetime
    how: str
    is_going_on: bool


async def find_use(spawner: Any) -> Use | None:
    """Return what a workspace says of use by its kernels and terminals, None where there is none or
    it does not say.
    """
    workspace = find_workspace(spawner)
    if workspace is None or workspace.is_web or not spawner.api_token:
        return None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            # What has ended without a word may have left its address to somebody else's.
            url = await workspace.find_url()
            if url is None:
                return None
            if is_one_busy(await _fetch(url_path_join(url, KERNELS), spawner.api_token)):
                return Use(datetime.now(UTC), "a kernel computes", True)
            at = find_latest(await _fetch(url_path_join(url, TERMINALS), spawner.api_token))
            return Use(at, "a terminal writes or is written to", False) if at else None
    # Whatever a workspace brings about: it is stopped as one that has neither.
    except Exception as error:  # noqa: BLE001
        name = workspace.workspace_name
        log.info("%s does not tell whether it computes: %s", name, type(error).__name__)
        return None


def is_one_busy(answer: bytes) -> bool:
    """Read what a workspace says of its kernels. Raises ``ValueError`` where that is no JSON."""
    return any(each.get("execution_state") == BUSY for each in _read_list(answer))


def find_latest(answer: bytes) -> datetime | None:
    """Return when a terminal of a workspace was last written or read, by what it says of them; its
    clock may be ahead. Raises ``ValueError`` where that is no JSON.
    """
    times, now = [], datetime.now(UTC)
    for each in _read_list(answer):
        with suppress(ValueError, TypeError, OverflowError):
            at = datetime.fromisoformat(each.get("last_activity", ""))
            times.append(min((at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC), now))
    return max(times, default=None)


def _read_list(answer: bytes) -> list[dict[str, Any]]:
    found = json.loads(answer)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


async def _fetch(url: str, token: str) -> bytes:
    request = HTTPRequest(
        url,
        headers={"Authorization": f"token {token}"},
        connect_timeout=ANSWER_SECONDS,
        request_timeout=ANSWER_SECONDS,
        follow_redirects=False,
        decompress_response=False,
    )
    # This client alone, whatever else the hub's is: it reads no more than it may keep.
    client = SimpleAsyncHTTPClient(force_instance=True, max_buffer_size=ANSWER_BYTES)
    try:
        return (await client.fetch(request)).body
    finally:
        client.close()
