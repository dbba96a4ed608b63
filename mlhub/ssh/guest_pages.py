"""Hand a workspace out by SSH: administrators register keys for its owner, or for that workspace
alone, and send links to people without an account.

=====  ================================  ======================================================
GET    ``ssh-access/{user}[/{server}]``  who holds what; the forms
POST   the same                          ``action=``: ``key``, ``link``, ``remove`` or ``unlink``
GET    ``ssh-key?code=``                 a form for whoever was sent a link
POST   ``ssh-key``                       registers their key
=====  ================================  ======================================================

Invariants: GET changes nothing. Only administrators hand out.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jupyterhub.utils import utcnow
from tornado import web

from mlhub.errors import MLHubError, SSHKeyError
from mlhub.quantities import parse_days
from mlhub.ssh.access import find_ssh, has_ssh
from mlhub.ssh.alias import make_alias
from mlhub.ssh.client_setup import make_pasteable_config
from mlhub.ssh.guest_keys import (
    add_limited,
    find_link,
    list_limited,
    list_links,
    make_link,
    remove_link,
    use_link,
)
from mlhub.ssh.handlers import SshMixin
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage

MOST_DAYS = 30


class HandOutPage(SshMixin, AccountPage):
    """Hand one workspace out."""

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show the page."""
        await self._show(self._find(user_name, server_name))

    @web.authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Do what a button says."""
        spawner = self._find(user_name, server_name)
        try:
            values = self._act(spawner)
        except MLHubError as error:
            values = {"message": explain(error), "status": error.status_code}
        await self._show(spawner, **values)

    def _find(self, user_name: str, server_name: str) -> Any:
        # Whoever holds such a key is the owner inside the workspace, as with a password.
        if not self.current_user.admin:
            raise web.HTTPError(403, Text("Only an administrator may hand out workspaces by SSH."))
        owner: Any = self.find_user(user_name)
        if owner is None or server_name not in owner.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        spawner = owner.get_spawner(server_name)
        if find_ssh(spawner) is None or not has_ssh(spawner):
            raise web.HTTPError(404, Text("This workspace is not entered by SSH."))
        return spawner

    def _act(self, spawner: Any) -> dict[str, Any]:
        action, now, row = self.field("action"), utcnow(with_tz=False), spawner.orm_spawner
        if action == "link":
            code = make_link(self.db, row, self.current_user.name, now, self._read_days())
            here = f"{self.request.protocol}://{self.request.host}{self.hub.base_url}"
            return {"link": f"{here}ssh-key?code={quote(code)}"}
        if action == "key":
            name, text = self.field("name"), self.field("key")
            if self.field("for") == "all":
                self.add_key(spawner.user, name, text)
            else:
                add_limited(self.db, row, name, text, now)
            return {"message": Text("The key is registered."), "alert": "success"}
        number = self.field("number")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise SSHKeyError(Text("There is no such key or link."))
        if action == "unlink":
            remove_link(self.db, row, int(number))
            return {"message": Text("The link is taken back."), "alert": "success"}
        known = {key.id for key in list_limited(self.db, row)}
        if action != "remove" or int(number) not in known:
            raise SSHKeyError(Text("There is no such key. It may have been removed already."))
        self.remove_key(spawner.user, int(number))
        return {"message": Text("The key is removed; its sessions end."), "alert": "success"}

    def _read_days(self) -> float:
        text = self.field("days").strip() or "3"
        try:
            days = parse_days(text)
        except ValueError:
            days = 0.0
        if not 0 < days <= MOST_DAYS:
            raise SSHKeyError(
                Text(
                    "%(text)s is no number of days from 0.01 to %(most_days)s.",
                    text=repr(text[:40]),
                    most_days=MOST_DAYS,
                )
            )
        return days

    async def _show(self, spawner: Any, message: str = "", **values: Any) -> None:
        row = spawner.orm_spawner
        await self.show(
            "ssh-access.html",
            message,
            owner=spawner.user,
            spawner=spawner,
            keys=list_limited(self.db, row),
            links=list_links(self.db, row, utcnow(with_tz=False)),
            most=MOST_DAYS,
            **values,
        )


class RegisterPage(SshMixin, AccountPage):
    """Register a key by a link; nobody has to sign in."""

    async def get(self) -> None:
        """Show the form, or that the link is worth nothing."""
        code = self.get_query_argument("code", "")[:200]
        await self._show(code)

    async def post(self) -> None:
        """Register the key, and tell how to connect."""
        code, now = self.field("code")[:200], utcnow(with_tz=False)
        try:
            row = find_link(self.db, code, now).spawner
        except MLHubError:
            await self._show(code)
            return
        owner, server = row.user.name, row.name
        self.concerns = owner  # the record tells whose workspace it is
        try:
            site = self.make_site()
            key = use_link(self.db, code, self.field("name"), self.field("key"), now)
        except MLHubError as error:
            await self._show(code, explain(error), status=error.status_code)
            return
        self.log.info("The SSH key %s of a link opens %s/%s.", key.fingerprint, owner, server)
        await self.show(
            "ssh-key.html",
            Text("Your key is registered."),
            alert="success",
            command=f"ssh {make_alias(owner, server, site.suffix)}",
            config=make_pasteable_config(site, self.product.mlhub_resources_dir),
        )

    async def _show(self, code: str, message: str = "", *, status: int = 200) -> None:
        try:
            row = find_link(self.db, code, utcnow(with_tz=False)).spawner
        except MLHubError as error:
            await self.show("ssh-key.html", explain(error), alert="warning", status=410)
            return
        title = (row.display_name or row.name) if row.name else ""
        await self.show(
            "ssh-key.html", message, status=status, code=code, title=title, owner_name=row.user.name
        )


HANDLERS: list[tuple[Any, ...]] = [
    (r"/ssh-access/([^/]+)", HandOutPage),
    (r"/ssh-access/([^/]+)/([^/]+)", HandOutPage),
    (r"/ssh-key", RegisterPage),
]
