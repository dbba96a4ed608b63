"""What a request to the hub was, in the words of the record.

Every request that changes something is an event, so that a new page or call is in the record
without a line here; the table gives names to those that people look for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from jupyterhub import orm

from mlhub.texts import Text

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PERSON = r"(?P<user>[^/]+)"
_SERVER = r"(?:servers/(?P<server>[^/]+)|server)"
_MORE = r"(?:/(?P<server>[^/]+))?"
START_FOR_APP = Text("start for an app")
# Method, address below the hub's prefix, name. The first that fits counts.
_NAMED = [
    ("POST", r"login", Text("sign in")),
    ("GET", r"oauth_callback", Text("sign in")),
    ("GET", r"logout", Text("sign out")),
    ("POST", r"signup", Text("sign up")),
    ("POST", r"confirm/[^/]*", Text("confirm a sign-up")),  # its address opens something
    ("POST", r"change-password(?:/(?P<user>[^/]+))?", Text("change a password")),
    ("POST", rf"authorize/{_PERSON}", Text("authorize")),
    ("POST", rf"discard/{_PERSON}", Text("discard a sign-up")),
    ("POST", rf"delete-person/{_PERSON}", Text("delete a person")),
    ("POST", rf"unlock/{_PERSON}", Text("unlock")),
    ("POST", rf"(?:start|restart)/{_PERSON}{_MORE}", Text("start")),
    ("POST", rf"stop/{_PERSON}{_MORE}", Text("stop")),
    ("POST", rf"delete/{_PERSON}{_MORE}", Text("delete a server")),
    ("POST", rf"workspace/{_PERSON}{_MORE}", Text("rename")),
    ("POST", r"spawn(?:/(?P<user>[^/]+)(?:/(?P<server>[^/]+))?)?", Text("start")),
    ("POST", rf"api/users/{_PERSON}/{_SERVER}", Text("start")),
    ("DELETE", rf"api/users/{_PERSON}/{_SERVER}", Text("stop")),
    ("DELETE", rf"api/users/{_PERSON}", Text("delete a person")),
    ("POST", rf"api/users/{_PERSON}", Text("add a person")),
    ("PATCH", rf"api/users/{_PERSON}", Text("change a person")),
    ("POST", rf"api/users/{_PERSON}/tokens", Text("make a token")),
    ("DELETE", rf"api/users/{_PERSON}/tokens/[^/]+", Text("revoke a token")),
    ("POST", rf"api/users/{_PERSON}/ssh-keys", Text("add an SSH key")),
    ("DELETE", rf"api/users/{_PERSON}/ssh-keys/[^/]+", Text("remove an SSH key")),
    ("POST", r"ssh-keys", Text("add an SSH key")),
    ("POST", r"ssh-keys/\d+/remove", Text("remove an SSH key")),
    ("POST", rf"share/{_PERSON}{_MORE}", Text("share")),
    ("POST", rf"share-link/{_PERSON}{_MORE}", Text("make a link to share")),
    ("POST", rf"unshare/{_PERSON}{_MORE}", Text("take back a share")),
    ("POST", rf"share-port/{_PERSON}{_MORE}", Text("share a port")),
    ("POST", rf"api/users/{_PERSON}/{_SERVER}/port-shares", Text("share a port")),
    ("DELETE", rf"api/users/{_PERSON}/{_SERVER}/port-shares/\d+", Text("take back a share")),
    ("POST", rf"publish/{_PERSON}{_MORE}", Text("publish an app")),
    ("POST", rf"api/users/{_PERSON}/{_SERVER}/apps", Text("publish an app")),
    ("DELETE", rf"api/users/{_PERSON}/{_SERVER}/apps/\d+", Text("take back an app")),
    ("POST", rf"apps/{_PERSON}/[a-z0-9-]+", START_FOR_APP),
    ("POST", r"accept-share", Text("accept a share")),
    ("POST", r"admin/announcement", Text("announce")),
    ("POST", rf"ssh-access/{_PERSON}{_MORE}", Text("hand out SSH")),
    ("POST", r"ssh-key", Text("register an SSH key by a link")),
    ("POST", r"api/shares/(?P<user>[^/]+)/(?P<server>[^/]*)", Text("share")),
    ("PATCH", r"api/shares/(?P<user>[^/]+)/(?P<server>[^/]*)", Text("take back a share")),
    ("DELETE", r"api/shares/(?P<user>[^/]+)/(?P<server>[^/]*)", Text("take back a share")),
    ("POST", r"keep", Text("keep running")),
    ("POST", r"schedule", Text("choose a schedule")),
    ("POST", r"invite", Text("invite")),
    ("POST", rf"api/users/{_PERSON}/invitation", Text("invite")),
    ("PUT", rf"api/users/{_PERSON}/authorization", Text("authorize")),
    ("POST", rf"api/users/{_PERSON}/unlock", Text("unlock")),
    ("POST", r"invitation", Text("choose a password by a link")),
    ("POST", r"(?:admin/)?trash/[^/]+/restore", Text("restore from the trash")),
    ("POST", rf"api/(?:users/{_PERSON}/)?trash/[^/]+/restore", Text("restore from the trash")),
    ("POST", r"(?:admin/)?trash/[^/]+/remove", Text("remove for good")),
    ("DELETE", rf"api/(?:users/{_PERSON}/)?trash/[^/]+", Text("remove for good")),
    ("POST", r"services/cleanup-service(?:/.*)?", Text("clean up")),
    ("GET", r"/services/cleanup-service/(?:users|expired|trash)/?", Text("clean up")),
    ("POST", r"api/groups/[^/]+(?:/users)?", Text("change a group")),
    ("DELETE", r"api/groups/[^/]+(?:/users)?", Text("change a group")),
]
NAMED = [(method, re.compile(pattern), name) for method, pattern, name in _NAMED]
# As the record has them, for who reads it in another language.
_REMOVE, _ENTER = Text("delete a server"), Text("enter")
TEXTS = {str(name): name for name in (_ENTER, *(name for _, _, name in NAMED))}
# What workspaces, the proxy and the bastion tell the hub by themselves, every minute.
QUIET = re.compile(r"api/users/[^/]+/activity|api/(?:proxy|ssh-lookup|ssh-bundle)(?:/.*)?|metrics")
ENTER = re.compile(r"api/oauth2/authorize|tools")


@dataclass(frozen=True)
class Event:
    """What a person or a service did or tried to do; ``about`` is the person whom it concerns,
    ``told`` what else the record has of it.
    """

    name: str
    by: str | None = None
    about: str | None = None
    server: str | None = None
    path: str | None = None
    service: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def read_event(handler: Any, hub_prefix: str) -> Event | None:
    """Return what a request was; None for one that is no news."""
    request = handler.request
    path = request.path.removeprefix(hub_prefix)
    if QUIET.fullmatch(path):
        return None
    person = _find_person(handler)
    by = getattr(person, "name", None)
    service = None
    if getattr(person, "kind", "") == "service":
        by, service = None, by
    for method, pattern, name in NAMED:
        match = pattern.fullmatch(path)
        if method == request.method and match:
            found = {key: unquote(text) for key, text in match.groupdict().items() if text}
            name = _REMOVE if name == "stop" and _removes(handler) else name
            about = found.get("user") or getattr(handler, "concerns", "")
            about = about or _find_subject(handler, name) or by
            told = getattr(handler, "told", {})
            if name == START_FOR_APP and not told and handler.get_status() < 400:
                return None  # it ran already
            return Event(name, by, about, found.get("server"), service=service, told=told)
    if ENTER.fullmatch(path):
        return _read_entry(handler, by)
    if request.method not in CHANGING:
        return None
    return Event(request.method.lower(), by, path=path[:200], service=service)


def _removes(handler: Any) -> bool:
    """Return True if a server that is stopped is to go for good, as JupyterHub's API has it."""
    try:
        return bool(json.loads(handler.request.body)["remove"])
    except (ValueError, KeyError, TypeError):
        return False


def _find_person(handler: Any) -> Any:
    try:
        return handler.current_user
    except RuntimeError:  # refused, before anybody looked who it is
        return None


def _find_subject(handler: Any, name: str) -> str | None:
    """Return whose name a form has that nobody signed in has sent; it is what a stranger typed."""
    if name not in {"sign in", "sign up"}:
        return None
    typed = handler.get_body_argument("username", "")
    return str(typed)[:100] or None


def _read_entry(handler: Any, by: str | None) -> Event | None:
    """Tell of somebody who is let into another person's workspace; their own is no news, and
    neither is the question whether they want to.
    """
    if handler.get_status() != 302:
        return None
    row = getattr(handler, "entered", None) or _find_entered(handler)
    if by is None or row is None or row[0] == by:
        return None
    return Event(_ENTER, by, row[0], row[1] or None, told=getattr(handler, "told", {}))


def _find_entered(handler: Any) -> Any:
    """Find the owner and the name of the server that an OAuth client is."""
    client = handler.get_argument("client_id", "")
    return (
        handler.db.query(orm.User.name, orm.Spawner.name)
        .join(orm.Spawner, orm.Spawner.user_id == orm.User.id)
        .join(orm.OAuthClient, orm.Spawner.oauth_client_id == orm.OAuthClient.identifier)
        .filter(orm.OAuthClient.identifier == client)
        .first()
    )
