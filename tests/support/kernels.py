"""A notebook's kernel, spoken to as JupyterLab does.

REST for its life, a WebSocket for its cells.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp

SECONDS = 60


async def start_kernel(session: aiohttp.ClientSession, prefix: str = "") -> str:
    """Start a Python kernel in the workspace under a prefix; return its id."""
    async with session.post(f"{prefix}/api/kernels", json={"name": "python3"}) as response:
        assert response.status == 201, await response.text()
        return str((await response.json())["id"])


def make_request(code: str) -> dict[str, Any]:
    """Make the message that asks a kernel to run code."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": uuid.uuid4().hex,
        "version": "5.3",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }


async def run_cell(session: aiohttp.ClientSession, kernel: str, code: str, prefix: str = "") -> str:
    """Run code in a kernel over a new WebSocket; return what it printed."""
    request = make_request(code)
    printed, is_idle, reply = "", False, None
    async with (
        session.ws_connect(f"{prefix}/api/kernels/{kernel}/channels") as socket,
        asyncio.timeout(SECONDS),
    ):
        await socket.send_str(json.dumps(request))
        while not (is_idle and reply):
            message = await socket.receive_json()
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            kind, said = message["header"]["msg_type"], message["content"]
            printed += said["text"] if kind == "stream" else ""
            is_idle = is_idle or (kind == "status" and said["execution_state"] == "idle")
            reply = said if kind == "execute_reply" else reply
    assert reply["status"] == "ok", reply
    return printed


async def begin_cell(
    session: aiohttp.ClientSession, kernel: str, code: str, prefix: str = ""
) -> None:
    """Have a kernel begin to run code, and leave it alone with that."""
    request = make_request(code)
    async with (
        session.ws_connect(f"{prefix}/api/kernels/{kernel}/channels") as socket,
        asyncio.timeout(SECONDS),
    ):
        await socket.send_str(json.dumps(request))
        while True:
            message = await socket.receive_json()
            is_about_it = message["parent_header"].get("msg_id") == request["header"]["msg_id"]
            if is_about_it and message["content"].get("execution_state") == "busy":
                return
