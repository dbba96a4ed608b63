"""The token that the hub gives to a workspace, by which it acts for its owner: valid while the
workspace runs.
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join


def revoke_server_tokens(db: Any, orm_spawner: Any) -> None:
    """Delete the tokens made for one server, in the transaction that is open.

    JupyterHub keeps the token of a server that may be resumed, also when the server itself is
    deleted.
    """
    owner = orm_spawner.user
    if owner is None:  # deleted with its owner, as are all tokens
        return
    # How JupyterHub names them; the prefix of a hub's addresses is not known here.
    place = url_path_join(
        "/user", url_escape_path(owner.name), url_escape_path(orm_spawner.name), "/"
    )
    for token in list(owner.api_tokens):
        note = token.note or ""
        is_made_for_it = note.startswith("Server at ") and note.removeprefix("Server at ").endswith(
            place
        )
        if is_made_for_it or note == f"retrieved from spawner {orm_spawner.name}":
            db.delete(token)


def keep_server_token(spawner: Any, secret: str) -> None:
    """Make the token that is part of a kept container the one of this start; it was deleted when
    the container was stopped.
    """
    db = spawner.user.db
    fresh = orm.APIToken.find(db, spawner.api_token) if spawner.api_token else None
    if fresh is not None and orm.APIToken.find(db, secret) is None:
        # Made by the hub once, so it needs no more rounds of hashing than a new one.
        spawner.user.new_api_token(
            secret, generated=True, note=fresh.note, scopes=list(fresh.scopes)
        )
    spawner.api_token = secret


def list_running_tokens(person: Any) -> list[str]:
    """List the tokens of a person's workspaces that run; ``person`` is None for nobody."""
    spawners = person.spawners.values() if person is not None else ()
    return [each.api_token for each in spawners if each.active and each.api_token]
