"""JupyterHub's pages about one workspace that somebody else may look at, too.

Invariants: the frame of a page names who looks at it; whose workspace it is, is ``owner``.
JupyterHub calls both ``user``, so an administrator would be greeted as the person they help.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers.base import BaseHandler, UserUrlHandler
from jupyterhub.handlers.pages import SpawnPendingHandler


class OwnerMixin(BaseHandler):
    """Put it before a handler of JupyterHub's that shows somebody's workspace."""

    def render_template(self, name: str, sync: bool = False, **values: Any) -> Any:
        """Render a page for whoever looks at it."""
        if "user" in values:
            values |= {"owner": values["user"], "user": self.current_user}
        return super().render_template(name, sync=sync, **values)


class PendingPage(OwnerMixin, SpawnPendingHandler):
    """Show how a start or a stop goes on."""

    def render_template(self, name: str, sync: bool = False, **values: Any) -> Any:
        """Have the page of a start that has failed load itself until the reason is known.

        JupyterHub stops what did not start before it says why, and leads a form that it has not
        answered within a second here. After a stop that somebody asked for, people go home.
        """
        if name == "stop_pending.html":
            start = values["spawner"]._spawn_future
            values["has_failed"] = start is not None and not start.done()
            if values["has_failed"]:
                self.set_header("Refresh", "1")
        return super().render_template(name, sync=sync, **values)


class NotRunningPage(OwnerMixin, UserUrlHandler):
    """Show that a workspace does not run."""


HANDLERS: list[tuple[Any, ...]] = [
    (r"/spawn-pending/([^/]+)", PendingPage),
    (r"/spawn-pending/([^/]+)/([^/]+)", PendingPage),
    (r"/user/(?P<user_name>[^/]+)(?P<user_path>/.*)?", NotRunningPage),
]
