"""``python -m mlhub.hub``: start the hub, as ``jupyterhub`` does."""

from mlhub.hub.app import MLHub

MLHub.launch_instance()
