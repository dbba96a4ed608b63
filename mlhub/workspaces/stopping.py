"""Stop a workspace without a request, as JupyterHub's own handler does it, which needs one; and
tell its owner why.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from jupyterhub.user import User

from mlhub.errors import BackendError
from mlhub.texts import Text
from mlhub.workspaces.start import PolicyEnforcement


async def stop_workspace(app: Any, user: Any, server: str, because: str = "") -> None:
    """Stop one that runs, and keep its data; ``app`` is JupyterHub.

    ``because`` is the end of a sentence, which its owner is told until the next start. Raises
    ``BackendError`` where it does not stop.
    """
    spawner = user.spawners[server]
    spawner._stop_pending = True
    if isinstance(spawner, PolicyEnforcement):
        # JupyterHub stores it with the state, once it has stopped.
        spawner.grant = replace(spawner.grant, stopped_because=because)
    try:
        await app.proxy.delete_user(user, server)
        await user.stop(server)
    except Exception as error:
        reason = getattr(error, "log_message", None) or error
        raise BackendError(
            Text("The workspace does not stop: %(reason)s", reason=reason)
        ) from error
    finally:
        spawner._stop_pending = False


def find_reason(viewer: Any, owner: str, server: str) -> str:
    """Return why the hub itself stopped a workspace, for its owner alone; "" where it did not."""
    if not isinstance(viewer, User) or viewer.name != owner or server not in viewer.orm_spawners:
        return ""
    state = viewer.orm_spawners[server].state or {}
    return str(state.get("stopped_because") or "")


async def start_reasons(app: Any) -> None:
    """Let the hub's pages tell why something does not run."""
    app.template_vars.setdefault("stop_reason", lambda viewer: partial(find_reason, viewer))
