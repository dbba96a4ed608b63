"""When the hub starts, what runs is gone on with, also where the database does not know of it: it
was lost, came back from a backup, or the hub was killed before it had written something down.

Invariants: nothing is started, changed or removed, and nothing is stopped but what was told to stop
before and could not be. People and servers are made again of full labels alone, and only of what
was made while the database saw nothing (``mlhub/workspaces/gaps.py``); never as administrators,
never somebody who was deleted, never of what may be of two people, and never where that alone would
let somebody in. Who may sign in is decided as for everybody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.metrics import TOTAL_USERS
from jupyterhub.slugs import is_valid_safe_slug

from mlhub.errors import MLHubError
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.workspaces.deletions import complete_deletion, list_deletions
from mlhub.workspaces.due_stops import keep_stopping
from mlhub.workspaces.gaps import SEEN_SECONDS, Gap, close_gaps, list_gaps, note_seen, open_gap
from mlhub.workspaces.grant import has_started
from mlhub.workspaces.holder import LABEL_PERSON, Holder, Return, judge_return, keep_key
from mlhub.workspaces.port import Backend, Kind, Resource, Workspace
from mlhub.workspaces.spawner import WorkspaceSpawnerMixin

RETRY_SECONDS = 5.0
ADOPTIONS_AT_ONCE = 20
log = logging.getLogger(__name__)
Adoption = tuple[Any, str]  # a user of JupyterHub's, and the name of a server
# By name, the servers of everybody, each True where it is believed to run.
Known = dict[str, dict[str, bool]]


class Reconciliation:
    """Bring the hub's database up to what there is; ``app`` is JupyterHub."""

    def __init__(self, app: Any, backend: Backend) -> None:
        self.app, self.backend = app, backend
        self._tasks: list[asyncio.Task[None]] = []
        self._turns = asyncio.Semaphore(ADOPTIONS_AT_ONCE)
        self._gaps: list[Gap] = []
        open_gap(app.db, time.time())
        self._forget_unfinished_starts()

    async def run(self) -> None:
        """Make people and servers again, and go on with what runs; a place that does not answer is
        asked again in the background.
        """
        self._tasks.append(asyncio.create_task(self._keep_noting()))
        try:
            await self.reconcile()
        except MLHubError as error:
            log.warning("What runs is looked for again later: %s", error)
            self._tasks.append(asyncio.create_task(self._retry()))

    def _forget_unfinished_starts(self) -> None:
        """Have JupyterHub believe of no start that it went well because it was begun: it writes
        down an address first, what was granted last. If the workspace runs, it is gone on with.
        """
        db = self.app.db
        for row in db.query(orm.Spawner).filter(orm.Spawner.server != None):  # noqa: E711 - SQL
            if not has_started(row.state):
                db.delete(row.server)
                row.server = None
        db.commit()

    async def reconcile(self) -> None:
        """Do it once. Raises ``BackendError`` where the place does not answer."""
        await self._complete_deletions()
        due = await self.restore_servers()
        await asyncio.gather(*(self._adopt(user, server) for user, server in due))

    async def _complete_deletions(self) -> None:
        """Do what is left of deletions that were accepted; a server that was deleted goes from the
        database as well.
        """
        db = self.app.db
        for identity in list_deletions(db):
            await complete_deletion(db, self.backend, identity)
            log.info("The deletion of %s, which a hub before began, is done.", identity.container)
            row = orm.User.find(db, identity.user)
            server = row.orm_spawners.get(identity.server) if row and identity.server else None
            if server is not None and server.server is None:
                db.delete(server)
                db.commit()

    async def restore_servers(self) -> list[Adoption]:
        """Make people and servers again; return what runs and is believed to be stopped."""
        workspaces = await self.backend.list_workspaces()
        resources = await self.backend.list_resources()
        known, self._gaps = self._read_known(), list_gaps(self.app.db)
        owned: dict[str, list[Workspace]] = {}
        for each in workspaces:
            if each.identity.owns(each.labels) and not _is_as_believed(each, known):
                owned.setdefault(each.identity.user, []).append(each)
        due: list[Adoption] = []
        for name, held in owned.items():
            # Many people, none of whom has to be waited for, hold up nobody.
            await asyncio.sleep(0)
            user = self._find_user(name, held, resources)
            if user is not None:
                due += self._restore_servers_of(user, held)
        left = _list_unknown(resources, self._read_known())
        close_gaps(self.app.db, [each.created_at for each in left])
        return due

    def _read_known(self) -> Known:
        """Read by one statement whom and what the database knows."""
        rows = self.app.db.query(orm.User.name, orm.Spawner.name, orm.Spawner.server_id)
        known: Known = {}
        for name, server, running in rows.outerjoin(
            orm.Spawner, orm.Spawner.user_id == orm.User.id
        ):
            servers = known.setdefault(name, {"": False})
            if server is not None:
                servers[server] = running is not None
        return known

    def _find_user(
        self, name: str, held: list[Workspace], resources: Iterable[Resource]
    ) -> Any | None:
        db = self.app.db
        found = orm.User.find(db, name)
        if found is not None:
            return self.app.users[found]
        if not any(self._is_in_gap(each.created_at) for each in held):
            return None
        labels = [
            each.labels.get(LABEL_PERSON, "")
            for each in resources
            if each.user == name and each.kind is not Kind.NETWORK and each.trashed_at is None
        ]
        verdict = judge_return(db, name, labels)
        reason = verdict.reason or self._explain_unwelcome(name)
        if reason:
            log.warning(
                "%r is not known to the hub, and %s is there. %s It is left alone.",
                *(name, held[0].name, reason),
            )
            return None
        return self._make_user(name, verdict)

    def _make_user(self, name: str, verdict: Return) -> Any:
        db = self.app.db
        made = orm.User(name=name, admin=False)
        db.add(made)
        db.commit()
        roles.assign_default_roles(db, entity=made)
        db.commit()
        if verdict.key:
            keep_key(db, made, verdict.key)
        TOTAL_USERS.inc()
        log.warning("%r is made again of the labels on what they have.", name)
        return self.app.users[made]

    def _explain_unwelcome(self, name: str) -> str:
        """Say why nobody of a name is made again; "" where somebody may be.

        A site that lets in everybody whom its database knows would let in whoever is made here.
        """
        rules = self.app.authenticator
        if name in rules.blocked_users:
            return "The person is blocked."
        if rules.normalize_username(name) != name or not rules.validate_username(name):
            return "The sign-in allows no such name."
        if rules.allow_existing_users and not (rules.allow_all or name in rules.allowed_users):
            return "Nobody of that name may sign in; add the person where they may."
        return ""

    def _restore_servers_of(self, user: Any, held: Iterable[Workspace]) -> list[Adoption]:
        due, holder = [], Holder.of(user)
        for each in held:
            server = each.identity.server
            if not holder.may_use(each.labels, each.created_at):
                continue  # of somebody who had the name before
            if server not in user.orm_spawners and not self._make_server(user, each):
                continue
            orm_spawner = user.orm_spawners[server]
            _keep_expiry(user.get_or_create_spawner(server, server), each)
            if each.is_running and orm_spawner.server is None:
                due.append((user, server))
        return due

    def _make_server(self, user: Any, found: Workspace) -> bool:
        server = found.identity.server
        if server and not (self._is_in_gap(found.created_at) and self._is_possible(server)):
            return False
        user.get_or_create_spawner(server, server)
        self.app.db.commit()
        log.info("The server %r of %r is made again of its labels.", server, user.name)
        return True

    def _is_possible(self, server: str) -> bool:
        return self.app.allow_named_servers and is_valid_safe_slug(server)

    def _is_in_gap(self, made_at: float) -> bool:
        return any(gap.covers(made_at) for gap in self._gaps)

    async def _adopt(self, user: Any, server: str) -> None:
        """Go on with a workspace that runs, by the way of a start that may change nothing."""
        spawner = user.get_or_create_spawner(server, server)
        if spawner.active or not isinstance(spawner, WorkspaceSpawnerMixin):
            return
        if spawner.grant.is_stop_due:
            keep_stopping(spawner)
            return
        async with self._turns:
            # As JupyterHub marks what it looks at when it starts: nobody starts it meanwhile, and
            # its route stays.
            spawner._check_pending = spawner.adopts_only = True
            try:
                await user.spawn(server)
                spawner.add_poll_callback(self._note_end, user, server)
                log.info("%s runs, and the hub goes on with it.", spawner._log_name)
            except Exception as error:  # noqa: BLE001 - the others go on all the same
                log.warning("%s is left alone: %s", spawner._log_name, error)
            finally:
                spawner._check_pending = spawner.adopts_only = False

    async def _note_end(self, user: Any, server: str) -> None:
        # As JupyterHub does it for what it has found when it started.
        log.warning("The server %r of %r has stopped.", server, user.name)
        await self.app.proxy.delete_user(user, server)
        await user.stop(server)

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self.reconcile()
                await self.app.proxy.check_routes(self.app.users, self.app._service_map)
                return
            except Exception as error:  # noqa: BLE001 - of the place or the proxy; both come back
                log.warning("What runs is looked for again later: %s", error)

    async def _keep_noting(self) -> None:
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            try:
                note_seen(self.app.db, time.time())
            except Exception as error:  # noqa: BLE001 - a full disk, or a database that is away
                self.app.db.rollback()
                log.warning("The hub's database does not take notes: %s", error)


def _keep_expiry(spawner: Any, found: Workspace) -> None:
    """Let a workspace expire when its label says, where the database knows nothing of it: else it
    has the time of one that is made now, or for ever.
    """
    told = found.labels.get(LABEL_EXPIRES, "")
    is_ours = isinstance(spawner, WorkspaceSpawnerMixin)
    if is_ours and spawner.grant.expires_at is None and told.isdecimal():
        spawner.put_off(int(told))


def _is_as_believed(found: Workspace, known: Known) -> bool:
    """Return True if the database knows a workspace, and that it runs where it does."""
    believed = known.get(found.identity.user, {}).get(found.identity.server)
    return believed is not None and (believed or not found.is_running)


def _list_unknown(resources: Iterable[Resource], known: Known) -> list[Resource]:
    """List what belongs to nobody whom the database knows."""
    return [
        each
        for each in resources
        if each.trashed_at is None and (each.server or "") not in known.get(each.user, {})
    ]
