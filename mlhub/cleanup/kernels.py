"""Whether a kernel of a workspace computes. One that prints nothing for hours is no use of which
the hub would hear, so the workspace itself is asked before it is stopped.

Only a Jupyter server is asked, at its own address, with the workspace's own token.

Invariants: to be asked is no use. What a workspace answers takes bounded time and memory. Whatever
is no answer, or none in time, is as good as a workspace without kernels.
"""

from __future__ import annotations

import asyncio
import json
import logging
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
PATH = "api/kernels?no_track_activity=1"
log = logging.getLogger(__name__)


async def has_busy_kernel(spawner: Any) -> bool:
    """Return True if a workspace says that one of its kernels computes."""
    workspace = find_workspace(spawner)
    if workspace is None or workspace.is_web or not spawner.api_token:
        return False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            # What has ended without a word may have left its address to somebody else's.
            url = await workspace.find_url()
            return url is not None and is_one_busy(await _fetch(url, spawner.api_token))
    # Whatever a workspace brings about: it is stopped as one that has no kernels.
    except Exception as error:  # noqa: BLE001
        name = workspace.workspace_name
        log.info("%s does not tell whether it computes: %s", name, type(error).__name__)
        return False


def is_one_busy(answer: bytes) -> bool:
    """Read what a workspace says of its kernels. Raises ``ValueError`` where that is no JSON."""
    kernels = json.loads(answer)
    return isinstance(kernels, list) and any(
        isinstance(each, dict) and each.get("execution_state") == BUSY for each in kernels
    )


async def _fetch(url: str, token: str) -> bytes:
    request = HTTPRequest(
        url_path_join(url, PATH),
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
