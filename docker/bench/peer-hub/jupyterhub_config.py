"""The peer's hub: the least that starts workspaces in Docker. One network for all, no volumes,
upstream's defaults.
"""

import os

c = get_config()  # noqa: F821 (JupyterHub puts it there)
images = os.environ["BENCH_IMAGES"].split(",")

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = images[0]
c.DockerSpawner.allowed_images = {image: image for image in images}
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.network_name = os.environ["BENCH_NETWORK"]
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.prefix = os.environ["BENCH_RUN"]
c.DockerSpawner.extra_create_kwargs = {"labels": {"mlhub.bench": os.environ["BENCH_RUN"]}}
c.JupyterHub.hub_ip = "0.0.0.0"  # noqa: S104 (its own container)
c.JupyterHub.hub_connect_ip = "peer"
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "bench",
        "services": ["bench"],
        "scopes": ["admin:users", "admin:servers", "access:servers"],
    }
]
