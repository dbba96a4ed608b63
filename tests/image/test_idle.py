"""A real JupyterLab is asked before it is stopped: what computes or prints with no browser on it is
kept, and what does nothing is not.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.support.hub_container import CONFIG
from tests.support.kernels import begin_cell, start_kernel

HOURS = 3
LOOK = """
from datetime import timedelta
from jupyterhub.handlers.base import BaseHandler
from mlhub.cleanup.idle import SETTING

c.Spawner.image = "mltooling/mlhub-workspace:latest"

class Idle(BaseHandler):
    # These people have used their workspace last some hours ago, as far as the hub knows.
    def check_xsrf_cookie(self):
        return

    async def post(self):
        culler = self.settings[SETTING]
        await culler.app.update_last_activity()
        for name in self.get_argument("names").split(","):
            row = self.find_user(name).spawners[""].orm_spawner
            row.started -= timedelta(hours=HOURS)
            row.last_activity -= timedelta(hours=HOURS)
        self.db.commit()
        await culler.look()
        await culler.finish()

c.JupyterHub.extra_handlers = [(r"/idle", Idle)]
""".replace("HOURS", str(HOURS))


@pytest.fixture(scope="module")
def hub(make_hub):
    return make_hub(CONFIG + LOOK, MLHUB_CULL_ENABLED="true", MLHUB_CULL_TIMEOUT="3600")


async def list_inside(session, name, what):
    """List kernels or terminals of somebody's, as the hub asks for them."""
    async with session.get(f"/user/{name}/api/{what}?no_track_activity=1") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def type_in_terminal(session, name, line):
    """Type a line into a new terminal and leave; return the terminal's name."""
    async with session.post(f"/user/{name}/api/terminals") as answer:
        terminal = (await answer.json())["name"]
    async with session.ws_connect(f"/user/{name}/terminals/websocket/{terminal}") as socket:
        await socket.send_str(json.dumps(["stdin", f"{line}\r"]))
        shown = ""
        while "begun" not in shown:
            kind, *content = await socket.receive_json()
            shown += content[0] if kind == "stdout" else ""
    return terminal


async def test_what_computes_or_prints_alone_is_kept_and_what_does_nothing_is_stopped(hub):
    for name in ("cpu", "term", "none"):
        hub.start_workspace(name)
    async with aiohttp.ClientSession(hub.url, headers=hub.headers) as session:
        kernel = await start_kernel(session, "/user/cpu")
        await begin_cell(session, kernel, "while True: pass", "/user/cpu")
        await start_kernel(session, "/user/none")
        printing = await type_in_terminal(
            session, "term", "echo be''gun; while sleep 0.2; do echo more; done"
        )
        silent = await type_in_terminal(session, "term", "echo be''gun; sleep 1000")

        async def read_times():
            found = await list_inside(session, "term", "terminals")
            return {each["name"]: each["last_activity"] for each in found}

        # Nobody is connected any more: what prints is used on, what is silent is not.
        before = await read_times()
        async with asyncio.timeout(60):
            while (now := await read_times())[printing] == before[printing]:
                await asyncio.sleep(0.1)
        assert now[silent] == before[silent]
        (busy,) = await list_inside(session, "cpu", "kernels")
        assert busy["execution_state"] == "busy"

    status, _, body = hub.request("POST", "/hub/idle?names=cpu,term,none", b"", {})
    assert status == 200, body
    ready = [hub.is_workspace_ready(name) for name in ("cpu", "term", "none")]
    assert ready == [True, True, False], hub.logs()
    logs = hub.logs()
    assert "cpu is used, because a kernel computes" in logs
    assert "term is used, because a terminal writes or is written to" in logs
    assert "none is stopped, because nobody has used it for 1 hour" in logs
