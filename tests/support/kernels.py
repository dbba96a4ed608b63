"""A notebook's kernel, spoken to as JupyterLab does.

REST for its life, a WebSocket for its cells.
"""

from __future__ import annotations

import asyncio
import json
import uuid

import aiohttp

SECONDS = 60


async def start_kernel(session: aiohttp.ClientSession, prefix: str = "") -> str:
    """Start a Python kernel in the workspace under a prefix; return its id."""
    async with session.post(f"{prefix}/api/kernels", json={"name": "python3"}) as response:
        assert response.status == 201, await response.text()
        return str((await response.json())["id"])


async def run_cell(session: aiohttp.ClientSession, kernel: str, code: str, prefix: str = "") -> str:
    """Run code in a kernel over a new WebSocket; return what it printed."""
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
    request = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }
    printed, is_idle, reply = "", False, None
    async with (
        session.ws_connect(f"{prefix}/api/kernels/{kernel}/channels") as socket,
        asyncio.timeout(SECONDS),
    ):
        await socket.send_str(json.dumps(request))
        while not (is_idle and reply):
            message = await socket.receive_json()
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            kind, said = message["header"]["msg_type"], message["content"]
            printed += said["text"] if kind == "stream" else ""
            is_idle = is_idle or (kind == "status" and said["execution_state"] == "idle")
            reply = said if kind == "execute_reply" else reply
    assert reply["status"] == "ok", reply
    return printed
