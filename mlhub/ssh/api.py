"""The REST API about people's SSH keys, and the look-up of a workspace's own sshd.

=======  ====================================  ===================================================
GET      ``users/{user}/ssh-keys``             list keys (scope ``read:tokens``)
POST     the same                              ``{"name", "key"}`` registers one (scope ``tokens``)
DELETE   ``users/{user}/ssh-keys/{id}``        removes one (scope ``tokens``)
GET      ``users/{user}/ssh-config``           OpenSSH client configuration; ``?system=windows``,
                                               ``?host=``, ``?port=``
GET      ``ssh/authorized-keys?fingerprint=``  one line for the sshd of the workspace whose token
                                               asks, or 404
=======  ====================================  ===================================================

A key is a way to sign in, as a token is; so JupyterHub's scopes for tokens say who may read and
change keys: people their own, administrators all. The token of a workspace has neither, and is
refused besides, whatever a site's roles give it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jupyterhub.scopes import needs_scope
from jupyterhub.utils import isoformat
from tornado import web

from mlhub.ssh.access import may_enter
from mlhub.ssh.client_setup import SYSTEMS, UNIX, make_pasteable_config
from mlhub.ssh.handlers import SshAPIHandler
from mlhub.ssh.keys import SshKey

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


def _make_model(key: SshKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "bits": key.bits,
        "key": key.line,
        "fingerprint": key.fingerprint,
        "created_at": isoformat(key.created_at),
        "last_used_at": isoformat(key.last_used_at),
        "last_used_from": key.last_used_from,
        "only_server": key.limit.server if key.limit else None,
    }


class KeysHandler(SshAPIHandler):
    """SSH keys of a person."""

    @needs_scope("read:tokens")
    async def get(self, user_name: str) -> None:
        """List a person's keys."""
        self.answer([_make_model(key) for key in self.keys.list(self.find_person(user_name))])

    @needs_scope("tokens")
    async def post(self, user_name: str) -> None:
        """Register a key."""
        self.refuse_workspaces()
        person, (name, text) = self.find_person(user_name), self._read_key()
        with self.friendly_errors():
            self.answer(_make_model(self.add_key(person, name, text)), 201)

    def _read_key(self) -> tuple[str, str]:
        # Not JupyterHub's own reader, which logs a body that it cannot parse: it may be a private
        # key.
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            body = None
        fields = {"name": "", **body} if isinstance(body, dict) else {}
        if set(fields) != {"name", "key"} or not all(
            isinstance(value, str) for value in fields.values()
        ):
            raise web.HTTPError(
                400, 'The body is not a JSON object with the texts "key" and, if you like, "name".'
            )
        return fields["name"], fields["key"]


class KeyHandler(SshAPIHandler):
    """One SSH key of a person."""

    @needs_scope("tokens")
    async def delete(self, user_name: str, key_id: str) -> None:
        """Remove a key; its open sessions end."""
        self.refuse_workspaces()
        self.remove_key(self.find_person(user_name), int(key_id))
        self.set_status(204)


class ClientConfigHandler(SshAPIHandler):
    """The configuration of an OpenSSH client."""

    @needs_scope("read:users:name")
    async def get(self, user_name: str) -> None:
        """Write the configuration as plain text."""
        self.find_person(user_name)
        system = self.get_query_argument("system", UNIX)
        if system not in SYSTEMS:
            raise web.HTTPError(400, f"The system is none of {', '.join(SYSTEMS)}.")
        host, port = self.get_query_argument("host", ""), self.get_query_argument("port", "")
        with self.friendly_errors():
            site = self.make_site(host, port)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(make_pasteable_config(site, self.product.mlhub_resources_dir, system))


class AuthorizedKeysHandler(SshAPIHandler):
    """Answer the sshd inside a workspace: may the owner of this key enter, now?"""

    # The bastion has put the sign-in on record; that its key was looked for once more, or is
    # unknown here, is no news.
    quiet_statuses = frozenset({200, 404})

    async def get(self) -> None:
        """Write one authorized_keys line, or nothing with 404."""
        spawner = self.require_own_spawner()
        # A shell that asks may not have escaped the plus sign.
        fingerprint = self.get_query_argument("fingerprint", "").replace(" ", "+")
        key = self.keys.find(fingerprint) if _FINGERPRINT.match(fingerprint) else None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if (
            key is None
            or not key.opens(spawner.user.name, spawner.name)
            or not await may_enter(self.authenticator, key.user, spawner)
        ):
            self.set_status(404)
            self.finish()
            return
        self.finish(f"{key.line}\n")


HANDLERS: list[tuple[Any, ...]] = [
    (r"/api/users/([^/]+)/ssh-keys", KeysHandler),
    (r"/api/users/([^/]+)/ssh-keys/(\d{1,9})", KeyHandler),
    (r"/api/users/([^/]+)/ssh-config", ClientConfigHandler),
    (r"/api/ssh/authorized-keys", AuthorizedKeysHandler),
]
