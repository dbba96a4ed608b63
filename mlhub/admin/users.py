"""What an operator does to people from the command line, in the hub's process.

Invariants: it is the same code that pages and REST call, and each change is in the record as that
of ``mlhub users``.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from jupyterhub import orm, roles
from nativeauthenticator.orm import UserInfo
from tornado import web

from mlhub.errors import WorkspaceError
from mlhub.options.amount import describe_size
from mlhub.policy.quota import sum_reserved
from mlhub.settings import Settings
from mlhub.signin.departure import remove_person
from mlhub.signin.native.authenticator import MLHubNativeAuthenticator
from mlhub.signin.native.inviting import Inviter
from mlhub.workspaces.hub_socket import open_socket
from mlhub.workspaces.spawner import make_nobodys
from mlhub.workspaces.stopping import stop_workspace
from mlhub.workspaces.tokens import list_running_tokens

BY = "mlhub users"
PAGE_SIZE = 100
NOT_NATIVE = (
    "This hub's people sign in elsewhere: invitations, authorizations and lock-outs are kept there."
)


class Desk:
    """Look after people; ``app`` is JupyterHub. It is a handler as far as the departure of somebody
    asks one.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.db, self.users, self.log = app.db, app.users, app.log
        self.authenticator = app.authenticator

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what the command asks for. Raises ``WorkspaceError`` with why not."""
        actions = {
            "list": self._list,
            "invite": self._invite,
            "authorize": self._authorize,
            "withdraw": self._withdraw,
            "unlock": self._unlock,
            "delete": self._delete,
        }
        try:
            return await actions[asked["action"]](asked)
        except web.HTTPError as error:
            raise WorkspaceError(error.log_message or str(error)) from error

    async def stop_single_user(self, user: Any, server: str) -> asyncio.Future[None]:
        """Begin to stop a workspace, as JupyterHub's handlers do."""
        return asyncio.ensure_future(stop_workspace(self.app, user, server))

    async def _list(self, asked: dict[str, Any]) -> dict[str, Any]:
        people = self.db.query(orm.User).order_by(orm.User.name)
        if search := asked.get("search"):
            people = people.filter(orm.User.name.contains(search, autoescape=True))
        native, nobodys = self._find_native(), make_nobodys(self.app)
        locked = native.list_locked() if native else {}
        found: list[dict[str, Any]] = []
        while page := people.offset(len(found)).limit(PAGE_SIZE).all():
            found += [self._describe(person, nobodys, native, locked) for person in page]
            await asyncio.sleep(0)  # others come in between
        if native:
            found += self._list_signups(asked.get("search") or "")
        return {"people": found}

    def _list_signups(self, search: str) -> list[dict[str, Any]]:
        """List accounts of people who were never in."""
        known = self.db.query(orm.User.name)
        rows = self.db.query(UserInfo.username, UserInfo.is_authorized).filter(
            UserInfo.username.notin_(known), UserInfo.username.contains(search, autoescape=True)
        )
        return [
            {
                "name": name,
                "is_admin": False,
                "groups": [],
                "may_sign_in": bool(is_authorized),
                "locked_minutes": 0,
                "last_seen": None,
                "running": 0,
                "memory": describe_size(0),
                "disk": None,
            }
            for name, is_authorized in rows.order_by(UserInfo.username)
        ]

    def _describe(
        self, person: orm.User, nobodys: Any, native: Any, locked: dict[str, int]
    ) -> dict[str, Any]:
        reserved = nobodys.site.ledger.list_reserved() if nobodys else ()
        held = [each for each in reserved if each.user == person.name]
        memory = sum_reserved(held, "mem_limit")
        account = native.accounts.find(person.name) if native else None
        seen = person.last_activity
        return {
            "name": person.name,
            "is_admin": person.admin,
            "groups": sorted(group.name for group in person.groups),
            "may_sign_in": bool(account and account.is_authorized) if native else None,
            "locked_minutes": locked.get(person.name, 0),
            "last_seen": f"{seen.isoformat(timespec='seconds')}Z" if seen else None,
            "running": len(held),
            "memory": "unlimited" if math.isinf(memory) else describe_size(memory),
            "disk": describe_size(nobodys.site.disk.sum_by_name(person.name)) if nobodys else None,
        }

    async def _invite(self, asked: dict[str, Any]) -> dict[str, Any]:
        native = self._need_native()
        inviter = Inviter(native, self.db, self.app.cookie_secret, BY)
        names = [native.normalize_username(name) for name in asked["names"]]
        for name in names:
            inviter.check(name)
        links = []
        for name in names:
            inviter.put_into_group(self._add(name), asked.get("group") or "")
            links.append(inviter.invite(name))
            self._record("invite", name)
        return {"links": links}

    def _add(self, name: str) -> orm.User:
        person: orm.User | None = orm.User.find(self.db, name)
        if person is None:
            person = orm.User(name=name)
            self.db.add(person)
            roles.assign_default_roles(self.db, entity=person)
            self.db.commit()
        return person

    async def _authorize(self, asked: dict[str, Any]) -> dict[str, Any]:
        account = self._find_account(asked["name"])
        self._need_native().accounts.authorize(account)
        self._record("authorize", account.username)
        return {}

    async def _withdraw(self, asked: dict[str, Any]) -> dict[str, Any]:
        account = self._find_account(asked["name"])
        kept = list_running_tokens(self.users.get(account.username))
        self._need_native().accounts.withdraw(account, keep_tokens=kept)
        self._record("authorize", account.username, action="withdraw")
        return {}

    async def _unlock(self, asked: dict[str, Any]) -> dict[str, Any]:
        account = self._find_account(asked["name"])
        self._need_native().unlock(account.username)
        self._record("unlock", account.username)
        return {}

    async def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Delete somebody, or tell what would go."""
        native, name = self._find_native(), asked["name"]
        person = self.users.get(name)
        if person is None and not (native and native.accounts.find(name)):
            raise WorkspaceError(f"{name!r} is nobody here. See: mlhub users list")
        servers = sorted(person.orm_spawners) if person else []
        if asked["is_meant"]:
            if person is not None:
                await remove_person(self, person)
            if native:
                native.accounts.remove(name)
            self._record("delete a person", name)
        return {"servers": servers}

    def _find_native(self) -> Any:
        is_native = isinstance(self.authenticator, MLHubNativeAuthenticator)
        return self.authenticator if is_native else None

    def _need_native(self) -> Any:
        native = self._find_native()
        if native is None:
            raise WorkspaceError(NOT_NATIVE)
        return native

    def _find_account(self, name: str) -> Any:
        account = self._need_native().accounts.find(name)
        if account is None:
            raise WorkspaceError(f"{name!r} has no account here. See: mlhub users list")
        return account

    def _record(self, event: str, about: str, **more: Any) -> None:
        self.app.recorder.record.write(event, service=BY, about=about, **more)


def make_socket_path(run: Path) -> Path:
    """Return where the hub listens."""
    return run / "hub" / "users.sock"


async def open_desk(app: Any) -> None:
    """Listen for the command; ``app`` is JupyterHub."""
    path = make_socket_path(Settings.load().mlhub_run_dir)
    if path.parent.is_dir():
        app.users_socket = await open_socket(path, Desk(app).answer)
