"""What the pages and the REST API about SSH have in common."""

from __future__ import annotations

import re
from secrets import compare_digest
from typing import Any

from jupyterhub.utils import compare_token, get_browser_protocol, utcnow
from tornado import web

from mlhub.errors import BackendError, OptionsError
from mlhub.settings import Settings
from mlhub.ssh.alias import is_host, list_suffixes
from mlhub.ssh.client_setup import Site
from mlhub.ssh.keys import SshKey, SshKeys
from mlhub.ssh.public_keys import parse_public_key
from mlhub.texts import Text
from mlhub.web.handlers import MLHubAPIHandler

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?\Z"
)


class SshMixin:
    """What the page and the API have in common: the keys, and where this hub's bastion is."""

    # JupyterHub's handlers, whose neighbor this is, have them.
    db: Any
    log: Any
    settings: Any
    current_user: Any

    @property
    def keys(self) -> SshKeys:
        """The table of keys."""
        return SshKeys(self.db)

    @property
    def product(self) -> Settings:
        """The settings of this container, read once."""
        return self.settings.get("mlhub_settings") or self.settings.setdefault(
            "mlhub_settings", Settings.load()
        )

    def add_key(self, user: Any, name: str, text: str) -> SshKey:
        """Register a key and log who did it for whom."""
        key = self.keys.add(user, name, parse_public_key(text), utcnow(with_tz=False))
        self.log.info(
            "%r: added the SSH key %s of %r.", self.current_user.name, key.fingerprint, user.name
        )
        return key

    def remove_key(self, user: Any, key_id: int) -> None:
        """Remove a key and log who did it."""
        if not self.keys.remove(user, key_id):
            raise web.HTTPError(
                404, Text("There is no such key. It may have been removed already.")
            )
        self.log.info(
            "%r: removed the SSH key %s of %r.", self.current_user.name, key_id, user.name
        )

    def make_site(self, host: str = "", port: str = "") -> Site:
        """Say how clients reach this hub: as this request did, unless it says otherwise.

        Raises ``BackendError`` while there is no authority yet.
        """
        try:
            authority = (self.product.data_volume_container / "ssh" / "ca.pub").read_text()
        except OSError:
            raise BackendError(
                Text(
                    "SSH is not ready on this hub. Ask your administrator whether START_SSH is on."
                )
            ) from None
        found_host, found_port = self._find_bastion()
        if port and not (port.isascii() and port.isdecimal()):
            raise OptionsError(Text("The port is not a number."))
        suffix = list_suffixes(self.product.hub_name, self.product.host_names)[0]
        return Site(host or found_host, int(port) if port else found_port, suffix, authority)

    def _find_bastion(self) -> tuple[str, int]:
        request = self.request  # type: ignore[attr-defined]
        asked = _HOST.match(request.host or "")
        host = (asked["address"] or asked["name"]).lower() if asked else ""
        if (
            not is_host(host) or host == self.product.hub_name
        ):  # the latter is known to workspaces alone
            host, asked = next(iter(self.product.host_names), "localhost"), None
        if self.product.start_ssh and not self.product.start_nginx:
            return host, 22  # sshd has a port of its own then
        if asked and asked["port"]:
            return host, int(asked["port"])
        return host, (
            (443 if get_browser_protocol(request) == "https" else 80)
            if asked
            else self.product.mlhub_port
        )


class SshAPIHandler(SshMixin, MLHubAPIHandler):
    """Base of the REST handlers: whose keys, and which workspace asks."""

    def find_person(self, user_name: str) -> Any:
        """Return who has a name; raise 404 where nobody does."""
        person = self.find_user(user_name)
        if person is None:
            raise web.HTTPError(404, Text("There is no such user."))
        return person

    def refuse_workspaces(self) -> None:
        """Refuse tokens that were made for a workspace, or in one's name: who takes it over must
        not stay.
        """
        token = self.get_token()
        if token is not None and (
            token.client_id != "jupyterhub" or self.find_own_spawner() is not None
        ):
            raise web.HTTPError(
                403,
                Text(
                    "The token of a workspace cannot change SSH keys. Use the page of the"
                    " hub, or a token made there."
                ),
            )

    def find_own_spawner(self) -> Any:
        """Return the spawner of the running workspace whose own token this request carries, or
        None.
        """
        token = self.get_token()
        person = (
            self._user_from_orm(token.user)
            if token is not None and token.user is not None
            else None
        )
        running = (
            [spawner for spawner in person.spawners.values() if spawner.active] if person else []
        )
        return next(
            (spawner for spawner in running if _is_own_token(spawner, self.get_auth_token())), None
        )

    def require_own_spawner(self) -> Any:
        """Return the spawner of the running workspace that asks; refuse everybody else."""
        spawner = self.find_own_spawner() if self.current_user else None
        if spawner is None:
            raise web.HTTPError(
                403, Text("Only a running workspace may ask this, with its own token.")
            )
        return spawner


def _is_own_token(spawner: Any, secret: str) -> bool:
    if spawner.api_token:
        return compare_digest(spawner.api_token.encode(), secret.encode())
    # After a restart of the hub only the hash is left: the token is the secret of the server's
    # OAuth client too.
    client = spawner.orm_spawner.oauth_client
    return bool(client and client.secret and compare_token(client.secret, secret))
