"""When a workspace that runs already may be used as it is. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping

# Where the workspace finds its hub, and under which path it answers.
HUB_VARIABLES = ("JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_CLIENT_ID")


def fits_hub(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Tell whether the environment that a workspace was made with is that of this hub."""
    return all(wanted.get(name) == found.get(name) for name in HUB_VARIABLES)
