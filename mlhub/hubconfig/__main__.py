"""``python -m mlhub.hubconfig``: start the hub, as ``jupyterhub`` does."""

from mlhub.hubconfig.app import MLHub

MLHub.launch_instance()
