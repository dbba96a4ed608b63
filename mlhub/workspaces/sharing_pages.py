"""Share a workspace, see with whom it is shared, take that back; and come in by a link.

=====  =============================  ==========================================================
GET    ``share/{user}[/{server}]``       with whom, until when; the forms
POST   ``share/{user}[/{server}]``       share with a person or a group
POST   ``share-link/{user}[/{server}]``  make a link, which is shown once
POST   ``unshare/{user}[/{server}]``     take a share, of a port too, an app or a link back
GET    ``accept-share?code=``            ask whoever was sent a link
POST   ``accept-share``                  come in
=====  =============================  ==========================================================

Invariants: GET changes nothing. Groups are those of the owner, for administrators all.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import MLHubError, WorkspaceError
from mlhub.texts import Text, explain
from mlhub.web.pages import AccountPage
from mlhub.workspaces.port_sharing import (
    list_given_ports,
    may_share_ports,
    take_back_port,
    tell_port,
)
from mlhub.workspaces.published import (
    PublishedApp,
    list_apps,
    make_address,
    may_publish,
    take_back_app,
)
from mlhub.workspaces.sharing import (
    MOST_DAYS,
    accept,
    find_link,
    find_shareable,
    find_whom,
    give,
    list_given,
    list_groups,
    make_link,
    may_be_shared,
    may_run_in,
    read_until,
    take_back,
)

REFUSED = Text("This hub's policy does not let this workspace be shared.")


class SharePage(AccountPage):
    """Show with whom a workspace is shared, and share it with one more."""

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show the page."""
        await self._show(user_name=user_name, server_name=server_name)

    @web.authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Do what was asked for, and show what it came to."""
        await self._act(user_name=user_name, server_name=server_name)

    @needs_scope("read:servers")
    async def _act(self, user_name: str, server_name: str) -> None:
        spawner = find_shareable(self, user_name, server_name)
        try:
            values = self.act(spawner)
        except MLHubError as error:
            values = {
                "message": explain(error),
                "status": error.status_code,
                "typed": self._typed(),
            }
        await self._show(user_name=user_name, server_name=server_name, **values)

    def act(self, spawner: Any) -> dict[str, Any]:
        """Share; return what the page says of it."""
        if not may_be_shared(spawner):
            raise WorkspaceError(REFUSED)
        until = read_until(self.field("days"))
        whom = self.find_whom(spawner)
        give(self.db, spawner.orm_spawner, whom, until)
        return {"message": Text("%(name)s may enter now.", name=whom.name), "alert": "success"}

    def find_whom(self, spawner: Any) -> Any:
        """Find the person or the group that the form names."""
        return find_whom(self, spawner, self.field("person").strip(), self.field("group"))

    def _typed(self) -> dict[str, str]:
        names = ("person", "group", "days", "port", "title", "command", "starts")
        return {name: self.field(name)[:1000] for name in names}

    @needs_scope("read:servers")
    async def _show(
        self, user_name: str, server_name: str, message: str = "", **values: Any
    ) -> None:
        spawner = find_shareable(self, user_name, server_name)
        await self.show(
            "share.html",
            message,
            owner=spawner.user,
            spawner=spawner,
            given=[
                *list_given(self.db, spawner.orm_spawner),
                *list_given_ports(self.db, spawner.orm_spawner),
            ],
            groups=list_groups(self, spawner),
            may_share_ports=may_share_ports(spawner),
            may_publish=may_publish(spawner) and may_run_in(self, user_name, server_name),
            apps=self._list_apps(spawner),
            asked_port=self.get_query_argument("port", "")[:5],
            refusal="" if may_be_shared(spawner) else REFUSED,
            most=MOST_DAYS,
            **values,
        )

    def _list_apps(self, spawner: Any) -> list[tuple[PublishedApp, str]]:
        """List what is published, with its addresses."""
        row, base_url = spawner.orm_spawner, self.hub.base_url
        return [(app, make_address(base_url, row.user, app)) for app in list_apps(self.db, row)]


class ShareLinkPage(SharePage):
    """Make a link by which whoever has it comes in."""

    def act(self, spawner: Any) -> dict[str, Any]:
        """Make it; return what the page says of it."""
        if not may_be_shared(spawner):
            raise WorkspaceError(REFUSED)
        code = make_link(self.db, spawner.orm_spawner, read_until(self.field("days")))
        here = f"{self.request.protocol}://{self.request.host}{self.hub.base_url}"
        return {"link": f"{here}accept-share?code={quote(code)}"}


class UnsharePage(SharePage):
    """Take something back."""

    def act(self, spawner: Any) -> dict[str, Any]:
        """Take it back; return what the page says of it."""
        kind, number = self.field("kind"), self.field("number")
        name, row = "", spawner.orm_spawner
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        if is_number and kind == "port":
            if given := take_back_port(self.db, row, int(number)):
                name, self.told = given.name, tell_port(given)
        elif is_number and kind == "app":
            if app := take_back_app(self.db, row, int(number)):
                self.told = {"port": app.port, "app": app.title}
        elif is_number:
            name = take_back(self.db, row, kind, int(number))
        said = (
            Text("%(name)s is out within seconds.", name=name)
            if name
            else Text("It is taken back.")
        )
        return {"message": said, "alert": "success"}


class AcceptPage(AccountPage):
    """Come in by a link that somebody has sent."""

    @web.authenticated
    async def get(self) -> None:
        """Ask, and tell whose workspace it is."""
        await self._show(str(self.get_query_argument("code", ""))[:200])

    @web.authenticated
    async def post(self) -> None:
        """Come in."""
        code = self.field("code")[:200]
        try:
            share = accept(self.db, code, self.current_user.orm_user)
        except MLHubError as error:
            await self.show("accept-share.html", explain(error), status=error.status_code)
            return
        self.concerns = share.owner.name  # the record tells the owner
        spawner = self.users[share.owner.id].spawners[share.spawner.name]
        where = f"{self.hub.base_url}home"
        self.redirect(spawner.user.server_url(spawner.name) if spawner.ready else where)

    async def _show(self, code: str) -> None:
        try:
            link = find_link(self.db, code)
        except MLHubError as error:
            await self.show("accept-share.html", explain(error), alert="warning", status=410)
            return
        await self.show(
            "accept-share.html",
            code=code,
            owner_name=link.owner.name,
            title=(link.spawner.display_name or link.spawner.name) if link.spawner.name else "",
            until=link.expires_at,
        )


HANDLERS: list[tuple[Any, ...]] = [
    *(
        (rf"/{page}/([^/]+){server}", handler)
        for page, handler in (
            ("share", SharePage),
            ("share-link", ShareLinkPage),
            ("unshare", UnsharePage),
        )
        for server in ("", "/([^/]+)")
    ),
    (r"/accept-share", AcceptPage),
]
