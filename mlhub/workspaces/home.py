"""A person's home page: a card for each of their workspaces, and the way to one more.

Invariants: what the policy or a total forbids is told on the card, in words for the person and
without the name of a rule. Only who presses a button starts or makes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.pages import HomeHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from mlhub.errors import MLHubError
from mlhub.options.amount import describe_size
from mlhub.options.image import find_image
from mlhub.options.model import OPTIONS, FieldsError, WorkspaceOptions, drop_name
from mlhub.policy.decide import decide
from mlhub.policy.expiry import describe_remaining, remaining_seconds
from mlhub.policy.quota import Reservation
from mlhub.policy.usage import Bar
from mlhub.quantities import format_number
from mlhub.texts import Text, explain, join, translate
from mlhub.web.handlers import MLHubAPIHandler
from mlhub.workspaces.published import link_apps, list_ports_and_apps
from mlhub.workspaces.server_names import is_slug, suggest_name
from mlhub.workspaces.sharing import list_received, shows_sharing
from mlhub.workspaces.spawner import find_workspace
from mlhub.workspaces.states import find_state
from mlhub.workspaces.tools import ToolLink, list_tools

SOON_SECONDS = 86_400


@dataclass(frozen=True)
class Card:
    """One workspace as its owner's page shows it.

    ``refusal`` is why it cannot be started now, "" where it can or where nobody knows; ``expires``
    is "in 3 days", "" for never.
    """

    server: str
    title: str
    state: str
    path: str
    open_url: str
    image: str
    limits: str
    last_activity: str
    expires: str = ""
    is_expired: bool = False
    expires_soon: bool = False
    refusal: str = ""
    tools: tuple[ToolLink, ...] = ()
    may_share: bool = False

    @property
    def what(self) -> str:
        """Name it within a sentence."""
        return self.title or Text("the default workspace")


async def make_card(user: Any, row: Any) -> Card:
    """Make the card of a spawner, or of its row in the database."""
    spawner = user.get_spawner(row.name)
    activity = row.orm_spawner.last_activity
    path = user.escaped_name + (f"/{quote(row.name, safe='')}" if row.name else "")
    facts: dict[str, Any] = {
        "server": row.name,
        "title": (row.display_name or row.name) if row.name else "",
        "state": find_state(row),
        "path": path,
        "open_url": user.server_url(row.name),
        "last_activity": f"{activity.isoformat()}Z" if activity else "",
        "may_share": shows_sharing(spawner),
    }
    workspace: Any = find_workspace(spawner)
    if workspace is None:  # a site's own spawner class knows nothing of the rest
        image = str(spawner.image) if spawner.has_trait("image") else ""
        return Card(**facts, image=image, limits="")
    stored = row.orm_spawner.user_options or workspace.grant.options
    image = workspace.image if row.active else ""
    if facts["state"] == "stopped":
        image = str(stored.get("image") or "")
        try:
            facts["refusal"], default = look_ahead(await workspace.make_probe(), stored)
            image = image or default
        except MLHubError as error:
            facts["refusal"] = tell(error)
    facts |= {
        "image": name_image(workspace, image or workspace.grant.image or workspace.default_image),
        "limits": describe_reservation(workspace.reservation) if row.active else "",
        "tools": list_links(spawner, workspace, facts["open_url"]) if row.active else (),
    }
    if workspace.expires_at:
        left = remaining_seconds(workspace.expires_at, workspace.site.clock()) or 0
        facts |= {
            "expires": describe_remaining(left),
            "is_expired": left <= 0,
            "expires_soon": left < SOON_SECONDS,
        }
    return Card(**facts)


def list_links(spawner: Any, workspace: Any, url: str) -> tuple[ToolLink, ...]:
    """List the buttons for what runs in a workspace: what the site declares, and its owner's apps,
    which have the last word on what is at their port.
    """
    apps = link_apps(spawner)
    taken = {each.url for each in apps}
    return (*(each for each in list_tools(workspace, url) if each.url not in taken), *apps)


def name_image(workspace: Any, image: str) -> str:
    """Name an image as the site's catalogue does."""
    try:
        catalogue = workspace.site.policy.list_catalogue(workspace.make_defaults())
    except MLHubError:  # a policy that cannot be read; the start will tell
        return image
    entry = find_image(catalogue, image, is_custom=False)
    return entry.name if entry else image


def describe_reservation(reserved: Reservation | None) -> str:
    """Write what a workspace holds, for people."""
    if reserved is None:
        return ""
    cpu, memory = reserved.cpu_limit, reserved.mem_limit
    size = "" if memory is None else describe_size(memory)
    words = [
        Text("CPU without limit") if cpu is None else f"{format_number(cpu)} CPU",
        Text("%(size)s memory", size=size) if size else Text("memory without limit"),
    ]
    if reserved.gpus is None:
        words.append(Text("all GPUs"))
    elif reserved.gpus:
        words.append(f"{reserved.gpus} GPU{'' if reserved.gpus == 1 else 's'}")
    return join(*words, between=" · ")


def look_ahead(probe: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    """Say why a start with these options would be refused now, "" where it would not, and which
    image it takes where they name none; ``probe`` is a spawner that was made to ask.
    """
    default = ""
    try:
        offered = probe.find_available_options().fields.get("image")
        default = offered.default if offered else ""
        probe.user_options = dict(options)
        decide(probe.make_circumstances(), WorkspaceOptions.from_rest(probe.list_asked()))
    except MLHubError as error:
        return tell(error), default
    return "", default


async def look_at_totals(workspace: Any, name: str) -> tuple[str, tuple[Bar, ...]]:
    """Say why one workspace more cannot be started with the defaults, "" where it can; and what
    this person's take of what they may have in all.
    """
    bars: tuple[Bar, ...] = ()
    try:
        probe = await workspace.make_probe()
        bars = probe.find_available_options().bars
        circumstances = probe.make_circumstances(counts_grant=False)
        decide(replace(circumstances, server=name), WorkspaceOptions())
    except MLHubError as error:
        return tell(error), bars
    return "", bars


def tell(error: MLHubError) -> str:
    """Write an error for people: options by their labels, and no rule."""
    if not isinstance(error, FieldsError):
        return explain(error)
    sentences = []
    for name, each in error.fields.items():
        sentence = translate(each)
        rest = drop_name(name, sentence)
        is_about = rest != sentence and name in OPTIONS
        label = translate(Text(OPTIONS[name].label)) if is_about else ""
        sentences.append(f"{label}: {rest}" if is_about else sentence)
    return " ".join(sentences)


class HomeMixin(BaseHandler):
    """What the page, and the buttons that lead back to it, have in common."""

    async def show_home(self, message: str = "", *, status: int = 200, name: str = "") -> None:
        """Answer with the page, and a message on it."""
        user = self.current_user
        if user.running:
            await user.spawner.poll_and_notify()  # it may have died
        named = self._list_named(user)
        cards = [await make_card(user, user.spawner)]
        for each in named:
            if each.name in user.orm_spawners:  # else it was deleted meanwhile
                cards.append(await make_card(user, each))
        limit = await self.get_current_user_named_server_limit()
        names = {each.name for each in named}
        suggested, workspace = suggest_name(names), find_workspace(user.spawner)
        no_more, bars = await look_at_totals(workspace, suggested) if workspace else ("", ())
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "home.html",
                user=user,
                auth_state=await user.get_auth_state(),
                cards=cards,
                is_new=len(cards) == 1 and not cards[0].last_activity,
                message=message,
                typed_name=name,
                suggested_name=suggested,
                no_more=no_more,
                bars=bars,
                received=list_received(user, self.users),
                received_ports=list_ports_and_apps(user, self.users, self.hub.base_url),
                allow_named_servers=self.allow_named_servers,
                named_server_limit_per_user=limit,
                is_full=0 < limit <= len(names),
                invalid_server_names=sorted(each for each in names if not is_slug(each)),
                # For a site's own template, which is written for JupyterHub's handler.
                default_server=user.spawner,
                url=cards[0].open_url,
                spawners=user.orm_user._orm_spawners,
            )
        )

    def _list_named(self, user: Any) -> list[Any]:
        if self.allow_named_servers:
            return list(user.all_spawners(include_default=False))
        # Not any more: what runs stays until it ends.
        return [each for each in user.spawners.values() if each.name and each.active]


class HomePage(HomeMixin, HomeHandler):
    """Show a person their workspaces."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        await self.show_home()


class CardHandler(MLHubAPIHandler):
    """The card of one workspace, for a home page that is open while it is made elsewhere."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str) -> None:
        """Send ``{"html": …}``; a page of its own would not be given to a script."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, Text("There is no such workspace."))
        card = await make_card(user, user.get_spawner(server_name))
        allowed = self.allow_named_servers
        page = await self.render_template("card.html", card=card, allow_named_servers=allowed)
        self.answer({"html": page})


HANDLERS: list[tuple[Any, ...]] = [
    (r"/home", HomePage),
    (r"/api/users/([^/]+)/servers/([^/]+)/card", CardHandler),
]
