"""Config of the real hub process of test_hub_process.py; what differs comes as JSON in
MLHUB_TEST_HUB.
"""

import json
import os

from jupyterhub.proxy import Proxy

from mlhub.workspaces.api import HANDLERS


class MemoryProxy(Proxy):
    """Keep routes in memory: these tests are about the hub and the engine."""

    should_start = False
    routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


test = json.loads(os.environ["MLHUB_TEST_HUB"])
c = get_config()  # noqa: F821
c.JupyterHub.proxy_class = MemoryProxy
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.JupyterHub.spawner_class = "mlhubspawner.MLHubDockerSpawner"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.JupyterHub.hub_port = test["port"]
c.JupyterHub.db_url = f"sqlite:///{test['folder']}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{test['folder']}/cookie_secret"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.extra_handlers = HANDLERS
c.JupyterHub.services = [{"name": "tests", "api_token": test["token"]}]
c.JupyterHub.load_roles = [
    {
        "name": "tests",
        "services": ["tests"],
        "scopes": ["admin:users", "admin:servers", "access:servers", "list:users"],
    }
]
c.Spawner.port = 8080
c.Spawner.poll_interval = 1
for name, value in test["spawner"].items():
    setattr(c.Spawner, name, value)
