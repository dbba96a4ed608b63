"""Where this container keeps its files."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

# By one of these a directory is known as one that a hub has kept.
SIGNS = ("jupyterhub.sqlite", "jupyterhub_cookie_secret", "proxy_auth_token")


class Files(BaseModel):
    """Where this container keeps its files."""

    data_volume_container: Path = Field(
        Path("/data"),
        description="Directory inside the container that holds everything worth keeping.",
    )
    mlhub_resources_dir: Path = Field(
        Path("/resources"), description="Directory of configuration and templates inside the image."
    )
    mlhub_run_dir: Path = Field(
        Path("/run/mlhub"),
        description="Directory for sockets and rendered files; emptied at each boot.",
    )
