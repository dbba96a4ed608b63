"""Start a stopped workspace for somebody who connects to it, as that person and through the hub's
own REST API.

So every check, limit and option is the one of the browser, and so is the progress that the person
sees.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from mlhub.errors import WorkspaceError

START_SECONDS = 1800.0
ANSWER_SECONDS = 60.0
TOKEN_NOTE = "SSH: start a workspace and wait for it"  # noqa: S105 - a note

Say = Callable[[str], Awaitable[None]]


async def start_workspace(
    api_url: str, person: Any, server: str, say: Say, note: str = TOKEN_NOTE
) -> None:
    """Start a person's own workspace and wait until it is ready; ``say`` gets each new line of its
    progress, and the person's list of tokens shows ``note`` meanwhile.

    Raises ``WorkspaceError`` with the hub's own sentence where it does not start.
    """
    token = person.new_api_token(note=note, expires_in=int(START_SECONDS), scopes=["servers!user"])
    try:
        call = _Call(
            f"{api_url.rstrip('/')}/users/{quote(person.name, safe='@~')}",
            {"Authorization": f"token {token}"},
        )
        path = f"servers/{quote(server, safe='@~')}" if server else "server"
        await call.start(path)
        await call.follow(f"{path}/progress", say)
    finally:
        if found := orm.APIToken.find(person.db, token):
            person.db.delete(found)
            person.db.commit()


class _Call:
    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers = url, headers
        self.client = AsyncHTTPClient()

    async def start(self, path: str) -> None:
        """Ask the hub to start; one that is being started already is no error."""
        try:
            await self.client.fetch(
                HTTPRequest(
                    f"{self.url}/{path}",
                    method="POST",
                    body=b"",
                    headers=self.headers,
                    request_timeout=ANSWER_SECONDS,
                )
            )
        except HTTPClientError as error:
            sentence = _read_sentence(error)
            if error.code != 400 or "pending" not in sentence:
                raise WorkspaceError(sentence) from error
        except OSError as error:
            raise WorkspaceError("The hub is about to start. Connect again in a moment.") from error

    async def follow(self, path: str, say: Say) -> None:
        """Hand on the progress until the workspace is ready."""
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        rest = b""

        def take(chunk: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    events.put_nowait(json.loads(line[5:]))

        request = HTTPRequest(
            f"{self.url}/{path}",
            headers=self.headers,
            request_timeout=START_SECONDS,
            streaming_callback=take,
        )
        fetching = asyncio.ensure_future(self.client.fetch(request, raise_error=False))
        fetching.add_done_callback(lambda _: events.put_nowait(None))
        said = ""
        while event := await events.get():
            message = str(event.get("message", ""))
            if event.get("ready"):
                return
            if event.get("failed"):
                raise WorkspaceError(message or "The workspace did not start.")
            if message and message != said:
                said = message
                await say(message)
        raise WorkspaceError(
            "The hub stopped telling about the start. Look at your workspaces in the browser."
        )


def _read_sentence(error: HTTPClientError) -> str:
    try:
        body = json.loads(error.response.body) if error.response else {}
        return str(body.get("message") or error)
    except ValueError:
        return str(error)
