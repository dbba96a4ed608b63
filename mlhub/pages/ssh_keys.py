"""People's SSH keys: the page, the hub's REST API, and the look-up of a workspace's own sshd.

=======  ==========================================  ==========================================================
GET      ``users/{user}/ssh-keys``                   list keys (scope ``read:tokens``)
POST     the same                                    ``{"name", "key"}`` registers one (scope ``tokens``)
DELETE   ``users/{user}/ssh-keys/{id}``              removes one (scope ``tokens``)
GET      ``users/{user}/ssh-config``                 OpenSSH client configuration; ``?system=windows``, ``?host=``, ``?port=``
GET      ``ssh/authorized-keys?fingerprint=``        one line for the sshd of the workspace whose token asks, or 404
=======  ==========================================  ==========================================================

A key is a way to sign in, as a token is; so JupyterHub's scopes for tokens say who may read and change keys: people their
own, administrators all. The token of a workspace has neither, and is refused besides, whatever a site's roles give it.
"""

from __future__ import annotations

import json
import re
from secrets import compare_digest
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.metrics import prometheus_log_method
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import compare_token, get_browser_protocol, isoformat, utcnow
from tornado import web

from mlhub.auth.handlers import MAX_BODY_BYTES, AccountPage
from mlhub.auth.public_keys import parse_public_key
from mlhub.auth.ssh_access import has_ssh, may_enter
from mlhub.auth.ssh_keys import SshKey, SshKeys
from mlhub.errors import BackendError, MLHubError, OptionsError
from mlhub.pages.ssh_client import SYSTEMS, UNIX, Site, make_pasteable_config, make_removal_command, make_setup_command
from mlhub.settings import Settings
from mlhub.workspace.alias import is_host, list_suffixes, make_alias

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?\Z")


class SshMixin:
    """What the page and the API have in common: the keys, and where this hub's SSH door is."""

    @property
    def keys(self) -> SshKeys:
        """The table of keys."""
        return SshKeys(self.db)  # type: ignore[attr-defined]

    @property
    def product(self) -> Settings:
        """The settings of this container, read once."""
        return self.settings.get("mlhub_settings") or self.settings.setdefault("mlhub_settings", Settings.load())  # type: ignore[attr-defined]

    def add_key(self, user: Any, name: str, text: str) -> SshKey:
        """Register a key and log who did it for whom."""
        key = self.keys.add(user, name, parse_public_key(text), utcnow(with_tz=False))
        self.log.info("%r: added the SSH key %s of %r.", self.current_user.name, key.fingerprint, user.name)  # type: ignore[attr-defined]
        return key

    def remove_key(self, user: Any, key_id: int) -> None:
        """Remove a key and log who did it."""
        if not self.keys.remove(user, key_id):
            raise web.HTTPError(404, "There is no such key. It may have been removed already.")
        self.log.info("%r: removed the SSH key %s of %r.", self.current_user.name, key_id, user.name)  # type: ignore[attr-defined]

    def make_site(self, host: str = "", port: str = "") -> Site:
        """Say how clients reach this hub: as this request did, unless it says otherwise.

        Raises ``BackendError`` while there is no authority yet.
        """
        try:
            authority = (self.product.data_volume_container / "ssh" / "ca.pub").read_text()
        except OSError:
            raise BackendError("SSH is not ready on this hub. Ask your administrator whether START_SSH is on.") from None
        found_host, found_port = self._find_door()
        if port and not (port.isascii() and port.isdecimal()):
            raise OptionsError("The port is not a number.")
        suffix = list_suffixes(self.product.hub_name, self.product.mlhub_hostnames)[0]
        return Site(host or found_host, int(port) if port else found_port, suffix, authority)

    def _find_door(self) -> tuple[str, int]:
        request = self.request  # type: ignore[attr-defined]
        asked = _HOST.match(request.host or "")
        host = (asked["address"] or asked["name"]).lower() if asked else ""
        if not is_host(host) or host == self.product.hub_name:  # the latter is known to workspaces alone
            host, asked = next(iter(self.product.mlhub_hostnames), "localhost"), None
        if self.product.execution_mode == "local" and not self.product.start_nginx:
            return host, 22  # sshd has a port of its own then
        if asked and asked["port"]:
            return host, int(asked["port"])
        return host, (443 if get_browser_protocol(request) == "https" else 80) if asked else self.product.mlhub_port


class SshAPIHandler(SshMixin, APIHandler):
    """Base: small bodies, our errors as JSON."""

    async def prepare(self) -> None:
        """Refuse a body that holds no key, before anything reads it."""
        if len(self.request.body) > MAX_BODY_BYTES:
            raise web.HTTPError(413, f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
        await super().prepare()

    def find_person(self, user_name: str) -> Any:
        """Return the person of a name."""
        person = self.find_user(user_name)
        if person is None:
            raise web.HTTPError(404, "There is no such user.")
        return person

    def refuse_workspaces(self) -> None:
        """Refuse tokens that were made for a workspace, or in one's name: who takes it over must not stay."""
        token = self.get_token()
        if token is not None and (token.client_id != "jupyterhub" or self.find_own_spawner() is not None):
            raise web.HTTPError(403, "The token of a workspace can not change SSH keys. Use the page of the hub, or a token made there.")

    def find_own_spawner(self) -> Any:
        """Return the spawner of the running workspace whose own token this request carries, or None."""
        token = self.get_token()
        person = self._user_from_orm(token.user) if token is not None and token.user is not None else None
        running = [spawner for spawner in person.spawners.values() if spawner.active] if person else []
        return next((spawner for spawner in running if _is_own_token(spawner, self.get_auth_token())), None)

    def require_own_spawner(self) -> Any:
        """Return the spawner of the running workspace that asks; refuse everybody else."""
        spawner = self.find_own_spawner() if self.current_user else None
        if spawner is None:
            raise web.HTTPError(403, "Only a running workspace may ask this, with its own token.")
        return spawner


def _is_own_token(spawner: Any, secret: str) -> bool:
    if spawner.api_token:
        return compare_digest(spawner.api_token.encode(), secret.encode())
    # After a restart of the hub only the hash is left: the token is the secret of the server's OAuth client too.
    client = spawner.orm_spawner.oauth_client
    return bool(client and client.secret and compare_token(client.secret, secret))


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
    }


class KeysHandler(SshAPIHandler):
    """List and register keys."""

    @needs_scope("read:tokens")
    async def get(self, user_name: str) -> None:
        """List a person's keys."""
        self.write(json.dumps([_make_model(key) for key in self.keys.list(self.find_person(user_name))]))

    @needs_scope("tokens")
    async def post(self, user_name: str) -> None:
        """Register a key."""
        self.refuse_workspaces()
        person, (name, text) = self.find_person(user_name), self._read_key()
        try:
            key = self.add_key(person, name, text)
        except MLHubError as error:
            raise web.HTTPError(error.status_code, str(error)) from error
        self.set_status(201)
        self.write(json.dumps(_make_model(key)))

    def _read_key(self) -> tuple[str, str]:
        # Not JupyterHub's own reader, which logs a body that it can not parse: it may be a private key.
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            body = None
        fields = {"name": "", **body} if isinstance(body, dict) else {}
        if set(fields) != {"name", "key"} or not all(isinstance(value, str) for value in fields.values()):
            raise web.HTTPError(400, 'The body is not a JSON object with the texts "key" and, if you like, "name".')
        return fields["name"], fields["key"]


class KeyHandler(SshAPIHandler):
    """Remove one key."""

    @needs_scope("tokens")
    async def delete(self, user_name: str, key_id: str) -> None:
        """Remove a key; its open sessions end."""
        self.refuse_workspaces()
        self.remove_key(self.find_person(user_name), int(key_id))
        self.set_status(204)


class ClientConfigHandler(SshAPIHandler):
    """Answer with the configuration of an OpenSSH client."""

    @needs_scope("read:users:name")
    async def get(self, user_name: str) -> None:
        """Write the configuration as plain text."""
        self.find_person(user_name)
        system = self.get_query_argument("system", UNIX)
        if system not in SYSTEMS:
            raise web.HTTPError(400, f"The system is none of {', '.join(SYSTEMS)}.")
        try:
            site = self.make_site(self.get_query_argument("host", ""), self.get_query_argument("port", ""))
        except MLHubError as error:
            raise web.HTTPError(error.status_code, str(error)) from error
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(make_pasteable_config(site, self.product.mlhub_resources_dir, system))


class AuthorizedKeysHandler(SshAPIHandler):
    """Answer the sshd inside a workspace: may the owner of this key enter, now?"""

    async def get(self) -> None:
        """Write one authorized_keys line, or nothing with 404."""
        spawner = self.require_own_spawner()
        # A shell that asks may not have escaped the plus sign.
        fingerprint = self.get_query_argument("fingerprint", "").replace(" ", "+")
        key = self.keys.find(fingerprint) if _FINGERPRINT.match(fingerprint) else None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if key is None or not await may_enter(self.authenticator, key.user, spawner):
            self.set_status(404)
            self.finish()
            return
        self.finish(f"{key.line}\n")

    def _log(self) -> None:
        # The bastion has put the sign-in on record; that its key was looked for once more, or is unknown here, is no news.
        if self.get_status() not in (200, 404):
            super()._log()
            return
        self.log.debug("%s %s %s", self.get_status(), self.request.method, self.request.path)
        prometheus_log_method(self)


class KeysPage(SshMixin, AccountPage):
    """Show a person their keys, and how to set up a client."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        await self.show_keys()

    @web.authenticated
    async def post(self) -> None:
        """Register a key."""
        try:
            self.add_key(self.current_user, self.field("name"), self.field("key"))
        except MLHubError as error:
            await self.show_keys(str(error), status=error.status_code, name=self.field("name")[:200])
            return
        self.redirect(f"{self.hub.base_url}ssh-keys")

    async def show_keys(self, message: str = "", *, status: int = 200, name: str = "") -> None:
        """Answer with the page, and a message on it."""
        person, setups, config, unready, aliases = self.current_user, [], "", "", []
        try:
            site, resources = self.make_site(), self.product.mlhub_resources_dir
            commands = [
                (system, make_setup_command(site, resources, system, person.name), make_removal_command(site, resources, system))
                for system in SYSTEMS
            ]
            setups, config = commands, make_pasteable_config(site, resources)
            open_ones = [spawner for spawner in person.all_spawners() if has_ssh(spawner)]
            aliases = [make_alias(person.name, spawner.name, site.suffix) for spawner in open_ones]
        except MLHubError as error:
            unready = str(error)
        values: dict[str, Any] = {
            "keys": self.keys.list(person),
            "setups": setups,
            "config": config,
            "unready": unready,
            "aliases": aliases,
        }
        await self.show("ssh-keys.html", message, status=status, key_name=name, **values)


class RemoveKeyPage(SshMixin, AccountPage):
    """Take a key away by the page's button."""

    @web.authenticated
    async def get(self, key_id: str) -> None:
        """Show the page; nothing changes."""
        self.redirect(f"{self.hub.base_url}ssh-keys")

    @web.authenticated
    async def post(self, key_id: str) -> None:
        """Remove the key."""
        self.remove_key(self.current_user, int(key_id))
        self.redirect(f"{self.hub.base_url}ssh-keys")


HANDLERS: list[tuple[Any, ...]] = [
    (r"/ssh-keys", KeysPage),
    (r"/ssh-keys/(\d{1,9})/remove", RemoveKeyPage),
    (r"/api/users/([^/]+)/ssh-keys", KeysHandler),
    (r"/api/users/([^/]+)/ssh-keys/(\d{1,9})", KeyHandler),
    (r"/api/users/([^/]+)/ssh-config", ClientConfigHandler),
    (r"/api/ssh/authorized-keys", AuthorizedKeysHandler),
]
