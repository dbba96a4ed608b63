"""The file of a hub of Docker Compose with upstream's DockerSpawner, in the manner of those that
people have.
"""

from __future__ import annotations

CONFIG = """
import os

c = get_config()
network = os.environ["DOCKER_NETWORK_NAME"]
inside = os.environ.get("DOCKER_NOTEBOOK_DIR", "/home/jovyan/work")

# Workspaces
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = os.environ["DOCKER_NOTEBOOK_IMAGE"]
c.DockerSpawner.network_name = network
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.extra_create_kwargs = {"labels": {"mlhub.test": os.environ["TEST_RUN"]}}
c.DockerSpawner.prefix = os.environ["HUB_NAME"]
c.DockerSpawner.notebook_dir = inside
c.DockerSpawner.volumes = {network + "-of-{username}": inside}
c.DockerSpawner.remove = True
c.DockerSpawner.debug = True

# The hub
c.JupyterHub.hub_ip = "jupyterhub"
c.JupyterHub.hub_port = 8080
c.JupyterHub.cookie_secret_file = "/data/jupyterhub_cookie_secret"
c.JupyterHub.db_url = "sqlite:////data/jupyterhub.sqlite"

# People
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.NativeAuthenticator.open_signup = True
admin = os.environ.get("JUPYTERHUB_ADMIN")
if admin:
    c.Authenticator.admin_users = [admin]

c.JupyterHub.services = [{"name": "tests", "api_token": os.environ["TEST_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "tests",
        "services": ["tests"],
        "scopes": ["admin:users", "admin:servers", "access:servers", "tokens"],
    }
]
"""
# What this product decides by itself.
DECIDED = ("c.JupyterHub.hub_ip", "c.JupyterHub.hub_port")


def without_decided_lines() -> str:
    """Return the file as its site changes it, told what is refused."""
    return "\n".join(line for line in CONFIG.splitlines() if not line.startswith(DECIDED))
