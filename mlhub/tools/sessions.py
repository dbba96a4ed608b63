"""How the hub knows a browser below the tools of a workspace, where its own cookie does not come.

Signing in at the hub leaves there a cookie for these paths alone, as JupyterHub's OAuth leaves one
for the workspace itself. It names a row of the hub's tokens, so it ends with what ends those: the
person signs out, stops the workspace, or takes the row back on the page of tokens.

Invariants: the cookie is no token. Nobody was told the row's token, and whoever gets hold of the
cookie reaches the ports of one workspace, as far as that person does, and nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join, utcnow
from tornado.web import decode_signed_value

from mlhub.ssh.access import may_access
from mlhub.tools.access import is_web

COOKIE = "mlhub-tools"
DAYS = 14


def make_path(spawner: Any) -> str:
    """Return the path of a workspace's tools, written as in addresses; of a web server that does
    not check who asks it is the path of the whole workspace.
    """
    base, part = spawner.user.base_url, "" if is_web(spawner) else "tools/"
    return str(url_path_join(base, url_escape_path(spawner.name), part, "/"))


def open_session(handler: Any, spawner: Any) -> None:
    """Have the browser of a hub's handler keep a cookie for the tools of a workspace."""
    person = handler.current_user.orm_user
    session_id = handler.get_session_cookie() or handler.set_session_cookie()
    row = _find_own_row(handler.db, person, spawner, session_id)
    if row is None:
        token = orm.APIToken.new(
            user=person,
            scopes=_list_scopes(person, spawner),
            note=f"Tools at {make_path(spawner)}",
            session_id=session_id,
            client_id=spawner.oauth_client_id,
            expires_in=DAYS * 86_400,
        )
        row = orm.APIToken.find(handler.db, token)
    domain = {"domain": handler.domain} if handler.subdomain_host else {}
    handler._set_cookie(COOKIE, _name(row), path=make_path(spawner), expires_days=DAYS, **domain)


def find_row(handler: Any, spawner: Any) -> Any:
    """Return the row (``orm.APIToken``) that a request's cookies name for the tools of a workspace;
    None where they show nobody.
    """
    # Pages can lay further cookies of this name over it.
    for cookie in handler.request.headers.get("Cookie", "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE and (row := _read(handler, value.strip('"'), spawner)) is not None:
            return row
    return None


def _list_scopes(person: Any, spawner: Any) -> list[str]:
    # Whoever has only a port of it holds no scope that names the workspace.
    owner, server = spawner.user.name, spawner.name
    return [f"access:servers!server={owner}/{server}"] if may_access(person, owner, server) else []


def _find_own_row(db: Any, person: Any, spawner: Any, session_id: str) -> Any:
    rows = db.query(orm.APIToken).filter_by(
        user_id=person.id,
        client_id=spawner.oauth_client_id,
        session_id=session_id,
        note=f"Tools at {make_path(spawner)}",
    )
    lasting = utcnow(with_tz=False) + timedelta(days=DAYS / 2)
    return next((row for row in rows if row.expires_at and row.expires_at > lasting), None)


def _name(row: Any) -> str:
    # A database may give the number of a row that is gone to another one.
    return f"{row.id}:{sha256(row.hashed.encode()).hexdigest()}"


def _read(handler: Any, value: str, spawner: Any) -> Any:
    secret = handler.settings["cookie_secret"]
    named = decode_signed_value(secret, COOKIE, value, max_age_days=DAYS)
    number = (named or b"").partition(b":")[0].decode()
    row = handler.db.get(orm.APIToken, int(number)) if number.isdecimal() else None
    if row is None or row.user is None or named != _name(row).encode():
        return None
    is_over = row.expires_at is None or row.expires_at <= utcnow(with_tz=False)
    return None if is_over or row.client_id != spawner.oauth_client_id else row
