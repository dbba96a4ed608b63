"""Remove one thing that should go, after a last look at what the hub knows at this moment.

Invariants: whoever came back meanwhile, or had more time granted, or starts something, keeps what
they have. Data goes to the trash. While an expired workspace goes, nobody starts it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub import orm

from mlhub.cleanup.evidence import Clock
from mlhub.cleanup.plan import Item
from mlhub.identity import Identity
from mlhub.workspaces.port import Backend, Reason
from mlhub.workspaces.stopping import stop_workspace


class Remover:
    """Remove things of the hub's place; ``app`` is JupyterHub, ``clock`` the time of day that is
    believed.
    """

    def __init__(self, app: Any, backend: Backend, hub: str, clock: Clock) -> None:
        self.app, self.backend, self.hub, self.clock = app, backend, hub, clock

    async def remove(self, item: Item) -> str:
        """Remove one thing; return why it stays after all, "" where it is gone.

        Raises ``MLHubError`` where the place refuses.
        """
        if item.resource is None:
            return await self._expire(item)
        await asyncio.sleep(0)  # many things, none of which has to be waited for, hold up nobody
        # Of what is in the trash, the backend looks itself whether it still is.
        if item.resource.trashed_at is None and (reason := self._explain_known(item)):
            return reason
        await self.backend.remove(item.resource, Reason.ORPHANED)
        return ""

    def _explain_known(self, item: Item) -> str:
        person = self.app.db.query(orm.User.id).filter(orm.User.name == item.user).first()
        if person is None:
            return ""
        if item.server:
            servers = self.app.db.query(orm.Spawner.id).filter(
                orm.Spawner.user_id == person[0], orm.Spawner.name == item.server
            )
            if servers.first() is None:
                return ""
        return "The hub knows its owner by now."

    async def _expire(self, item: Item) -> str:
        user, server = self.app.users.get(item.user), item.server or ""
        if user is None or (server and server not in user.orm_spawners):
            return "The hub does not know it any more."
        if reason := await self._explain_stay(user, server):
            return reason
        if user.spawners[server].active:
            await stop_workspace(self.app, user, server)
        # A spawner that stops is refused to everybody who wants to start it.
        spawner = user.spawners[server]
        spawner._stop_pending = True
        try:
            identity = Identity(self.hub, item.user, server)
            await self.backend.delete_workspace(identity, Reason.EXPIRED)
        finally:
            spawner._stop_pending = False
        user.spawners.pop(server, None)
        if server:
            self.app.db.delete(spawner.orm_spawner)
        else:  # everybody has a default one; it begins anew
            spawner.orm_spawner.state, spawner.orm_spawner.user_options = {}, {}
        self.app.db.commit()
        return ""

    async def _explain_stay(self, user: Any, server: str) -> str:
        expires_at = user.spawners[server].expires_at
        if expires_at is None:  # a database that was lost: the label tells
            found = await self.backend.list_workspaces(user.name)
            held = [each.expires_at for each in found if each.identity.server == server]
            expires_at = user.spawners[server].expires_at
            expires_at = next(iter(held), None) if expires_at is None else expires_at
        if not 0 < (expires_at or 0) <= self.clock():
            return "It has more time by now."
        if getattr(user, "is_leaving", False):
            return "Its owner is being deleted."
        pending = user.spawners[server].pending
        return f"It is busy ({pending})." if pending else ""
