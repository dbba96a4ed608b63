"""A person leaves: everything of theirs is stopped, then the account goes, and the data moves to
the trash; or nothing goes.

Invariants: while something of theirs may still run, or the place where workspaces run does not
answer, nobody is removed, and whoever asked gets a sentence. A start that arrives meanwhile is
refused, so nothing comes up behind our back.

The account goes before the data moves: by then nothing runs, and data that a failing engine keeps
back is nobody else's (``mlhub/workspaces/holder.py``), while data in the trash of somebody who
stays would be missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jupyterhub.utils import AnyTimeoutError, exponential_backoff, maybe_future
from tornado import web

from mlhub.errors import MLHubError, friendly_errors
from mlhub.identity import Identity
from mlhub.texts import Text, explain
from mlhub.workspaces.deletions import forget_deletion, note_deletion
from mlhub.workspaces.port import Backend, Kind, Reason, Workspace
from mlhub.workspaces.spawner import find_workspace

STOP_SECONDS = 60.0  # longer than a place needs to end by force what does not end by itself
END_START_SECONDS = 30.0


async def remove_person(handler: Any, user: Any) -> None:
    """Remove a person for good; ``handler`` is whatever handler of the hub was asked to.

    Raises ``web.HTTPError``; then the account, its keys, tokens and data are there as before.
    """
    if getattr(user, "is_leaving", False):
        raise web.HTTPError(
            409,
            Text(
                "%(name)s is being deleted already. Look again in a moment.", name=repr(user.name)
            ),
        )
    backend = _find_backend(user)
    user.is_leaving = True  # starts are refused from now on, on this object for ever
    try:
        identities = await _stop_everything(handler, user)
        await maybe_future(handler.authenticator.delete_user(user))
        if backend is None:  # a spawner class of the site's own
            await user.delete_spawners()
    except BaseException:
        user.is_leaving = False
        raise
    for identity in identities:  # with the account, or not at all
        note_deletion(handler.db, identity, Reason.PERSON_DELETED, time.time())
    handler.users.delete(user)
    if backend is not None:
        await _move_to_trash(handler, backend, identities)


async def end_start(handler: Any, user: Any, server_name: str) -> None:
    """End a start that is under way, and wait until it has left nothing that runs.

    Raises ``web.HTTPError`` where it does not end in time. JupyterHub itself waits for one second
    and hopes.
    """
    spawner = user.spawners[server_name]
    if spawner.pending != "spawn":
        return
    handler.log.warning("The start of %s is ended.", spawner._log_name)
    if start := spawner._spawn_future:
        # A start that was cancelled leaves what JupyterHub takes for a server that is ready, and it
        # would send whoever watches there. A stop follows, so that is said from now on.
        is_ours = not spawner._stop_pending
        spawner._stop_pending = True
        start.cancel()
        await asyncio.wait({start}, timeout=END_START_SECONDS)
        if is_ours and (start.done() or spawner._spawn_pending):
            spawner._stop_pending = False
    else:
        await _wait_until(lambda: spawner.pending != "spawn", END_START_SECONDS)
    if spawner.pending == "spawn":
        raise web.HTTPError(
            503,
            Text(
                "%(workspace)s is starting and cannot be stopped just now. Nothing was"
                " deleted. Try again in a minute.",
                workspace=spawner._log_name,
            ),
        )
    if user.spawners.get(server_name) is spawner and not spawner.pending:
        await _stop(handler, user, server_name)


async def _stop_everything(handler: Any, user: Any) -> list[Identity]:
    """Stop all that a person has, and return what there is to be moved to the trash."""
    with friendly_errors(lambda error: _refuse(user, explain(error))):
        await _list_running(
            user
        )  # first: where nobody can tell what runs, nothing is stopped either
    stopped = list(user.spawners)
    await asyncio.gather(*(_stop_server(handler, user, name) for name in stopped))
    with friendly_errors(lambda error: _refuse(user, explain(error))):
        running = await _list_running(user)
        if stuck := [
            workspace.name for workspace in running if workspace.identity.server in stopped
        ]:
            raise _refuse(user, Text("%(stuck)s does not stop.", stuck=", ".join(stuck)))
        if running:
            await _remove_strays(user, {workspace.name for workspace in running})
        identities = await _list_identities(user)
    # A start that came in meanwhile is refused, and counts as active until it has been told.
    await _wait_until(lambda: not _find_busy(user), END_START_SECONDS)
    if busy := _find_busy(user):
        raise _refuse(user, f"{busy[0]} is busy.")
    return identities


def _find_busy(user: Any) -> list[str]:
    return [spawner._log_name for spawner in user.spawners.values() if spawner.active]


async def _move_to_trash(handler: Any, backend: Backend, identities: list[Identity]) -> None:
    for identity in identities:
        try:
            await backend.delete_workspace(identity, Reason.PERSON_DELETED)
            forget_deletion(handler.db, identity)
        except MLHubError as error:  # the backend goes on trying
            handler.log.warning(
                "%r is deleted; the data of %s is not in the trash yet: %s",
                identity.user,
                identity.container,
                error,
            )


async def _remove_strays(user: Any, names: set[str]) -> None:
    """Remove what runs under a person's name although the hub's database does not know of it."""
    backend = _find_backend(user)
    if backend is None:
        return
    for resource in await backend.list_resources(user.name):
        if resource.kind is Kind.WORKSPACE and resource.name in names:
            await backend.remove(resource)
    if left := await _list_running(user):
        raise _refuse(user, Text("%(name)s does not stop.", name=left[0].name))


async def _stop_server(handler: Any, user: Any, server_name: str) -> None:
    """Stop one server, whatever it is doing."""
    await end_start(handler, user, server_name)
    spawner = user.spawners.get(server_name)
    if spawner is not None and spawner.pending:
        await _wait_until(lambda: not spawner.pending, STOP_SECONDS)
    if spawner is not None and spawner.active:
        await _stop(handler, user, server_name)
    if spawner is not None and _find_backend(user) is None and await spawner.poll() is None:
        raise _refuse(user, Text("%(workspace)s does not stop.", workspace=spawner._log_name))


async def _stop(handler: Any, user: Any, server_name: str) -> None:
    spawner = user.spawners[server_name]
    if spawner.pending:
        raise _refuse(
            user,
            Text(
                "%(workspace)s is busy (%(pending)s).",
                workspace=spawner._log_name,
                pending=spawner.pending,
            ),
        )
    stopping = await handler.stop_single_user(user, server_name)
    await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not stopping.done():
        raise _refuse(user, Text("%(workspace)s is still stopping.", workspace=spawner._log_name))


def _find_backend(user: Any) -> Backend | None:
    """Return the place where somebody's workspaces run; None with a spawner class of the site's."""
    workspace = find_workspace(user.spawner)
    return workspace.backend if workspace is not None else None


async def _list_running(user: Any) -> list[Workspace]:
    backend = _find_backend(user)
    found = await backend.list_workspaces(user.name) if backend else []
    return [workspace for workspace in found if workspace.is_running]


async def _list_identities(user: Any) -> list[Identity]:
    """List the workspaces that a person has anything of, known to the hub's database or not."""
    workspace = find_workspace(user.spawner)
    if workspace is None:
        return []
    found = [
        resource
        for resource in await workspace.backend.list_resources(user.name)
        if resource.trashed_at is None
    ]
    servers = {*user.orm_spawners, *(resource.server or "" for resource in found)}
    return [Identity(workspace.identity.hub, user.name, server) for server in sorted(servers)]


async def _wait_until(is_done: Callable[[], bool], seconds: float) -> None:
    with suppress(AnyTimeoutError):
        await exponential_backoff(is_done, "", start_wait=0.05, max_wait=0.5, timeout=seconds)


def _refuse(user: Any, reason: str) -> web.HTTPError:
    return web.HTTPError(
        503,
        Text(
            "%(name)s is not deleted, and nothing of theirs is: %(reason)s Try again in a minute.",
            name=repr(user.name),
            reason=reason,
        ),
    )
