"""Start the cleanup service with the hub."""

from __future__ import annotations

from typing import Any

from mlhub.cleanup.control import make_socket_path, open_control
from mlhub.cleanup.service import Cleanup
from mlhub.settings import Settings
from mlhub.workspaces.spawner import make_nobodys

SETTING = "mlhub_cleanup"


async def start_cleanup(app: Any) -> None:
    """Start the service, where the site wants one and its workspaces are ours to look after."""
    settings = Settings.load()
    workspace = make_nobodys(app)
    if not settings.is_cleanup_service_enabled or workspace is None:
        return
    cleanup = Cleanup(app, settings, workspace.backend, app.recorder.record.write)
    app.tornado_application.settings[SETTING] = cleanup
    path = make_socket_path(settings.mlhub_run_dir)
    if path.parent.is_dir():
        app.cleanup_control = await open_control(cleanup, path)
    cleanup.start()
