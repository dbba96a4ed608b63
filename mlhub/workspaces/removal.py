"""Stop a workspace on somebody's request and wait for it; remove one, the default one as well."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.utils import maybe_future
from tornado import web

from mlhub.texts import Text

STOP_SECONDS = 60.0


async def end_workspace(handler: Any, user: Any, server_name: str) -> None:
    """Stop what runs, and wait until it has. Raises ``web.HTTPError`` with a sentence."""
    spawner = user.spawners[server_name]
    if spawner.pending:
        raise web.HTTPError(
            409,
            Text(
                "The workspace is busy (%(pending)s). Try again when that is done.",
                pending=spawner.pending,
            ),
        )
    if spawner.active and await spawner.poll_and_notify() is None:
        stopping = await handler.stop_single_user(user, server_name)
        await asyncio.wait({stopping}, timeout=STOP_SECONDS)
        if not stopping.done():
            raise web.HTTPError(
                503, Text("The workspace is still stopping. Look again in a minute.")
            )
        stopping.result()


async def remove_workspace(handler: Any, user: Any, server_name: str) -> None:
    """Remove it; its data goes to the trash. Everybody goes on having a default one, a new one.

    Raises ``web.HTTPError`` where the place it ran in does not answer; then it stays.
    """
    spawner = user.spawners[server_name]
    handler.log.info("Deleting %s", spawner._log_name)
    await maybe_future(user._delete_spawner(spawner))
    handler.db.delete(spawner.orm_spawner)
    user.spawners.pop(server_name, None)
    handler.db.commit()
    if not server_name:
        user.get_or_create_spawner(server_name, "")
        handler.db.commit()
