"""End what people have open in somebody else's workspace once they may not be there any more: a
share, a group, a role or a token is gone.

A workspace asks who somebody is when a WebSocket is opened, and never again, and which WebSocket is
whose the proxy does not know. So it ends all of that workspace, once the workspace has forgotten
what the hub said before: who may come in opens theirs again, as JupyterLab does by itself, and
kernels and terminals go on. The same ends what is open at the ports of a workspace when the policy
closes them, or somebody loses one of them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub import orm
from sqlalchemy import event

from mlhub.signin.authorization import is_authorized
from mlhub.ssh.access import may_access
from mlhub.ssh.access_changes import watch_memberships
from mlhub.tools.access import OPENED, find_port_end, has_tools
from mlhub.workspaces.belief import BELIEF_SECONDS, UNKNOWN_BELIEF_SECONDS
from mlhub.workspaces.port_sharing import PortShare, list_triples
from mlhub.workspaces.spawner import find_workspace

MARGIN_SECONDS = 0.3
# The scopes of a workspace's own token, as JupyterHub makes it.
OPENS_ONE, OPENS_NOTHING = "access:servers!server=", "users:activity!"


class Guests:
    """Remember who may enter which running workspace of somebody else, and look again when that has
    changed.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.is_due = True
        self._let_in: set[tuple[int, int]] = set()  # (server, person) by a share
        self._let_in_ports: set[tuple[int, int, int]] = set()  # (server, person, port)
        self._turned_away: set[tuple[int, int]] = set()  # who came by a browser
        self._revoked: list[tuple[str, int]] = []  # (OAuth client, person) of tokens
        self._endings: dict[int, asyncio.TimerHandle] = {}
        self._policy: Any = None
        self._has_ports: dict[int, bool] = {}  # servers, as they were at the last look
        event.listen(app.db, "before_flush", self._notice)
        event.listen(app.db, "after_bulk_delete", self._notice_bulk)
        watch_memberships(app.db, self.note)

    def note(self) -> None:
        """Note that somebody may have lost something."""
        self.is_due = True

    def look_at_policy(self) -> None:
        """Note whether other rules hold than at the last look."""
        running = map(find_workspace, self._list_running().values())
        workspace = next((each for each in running if each is not None), None)
        if workspace is not None and workspace.site.policy is not self._policy:
            self._policy, self.is_due = workspace.site.policy, True

    def _notice(self, session: Any, *_: Any) -> None:
        self.is_due |= any(
            isinstance(row, orm.Share | PortShare)
            for row in (*session.new, *session.dirty, *session.deleted)
        )
        for row in session.deleted:
            if (
                isinstance(row, orm.APIToken)
                and row.user_id is not None
                and not self._is_of_ending_workspace(row)
            ):
                self._revoked.append((row.client_id, row.user_id))
                self.is_due = True

    def _is_of_ending_workspace(self, token: Any) -> bool:
        """Return True for a token that opens just a workspace of its owner's that is starting or
        stopping: what it had opened ends by itself. Its note tells nothing: people name their
        tokens as they like.
        """
        opens = {each for each in token.scopes or () if not each.startswith(OPENS_NOTHING)}
        if not getattr(self.app, "http_server", None):  # tidied up before anybody comes in
            return all(each.startswith(OPENS_ONE) for each in opens)
        # A plain dict by their numbers: what JupyterHub's own get() does asks the database.
        user = dict.get(self.app.users, token.user_id)
        spawners = user.spawners.values() if user is not None else ()
        return opens <= {
            f"{OPENS_ONE}{spawner.user.name}/{spawner.name}"
            for spawner in spawners
            if spawner.pending in ("spawn", "stop")
        }

    def _notice_bulk(self, context: Any) -> None:
        self.is_due |= issubclass(context.mapper.class_, orm.Share)

    async def look(self) -> None:
        """Find the workspaces that somebody may not enter any more, and have their WebSockets
        ended.
        """
        self.is_due = False
        revoked, self._revoked = self._revoked, []
        try:
            await self._look(revoked)
        except Exception:
            self._revoked = [*revoked, *self._revoked]  # looked at once more
            raise

    async def _look(self, revoked: list[tuple[str, int]]) -> None:
        running = self._list_running()
        for server in self._find_closed(running):
            self._wait(server, 0.0, [])
        shared = self._list_shared(running)
        came = self._list_who_came(running)
        triples = list_triples(self.app.db, running)
        pairs = shared | came | self._let_in
        numbers = {person for _, person in pairs} | {person for _, person, _ in triples}
        people = {row.id: row for row in self._find_people(numbers)}
        ports = {each for each in triples if await self._may_use(running, people, *each)}
        at_ports = {(server, person) for server, person, _ in ports}
        barred = set()
        for pair in pairs:
            if not await self._may_enter(running, people, *pair):
                barred.add(pair)
            await asyncio.sleep(0)  # each asks the database; others come in between
        strangers = (came & barred) - at_ports
        lost = (self._let_in & barred) | (strangers - self._turned_away)
        servers = {server for server, _ in lost}
        servers |= {server for server, _, _ in self._let_in_ports - ports}
        servers |= self._find_opened(running, revoked, shared | at_ports)
        for server in servers:
            self._schedule(server)
        self._let_in, self._turned_away = shared - barred, strangers
        self._let_in_ports = ports

    def _find_closed(self, running: dict[int, Any]) -> list[int]:
        """Find the workspaces whose ports were open to somebody, and are closed now."""
        opened = self._list_opened()
        opened.intersection_update(running)
        had, self._has_ports = self._has_ports, {}
        for server, spawner in running.items():
            self._has_ports[server] = has_tools(spawner)
        return [
            server
            for server, has_ports in self._has_ports.items()
            if not has_ports and had.get(server, server in opened)
        ]

    def _list_opened(self) -> set[int]:
        found: set[int] = self.app.tornado_application.settings.get(OPENED, set())
        return found

    def _list_running(self) -> dict[int, Any]:
        spawners = [
            spawner for user in list(self.app.users.values()) for spawner in user.spawners.values()
        ]
        return {spawner.orm_spawner.id: spawner for spawner in spawners if spawner.ready}

    def _list_shared(self, running: dict[int, Any]) -> set[tuple[int, int]]:
        shares = self.app.db.query(orm.Share).all()
        people = [
            (
                share.spawner_id,
                [share.user] if share.user else share.group.users if share.group else [],
            )
            for share in shares
        ]
        return {
            (server, person.id) for server, those in people if server in running for person in those
        }

    def _list_who_came(self, running: dict[int, Any]) -> set[tuple[int, int]]:
        clients = {spawner.oauth_client_id: server for server, spawner in running.items()}
        token = orm.APIToken
        rows = self.app.db.query(token.client_id, token.user_id).filter(
            token.client_id != "jupyterhub", token.user_id.isnot(None)
        )
        pairs = {
            (clients[client], person) for client, person in rows.distinct() if client in clients
        }
        return {
            (server, person)
            for server, person in pairs
            if running[server].user.orm_user.id != person
        }

    def _find_people(self, numbers: set[int]) -> list[Any]:
        return list(self.app.db.query(orm.User).filter(orm.User.id.in_(numbers))) if numbers else []

    async def _may_enter(
        self, running: dict[int, Any], people: dict[int, Any], server: int, person: int
    ) -> bool:
        spawner, row = running.get(server), people.get(person)
        if spawner is None or row is None:
            return False
        return may_access(row, spawner.user.name, spawner.name) and await is_authorized(
            self.app.authenticator, row
        )

    async def _may_use(
        self, running: dict[int, Any], people: dict[int, Any], server: int, person: int, port: int
    ) -> bool:
        row = people.get(person)
        if row is None:
            return False
        return bool(await find_port_end(self.app.authenticator, row, running[server], port))

    def _find_opened(
        self, running: dict[int, Any], revoked: list[tuple[str, int]], shared: set[tuple[int, int]]
    ) -> set[int]:
        """Find what tokens that are gone may have opened: one workspace, or those of their owner
        and those shared with them; of whoever may enter others' those whose ports were used.
        """
        found = set()
        for client, person in revoked:
            row = self.app.db.get(orm.User, person)
            for server, spawner in running.items():
                is_theirs = spawner.user.orm_user.id == person or (server, person) in shared
                if row is not None and server in self._list_opened():
                    is_theirs |= may_access(row, spawner.user.name, spawner.name)
                if spawner.oauth_client_id == client or (client == "jupyterhub" and is_theirs):
                    found.add(server)
        return found

    def _schedule(self, server: int) -> None:
        spawner = self._list_running().get(server)
        if spawner is None:  # it has stopped meanwhile
            return
        # A workspace that may believe for longer could let somebody in once more: its WebSockets
        # are ended twice.
        workspace = find_workspace(spawner)
        belief = UNKNOWN_BELIEF_SECONDS if workspace is None else workspace.belief_seconds
        beliefs = sorted({BELIEF_SECONDS, max(BELIEF_SECONDS, belief)})
        waits = [seconds + MARGIN_SECONDS for seconds in beliefs]
        if former := self._endings.pop(server, None):
            former.cancel()
        self._wait(server, waits[0], waits[1:])

    def _wait(self, server: int, seconds: float, more: list[float]) -> None:
        loop = asyncio.get_running_loop()
        self._endings[server] = loop.call_later(
            seconds, lambda: loop.create_task(self._end(server, seconds, more))
        )

    async def _end(self, server: int, waited: float, more: list[float]) -> None:
        self._endings.pop(server, None)
        spawner = self._list_running().get(server)
        if spawner is None:
            return
        self.app.log.info(
            "Somebody may not enter %s, or its ports, any more: its WebSockets are ended, and"
            " opened again by those who may.",
            spawner._log_name,
        )
        if more:
            self._wait(server, more[0] - waited, more[1:])
        try:
            data = {
                "user": spawner.user.name,
                "server_name": spawner.name,
                "ends_websockets": True,
            }  # docker/proxy/sockets.mjs
            await self.app.proxy.add_route(spawner.proxy_spec, spawner.server.host, data)
        except Exception:  # the proxy may be away: with it, its WebSockets
            self.app.log.exception("The WebSockets of %s could not be ended", spawner._log_name)
