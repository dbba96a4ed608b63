"""Delete a person, and end the lock after wrong passwords.

Invariants: GET changes nothing; what will happen is told before.
"""

from __future__ import annotations

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.signin.departure import remove_person
from mlhub.signin.native.admin_handlers import AdminPage
from mlhub.texts import Text


class DeletePersonPage(AdminPage):
    """Delete a person, whether or not they have a password."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Ask, and tell what will happen."""
        self._check(user_name)
        items = self.list_workspaces(user_name)
        lead = Text("These workspaces are stopped and removed; their data moves to the trash:")
        await self.ask(
            Text("Delete %(user_name)s?", user_name=user_name),
            Text("Delete"),
            Text(
                "%(user_name)s is signed out everywhere, and loses password, SSH keys,"
                " tokens, groups and shares. There is no way back.",
                user_name=user_name,
            ),
            Text("The name is free then; whoever has it next gets nothing of this."),
            lead if items else Text("There is no workspace of theirs."),
            items=items,
        )

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """Delete them."""
        self._check(user_name)
        person = self.find_user(user_name)
        if person is not None:
            await remove_person(self, person)
        self.authenticator.accounts.remove(user_name)
        self.log.info("%r: delete %r.", self.current_user.name, user_name)
        self.tell("delete", user_name)

    def _check(self, user_name: str) -> None:
        accounts = self.authenticator.accounts
        if accounts.find(user_name) is None and not accounts.is_hub_user(user_name):
            raise web.HTTPError(
                404, Text("There is no such person. Somebody may have deleted them.")
            )
        self.refuse_above_own_rank(user_name)
        if user_name == self.current_user.name:
            raise web.HTTPError(400, Text("You cannot delete yourself. Ask another administrator."))


class UnlockPage(AdminPage):
    """Let somebody try to sign in again, after too many wrong passwords."""

    @web.authenticated
    @needs_scope("admin:users")
    async def get(self, user_name: str) -> None:
        """Show that person's row; nothing changes."""
        await self.show_accounts(search=user_name)

    @web.authenticated
    @needs_scope("admin:users")
    async def post(self, user_name: str) -> None:
        """End the lock."""
        name = self.find_account(user_name).username
        self.authenticator.unlock(name)
        self.log.info("%r: unlock %r.", self.current_user.name, name)
        self.tell("unlock", name)


def list_person_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [(r"/delete-person/([^/]+)", DeletePersonPage), (r"/unlock/([^/]+)", UnlockPage)]
