"""Close the workspaces of people who would not be let in any more: stopped, with their data kept.

Requests are refused by themselves (mlhub/signin/recognition.py). What was opened before, WebSockets
and whatever a workspace does in its owner's name, ends with the workspace.

Invariants: within five seconds; but a list that was changed by mistake stops nobody at once. One
that names nobody, or could never be understood, stops nobody at all, and one that would stop most
of what runs waits for its correction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from jupyterhub import orm
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_path_join
from nativeauthenticator.orm import UserInfo
from sqlalchemy import event

from mlhub.hub.guests import Guests
from mlhub.signin.authorization import is_authorized
from mlhub.workspaces.tokens import revoke_server_tokens

LOOK_SECONDS = 0.25
# For what tells nobody when it changes, such as a site's own list of blocked names.
ASK_ALL_SECONDS = 60.0
RETRY_SECONDS = 5.0
# So many at once are no mistake worth waiting for.
FEW = 3


class Withdrawal:
    """Look who may still be here, as long as the hub (``app``) runs."""

    def __init__(self, app: Any, correction_seconds: float) -> None:
        self.app, self.correction_seconds = app, correction_seconds
        self.listeners: list[Callable[[], None]] = []
        # Another proxy would not know how to end what it has opened.
        self.guests = Guests(app) if isinstance(app.proxy, ConfigurableHTTPProxy) else None
        self._is_due = True
        self._names: Any = None
        self._running: set[str] = set()
        self._unauthorized: dict[str, float] = {}  # running workspaces' owners, since when
        self._tasks: set[asyncio.Task[None]] = set()
        self._was_warned = False
        event.listen(app.db, "before_flush", self._notice)

    def _notice(self, session: Any, *_: Any) -> None:
        for row in list(session.deleted):
            if isinstance(row, orm.Spawner):
                with session.no_autoflush:
                    revoke_server_tokens(session, row)
        if any(isinstance(row, UserInfo) for row in (*session.dirty, *session.deleted)):
            self._is_due = True

    async def _keep_looking(self) -> None:
        """Look four times a second; all people who have something running are asked about when
        something has changed, and each minute.
        """
        asked_at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not getattr(self.app, "http_server", None):
                continue
            try:
                if await self._is_list_new() or time.monotonic() - asked_at > ASK_ALL_SECONDS:
                    self._is_due = True
                if self._is_due:
                    self._is_due, asked_at = False, time.monotonic()
                    await self._ask_all()
                    if self.guests:
                        self.guests.note()
                else:
                    await self._ask_new()
                if self.guests:
                    self.guests.look_at_policy()
                if self.guests and self.guests.is_due:
                    await self.guests.look()
                if self._unauthorized:
                    await self._close()
            except Exception:  # the database may be away for a while
                self._is_due = True
                self.app.log.exception("Whether people may still be here could not be looked at")

    async def _is_list_new(self) -> bool:
        look = getattr(self.app.authenticator, "look_at_list", None)
        known = await look() if look else None
        names, self._names = self._names, known.names if known else None
        if known is None or names is self._names:
            return False
        for tell in self.listeners:
            tell()
        return True

    async def _ask_new(self) -> None:
        """Ask about those for whom somebody else has started something."""
        former, self._running = self._running, set(self._list_running())
        for name in self._running - former:
            if not await self._is_authorized(name):
                self._unauthorized.setdefault(name, time.monotonic())

    async def _ask_all(self) -> None:
        since, now = self._unauthorized, time.monotonic()
        self._running = set(self._list_running())
        unauthorized = [name for name in self._running if not await self._is_authorized(name)]
        self._unauthorized = {name: since.get(name, now) for name in unauthorized}
        self._was_warned = self._was_warned and bool(unauthorized)

    async def _close(self) -> None:
        wait = await self._choose_wait()
        for name, since in list(self._unauthorized.items()):
            user = self._find_user(name)
            active = (
                [spawner for spawner in user.spawners.values() if spawner.active] if user else []
            )
            if user is None or not active or await self._is_authorized(name):
                del self._unauthorized[name]
            elif wait is not None and time.monotonic() - since >= wait:
                for spawner in active:
                    # One that starts is stopped when it has started: until then it answers nobody.
                    if not spawner.pending:
                        self._stop(user, spawner)

    async def _choose_wait(self) -> float | None:
        """Return for how many seconds people must have been unauthorized; None where nothing is to
        be stopped.
        """
        look = getattr(self.app.authenticator, "look_at_list", None)
        known = await look() if look else None
        count, running = len(self._unauthorized), len(self._list_running())
        if known is not None and not known.is_plausible:
            self._warn(
                "The allow-list %s names nobody. Nobody gets in, but what runs is not stopped: name"
                " at least one person.",
                known.file,
            )
            return None
        if count <= FEW or count * 2 <= running:
            return 0.0
        self._warn(
            "%d of the %d people whose workspaces run would not be let in any more. In %d seconds"
            " their workspaces are stopped.",
            *(count, running, self.correction_seconds),
        )
        return self.correction_seconds

    def _warn(self, text: str, *values: Any) -> None:
        if not self._was_warned:
            self._was_warned = True
            self.app.log.warning(text, *values)

    def _list_running(self) -> list[str]:
        users = list(self.app.users.values())
        return [
            user.name for user in users if any(spawner.active for spawner in user.spawners.values())
        ]

    def _find_user(self, name: str) -> Any:
        return next((user for user in self.app.users.values() if user.name == name), None)

    async def _is_authorized(self, name: str) -> bool:
        user = self._find_user(name)
        return user is not None and await is_authorized(self.app.authenticator, user.orm_user)

    def _stop(self, user: Any, spawner: Any) -> None:
        self.app.log.warning(
            "%s would not be let in any more: the workspace %r is stopped, its data is kept.",
            user.name,
            spawner.name,
        )
        # As JupyterHub's own handler does it, which needs a request.
        spawner._stop_pending = True
        spawner._stop_future = self._begin(self._stop_now(user, spawner))

    async def _stop_now(self, user: Any, spawner: Any) -> None:
        try:
            await self.app.proxy.delete_user(user, spawner.name)
            await user.stop(spawner.name)
        except Exception:  # the proxy may be away, and answers nobody meanwhile
            self.app.log.exception(
                "The workspace %r of %s could not be stopped, which is tried again",
                spawner.name,
                user.name,
            )
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            spawner._stop_future = None
            spawner._stop_pending = False

    def start(self) -> None:
        """Begin to look."""
        self._forget_old_tokens()
        self._begin(self._keep_looking())

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget_old_tokens(self) -> None:
        """Delete what is left of the tokens of workspaces that do not run; JupyterHub kept those
        for the next start, or for ever.
        """
        running = {f"Server at {server.base_url}" for server in self.app.db.query(orm.Server)}
        prefix = f"Server at {url_path_join(self.app.base_url, 'user')}/"
        kept = self.app.db.query(orm.APIToken).filter(
            orm.APIToken.user_id.isnot(None), orm.APIToken.note.startswith(prefix, autoescape=True)
        )
        for token in kept:
            if token.note not in running:
                self.app.db.delete(token)
        self.app.db.commit()
