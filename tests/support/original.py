"""Containers, networks and volumes as the original (ML Hub 2.0) named, labeled and told them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass(frozen=True)
class OldWorkspace:
    """One workspace of the original's."""

    hub: str
    user: str
    server: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def name(self) -> str:
        """Name of the container, and of its volume."""
        server = self.server.replace(" ", "-20").lower()
        return f"ws-{self.user}-{self.hub}" + (f"-{server}" if server else "")

    @property
    def network(self) -> str:
        """Name of the network that a person's workspaces shared."""
        return f"{self.hub}-{self.user}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its volume, and of the network that it was the first in."""
        names = {"origin": self.hub, "user": self.user, "server_name": self.server}
        return {f"mlhub.{name}": text for name, text in names.items()}

    @property
    def container_labels(self) -> dict[str, str]:
        """Labels of its container; 0 is for ever."""
        return {**self.labels, "expiration_timestamp_seconds": "0"}

    def make_environment(self, **chosen: str) -> Mapping[str, str]:
        """Make its environment, over which the original laid what its owner chose."""
        place = f"/user/{self.user}/" + (f"{self.server}/" if self.server else "")
        client = f"jupyterhub-user-{quote(self.user)}"
        client += f"-{quote(self.server)}" if self.server else ""
        return {
            "JUPYTERHUB_API_TOKEN": self.token,
            "JPY_API_TOKEN": self.token,
            "JUPYTERHUB_API_URL": f"http://{self.hub}:8081/hub/api",
            "JUPYTERHUB_ACTIVITY_URL": f"http://{self.hub}:8081/hub/api/users/{self.user}/activity",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": client,
            "JUPYTERHUB_HOST": "",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{place}oauth_callback",
            "JUPYTERHUB_SERVER_NAME": self.server,
            "JUPYTERHUB_SERVICE_PREFIX": place,
            "JUPYTERHUB_USER": self.user,
            "AUTHENTICATE_VIA_JUPYTER": "true",
            "SHUTDOWN_INACTIVE_KERNELS": "true",
            "SSH_JUMPHOST_TARGET": self.name,
            **chosen,
        }
