"""The page of a person's SSH keys."""

from __future__ import annotations

from typing import Any

from tornado import web

from mlhub.errors import MLHubError
from mlhub.ssh.access import find_ssh, has_ssh
from mlhub.ssh.alias import make_alias
from mlhub.ssh.client_setup import (
    SYSTEMS,
    make_pasteable_config,
    make_removal_command,
    make_setup_command,
)
from mlhub.ssh.handlers import SshMixin
from mlhub.texts import explain
from mlhub.web.pages import AccountPage


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
            await self.show_keys(
                explain(error), status=error.status_code, name=self.field("name")[:200]
            )
            return
        self.redirect(f"{self.hub.base_url}ssh-keys")

    async def show_keys(self, message: str = "", *, status: int = 200, name: str = "") -> None:
        """Answer with the page, and a message on it."""
        person, setups, config, hosts, unready, aliases = self.current_user, [], "", "", "", []
        try:
            site, resources = self.make_site(), self.product.mlhub_resources_dir
            commands = [
                (
                    system,
                    make_setup_command(site, resources, system, person.name),
                    make_removal_command(site, resources, system),
                )
                for system in SYSTEMS
            ]
            setups, config = commands, make_pasteable_config(site, resources)
            hosts = f"*.{site.suffix} {site.bastion}"
            open_ones = [spawner for spawner in person.all_spawners() if has_ssh(spawner)]
            aliases = [
                (make_alias(person.name, spawner.name, site.suffix), _find_trouble(spawner))
                for spawner in open_ones
            ]
        except MLHubError as error:
            unready = explain(error)
        values: dict[str, Any] = {
            "keys": self.keys.list(person),
            "setups": setups,
            "config": config,
            "hosts": hosts,
            "unready": unready,
            "aliases": aliases,
        }
        await self.show("ssh-keys.html", message, status=status, key_name=name, **values)


def _find_trouble(spawner: Any) -> str:
    ssh = find_ssh(spawner) if spawner.ready else None
    return ssh.trouble if ssh is not None else ""


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
]
