"""The hub's REST API about the trash.

======  ===================================  ===================================================
GET     ``users/{user}/trash``               what is in the trash of this person
POST    ``users/{user}/trash/{id}/restore``  bring it back; ``{"server": "other"}`` as a server of
                                             another name, ``""`` is the default one
DELETE  ``users/{user}/trash/{id}``          remove it for good
GET     ``trash``                            what is in the trash of all, of people who are gone
                                             too (administrators)
POST    ``trash/{id}/restore``               bring it back for ``{"user": "mia"}`` (administrators)
DELETE  ``trash/{id}``                       remove it for good (administrators)
======  ===================================  ===================================================

Invariants: what stands below a person's name is what was made for whoever has the name now.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import Scope, needs_scope
from tornado import web

from mlhub.cleanup.trash import SETTING, Trash, TrashItem
from mlhub.errors import MLHubError
from mlhub.texts import Text
from mlhub.web.handlers import MLHubAPIHandler, MLHubHandler

ADMIN_SCOPE = "admin:servers"


class TrashMixin(MLHubHandler):
    """What the pages and the API have in common; the record of who did what tells whoever something
    ``concerns``.
    """

    concerns = ""

    @property
    def trash(self) -> Trash:
        """The trash of this hub."""
        found = self.settings.get(SETTING)
        if not isinstance(found, Trash):
            raise web.HTTPError(404, Text("The site's own spawner class knows no trash."))
        return found

    def check_administrator(self) -> None:
        """Refuse whoever may not do this for everybody."""
        if self.current_user is None or self.parsed_scopes.get(ADMIN_SCOPE) != Scope.ALL:
            raise web.HTTPError(
                403,
                Text(
                    "The trash of all is for administrators: it takes the scope"
                    " %(admin_scope)s for everybody.",
                    admin_scope=ADMIN_SCOPE,
                ),
            )

    def find_person(self, name: str) -> Any:
        """Return who has a name; raise 404 where nobody does."""
        user = self.find_user(name) if name else None
        if user is None:
            raise web.HTTPError(
                404,
                Text(
                    "%(name)s is nobody here. What they left can be restored to somebody else.",
                    name=repr(name),
                ),
            )
        return user

    async def restore(self, item: TrashItem, user: Any, server: str) -> None:
        """Bring something back, and log who did it for whom."""
        self.concerns = item.resource.user
        await self.trash.restore(item, user, server, self._check_named_server)
        self.log.info(
            "%r: restored %s of %r from the trash as %r of %r.",
            self.current_user.name,
            item.name,
            item.resource.user,
            server,
            user.name,
        )

    async def remove(self, item: TrashItem) -> None:
        """Remove something for good, and log who did it."""
        self.concerns = item.resource.user
        await self.trash.remove(item)
        self.log.info(
            "%r: removed %s of %r for good.",
            self.current_user.name,
            item.name,
            item.resource.user,
        )

    async def _check_named_server(self, user: Any, server: str) -> None:
        try:
            await self._check_named_server_request(user, server, server)
        except web.HTTPError as error:
            if error.status_code != 400:
                raise
            raise NamedServerError(error.log_message or "") from error


class NamedServerError(MLHubError):
    """Report a named server that a person may not have."""

    status_code = 400


class TrashAPIHandler(TrashMixin, MLHubAPIHandler):
    """Base of the REST handlers."""

    def read_text(self, body: dict[str, Any], key: str, default: str) -> str:
        """Return a text of the body."""
        text = body.get(key, default)
        if not isinstance(text, str):
            raise web.HTTPError(400, Text('"%(key)s" is not a text.', key=key))
        return text

    async def answer_restored(self, item: TrashItem, user: Any, server: str) -> None:
        """Bring something back, and say as what."""
        await self.restore(item, user, server)
        self.answer({"user": user.name, "server": server})


class OwnTrashHandler(TrashAPIHandler):
    """What is in the trash of one person."""

    @needs_scope("read:servers")
    async def get(self, user_name: str) -> None:
        """Send the list."""
        with self.friendly_errors():
            items = await self.trash.list_own(self.find_person(user_name))
        self.answer([each.describe() for each in items])


class OwnItemHandler(TrashAPIHandler):
    """One thing in the trash of a person."""

    # Not delete:servers, which so far has lost nobody's data: an idle culler has it.
    @needs_scope("servers")
    async def delete(self, user_name: str, name: str) -> None:
        """Remove it for good."""
        with self.friendly_errors():
            await self.remove(await self.trash.find_own(self.find_person(user_name), name))
        self.set_status(204)


class OwnRestoreHandler(TrashAPIHandler):
    """The way back of one thing in the trash of a person."""

    @needs_scope("start:servers")
    async def post(self, user_name: str, name: str) -> None:
        """Bring it back."""
        body, user = self.read_body("server"), self.find_person(user_name)
        with self.friendly_errors():
            item = await self.trash.find_own(user, name)
            server = self.read_text(body, "server", item.resource.server or "")
            await self.answer_restored(item, user, server)


class AllTrashHandler(TrashAPIHandler):
    """What is in the trash of all."""

    @needs_scope(ADMIN_SCOPE)
    async def get(self) -> None:
        """Send the list."""
        with self.friendly_errors():
            self.answer([each.describe() for each in await self.trash.list_all()])


class AnyItemHandler(TrashAPIHandler):
    """One thing in the trash, whoever it was made for."""

    @needs_scope(ADMIN_SCOPE)
    async def delete(self, name: str) -> None:
        """Remove it for good."""
        with self.friendly_errors():
            await self.remove(await self.trash.find(name))
        self.set_status(204)


class AnyRestoreHandler(TrashAPIHandler):
    """The way back of one thing, to its owner or to somebody else."""

    @needs_scope(ADMIN_SCOPE)
    async def post(self, name: str) -> None:
        """Bring it back."""
        body = self.read_body("user", "server")
        with self.friendly_errors():
            item = await self.trash.find(name)
            user = self.find_person(self.read_text(body, "user", item.resource.user))
            server = self.read_text(body, "server", item.resource.server or "")
            await self.answer_restored(item, user, server)


HANDLERS: list[tuple[Any, ...]] = [
    (r"/api/users/([^/]+)/trash", OwnTrashHandler),
    (r"/api/users/([^/]+)/trash/([^/]+)", OwnItemHandler),
    (r"/api/users/([^/]+)/trash/([^/]+)/restore", OwnRestoreHandler),
    (r"/api/trash", AllTrashHandler),
    (r"/api/trash/([^/]+)", AnyItemHandler),
    (r"/api/trash/([^/]+)/restore", AnyRestoreHandler),
]
