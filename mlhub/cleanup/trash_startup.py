"""Offer the trash with the hub: to pages, REST API and command."""

from __future__ import annotations

from typing import Any

from mlhub.cleanup.trash import SETTING, Trash, is_emptied
from mlhub.cleanup.trash_cli import make_socket_path, open_trash_socket
from mlhub.settings import Settings
from mlhub.texts import Text
from mlhub.workspaces.spawner import make_nobodys


async def start_trash(app: Any) -> None:
    """Offer it, where the place that workspaces run on has one; ``app`` is JupyterHub."""
    settings, workspace = Settings.load(), make_nobodys(app)
    if workspace is None:
        return
    hub = workspace.hub_name  # type: ignore[attr-defined]
    trash = Trash(app, settings, workspace.backend, hub)
    app.tornado_application.settings[SETTING] = trash
    app.template_vars.setdefault("trash_promise", make_promise(settings))
    app.template_vars.setdefault("is_emptied", is_emptied(settings))
    path = make_socket_path(settings.mlhub_run_dir)
    if path.parent.is_dir():
        app.trash_socket = await open_trash_socket(trash, path, app.recorder.record.write)


def make_promise(settings: Settings) -> str:
    """Say what becomes of data that moves to the trash."""
    days = settings.trash_retention_days
    if not is_emptied(settings):
        return Text("You can bring it back from there, until somebody empties the trash.")
    if days == 0:
        return Text("This hub keeps nothing in its trash: the data is lost at once.")
    if days == 1:
        return Text("You can bring it back from there for 1 day.")
    return Text("You can bring it back from there for %(days)s days.", days=f"{days:g}")
