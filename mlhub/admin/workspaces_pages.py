"""What administrators see first: all workspaces of all people, and what can be done with them.

=====  ====================  ===================================================================
GET    ``admin``             the page
GET    ``admin/jupyterhub``  JupyterHub's own page for administrators
POST   ``admin/create``      lead to the form of a workspace for somebody; nothing is made by it
GET    ``api/workspaces``    the same rows as JSON: ``?search=&state=&sort=&order=&offset=``
=====  ====================  ===================================================================

Invariants: the page changes nothing by itself. Each of its buttons is a call of the hub's REST
API, which looks at the caller's rights, and which the record tells the owner of.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from jupyterhub.handlers.pages import AdminHandler
from jupyterhub.scopes import Scope
from tornado import web
from tornado.httputil import url_concat

from mlhub.admin.workspaces import (
    SORTS,
    STATES,
    Question,
    Row,
    read_page,
)
from mlhub.errors import MLHubError
from mlhub.options.image import find_image
from mlhub.options.option import Setting
from mlhub.policy.available import find_totals
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.disk import DiskUse
from mlhub.policy.expiry import remaining_seconds
from mlhub.policy.model import Person
from mlhub.policy.usage import describe_use
from mlhub.texts import Text
from mlhub.web.handlers import MLHubAPIHandler, MLHubHandler
from mlhub.web.pages import AccountPage
from mlhub.workspaces.hub_database import ask_beside
from mlhub.workspaces.server_names import NamedServers
from mlhub.workspaces.spawner import make_nobodys
from mlhub.workspaces.states import find_state

ADMIN_SCOPE = "admin:servers"


class WorkspacesMixin(MLHubHandler):
    """What the page and the API have in common."""

    @property
    def is_administrator(self) -> bool:
        """Return True if this may be done for everybody."""
        return self.current_user is not None and self.parsed_scopes.get(ADMIN_SCOPE) == Scope.ALL

    def check_administrator(self) -> None:
        """Refuse whoever may not do this for everybody."""
        if not self.is_administrator:
            raise web.HTTPError(
                403,
                Text(
                    "This is for administrators: it takes the scope %(admin_scope)s for everybody.",
                    admin_scope=ADMIN_SCOPE,
                ),
            )

    def read_question(self) -> Question:
        """Read the address; what is no sort, state or number is the default."""
        offset = self.get_query_argument("offset", "0")
        sort, state = self.get_query_argument("sort", ""), self.get_query_argument("state", "")
        return Question(
            search=self.get_query_argument("search", "")[:128].strip(),
            state=state if state in STATES else "",
            sort=sort if sort in SORTS else SORTS[0],
            is_descending=self.get_query_argument("order", "") == "desc",
            offset=int(offset)
            if offset.isascii() and offset.isdecimal() and len(offset) < 8
            else 0,
        )

    async def list_models(self, question: Question) -> tuple[list[dict[str, Any]], int]:
        """Return the models of one page, and how many workspaces there are in all."""
        rows, people, total = await ask_beside(
            self.app.session_factory, partial(read_page, question=question)
        )
        nobodys = make_nobodys(self.app)
        used = {}
        if nobodys is not None:
            used = describe_people(nobodys, people.values())
        namer = ImageNamer(nobodys)
        return [
            self._make_model(row, namer, used.get(row.owner, []), nobodys) for row in rows
        ], total

    def _make_model(
        self, row: Row, namer: ImageNamer, used: list[str], nobodys: Any
    ) -> dict[str, Any]:
        spawner = None
        # Whoever is not in the hub's memory has nothing that runs, and is not loaded for this.
        if row.user_id in self.users:
            spawner = dict.get(self.users[row.user_id].spawners, row.server)
        state = find_state(spawner) if spawner is not None else "stopped"
        left = None
        if row.expires_at and nobodys is not None:
            left = remaining_seconds(row.expires_at, nobodys.site.clock())
        seen = row.last_activity
        path = quote(row.owner, safe="") + (f"/{quote(row.server, safe='')}" if row.server else "")
        return {
            "owner": row.owner,
            "server": row.server,
            "title": row.title,
            "path": path,
            # On hosts of their own the hub leads there.
            "url": f"{self.hub.base_url if self.subdomain_host else self.base_url}user/{path}/",
            "state": state,
            "image": namer.name(spawner.image if spawner and spawner.active else row.image),
            "expires_at": row.expires_at,
            "days_to_live": None if left is None else max(0, math.floor(left / 8640) / 10),
            "last_activity": f"{seen.isoformat()}Z" if seen else None,
            "owner_uses": used,
        }


class ImageNamer:
    """Name images as the site's catalogue does; ``nobodys`` is a spawner that belongs to nobody."""

    def __init__(self, nobodys: Any) -> None:
        self._default, self._catalogue = "", ()
        if nobodys is not None:
            self._default = nobodys.default_image
            try:
                self._catalogue = nobodys.site.policy.list_catalogue(nobodys.make_defaults())
            except MLHubError:  # a policy that cannot be read has no names
                self._catalogue = ()

    def name(self, image: str) -> str:
        """Return the name of an image; "" is the default one."""
        entry = find_image(self._catalogue, image or self._default, is_custom=False)
        return entry.name if entry else image or self._default


def describe_people(nobodys: Any, people: Iterable[Person]) -> dict[str, list[str]]:
    """Write what each of these people has, and of how much; by name.

    What carries somebody's name on the disk counts, those in the trash too.
    """
    site, held, used = nobodys.site, defaultdict(list), {}
    for each in site.ledger.list_reserved():
        held[each.user].append(each)
    find_limits = make_finder(nobodys)
    for person in people:
        use = None
        if site.disk.taken is not None:
            use = DiskUse(site.disk.sum_by_name(person.name))
        used[person.name] = describe_use(find_limits(person), held.get(person.name, ()), use)
    return used


def make_finder(nobodys: Any) -> Callable[[Person], dict[str, Setting]]:
    """Return what finds somebody's totals; for those for whom the same rules hold it looks once."""
    known: dict[tuple[Any, ...], dict[str, Setting]] = {}
    site = nobodys.site
    try:
        policy, defaults = site.policy, nobodys.make_defaults()
    except MLHubError:  # a policy that cannot be read has no limits to tell
        return lambda person: {}

    def find(person: Person) -> dict[str, Setting]:
        rules = (person.is_admin, *(path for path, _ in policy.list_matching(person)))
        if rules not in known:
            known[rules] = find_totals(Circumstances(policy, person, site.host, defaults))
        return known[rules]

    return find


class WorkspacesPage(WorkspacesMixin, AccountPage):
    """Show administrators all workspaces."""

    @web.authenticated
    async def get(self) -> None:
        """Show one page of them."""
        if self.has_scope("admin-ui") and not self.is_administrator:
            self.redirect(f"{self.hub.base_url}admin/jupyterhub")  # it shows what they may see
            return
        self.check_administrator()
        await self.show_workspaces()

    async def show_workspaces(
        self, message: str = "", *, status: int = 200, owner: str = "", server: str = ""
    ) -> None:
        """Answer with the page, and a message on it."""
        question = self.read_question()
        models, total = await self.list_models(question)
        await self.show(
            "admin-workspaces.html",
            message,
            status=status,
            workspaces=models,
            total=total,
            question=question,
            link=self._link,
            new_owner=owner,
            new_server=server,
            has_named=self.allow_named_servers,
        )

    def _link(self, question: Question, **changed: Any) -> str:
        """Write the address of the page with some of the question changed."""
        asked = replace(question, **changed)
        query = {
            "search": asked.search,
            "state": asked.state,
            "sort": asked.sort,
            "order": "desc" if asked.is_descending else "",
            "offset": str(asked.offset or ""),
        }
        kept = {name: text for name, text in query.items() if text}
        return str(url_concat(f"{self.hub.base_url}admin", kept))


class CreatePage(NamedServers, WorkspacesPage):
    """Lead to the form of a workspace for somebody else."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page; nothing is asked for."""
        self.redirect(f"{self.hub.base_url}admin")

    @web.authenticated
    async def post(self) -> None:
        """Look whether there is such a person, and go on to the form."""
        self.check_administrator()
        owner, server = self.field("owner").strip()[:255], self.field("server").strip()[:255]
        person: Any = self.find_user(owner) if owner else None
        complaint = "" if person else f"There is nobody called “{owner}”. Invite them first."
        if not owner:
            complaint = "Enter the username of the person whose workspace it will be."
        elif person and server:
            try:
                await self._check_named_server_request(person, server, server)
            except web.HTTPError as error:
                complaint = error.log_message or "This name cannot be taken."
        if complaint:
            await self.show_workspaces(complaint, status=400, owner=owner, server=server)
            return
        path = f"{quote(person.name, safe='')}/{quote(server, safe='')}".rstrip("/")
        self.redirect(f"{self.hub.base_url}spawn/{path}")


class WorkspacesAPI(WorkspacesMixin, MLHubAPIHandler):
    """All workspaces of all people."""

    async def get(self) -> None:
        """Send one page of them, and how many there are; takes ``admin:servers`` for everybody."""
        self.check_administrator()
        models, total = await self.list_models(self.read_question())
        self.answer({"total": total, "workspaces": models})


HANDLERS: list[tuple[Any, ...]] = [
    (r"/admin", WorkspacesPage),
    (r"/admin/jupyterhub", AdminHandler),
    (r"/admin/create", CreatePage),
    (r"/api/workspaces", WorkspacesAPI),
]
