"""The product's defaults. The user's file has the last word on every one of them.

Only ``c.JupyterHub``, ``c.Spawner`` and ``c.Authenticator`` are filled here, so that a user's
``c.Spawner.x`` and ``c.DockerSpawner.x`` alike win over them.
"""

from __future__ import annotations

from traitlets.config import Config

from mlhub.backends.registry import find_kind
from mlhub.settings import Settings


def apply_defaults(c: Config, settings: Settings) -> None:
    """Set every default on ``c``."""
    data = settings.data_volume_container
    c.JupyterHub.db_url = f"sqlite:///{data}/jupyterhub.sqlite"
    # Upgrades the schema after a backup of the database file beside it.
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret_file = str(data / "jupyterhub_cookie_secret")
    c.JupyterHub.spawner_class = find_kind(settings.execution_mode).spawner
    c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
    # The documented place of the logo; a file mounted there shows.
    c.JupyterHub.logo_file = "/usr/local/share/jupyterhub/static/images/jupyter.png"
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.redirect_to_server = False
    # The hub comes and goes; workspaces stay.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.init_spawners_timeout = 5
    c.JupyterHub.last_activity_interval = 60
    c.JupyterHub.trusted_downstream_ips = list(settings.mlhub_trusted_proxies)
    c.JupyterHub.template_paths = []
    c.JupyterHub.log_level = "DEBUG" if settings.mlhub_debug else "INFO"

    c.Authenticator.admin_users = {"admin"}

    c.Spawner.image = settings.mlhub_workspace_image
    c.Spawner.start_timeout = 600
    c.Spawner.http_timeout = 120
    # One person's broken image must not bring down the hub of all.
    c.Spawner.consecutive_failure_limit = 0
