"""The page on which a person chooses options and starts a workspace.

Promise: the form is that of the workspace which is started, with the rights of whoever looks at it, and nothing starts
with options that somebody else put into a link: options in the address fill in the form, and the person presses Start.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import maybe_future
from tornado import web
from tornado.httputil import url_concat

from mlhub.workspace.enforcement import PolicyEnforcement
from mlhub.workspace.options import WorkspaceOptions


class SpawnFormHandler(SpawnHandler):
    """Show the form, and start the workspace with what was chosen."""

    sent_fields: dict[str, list[str]] | None = None
    server_name = ""

    @needs_scope("servers")
    async def _get(self, user_name: str, server_name: str, display_name: str) -> None:
        self._take_up(user_name, server_name)
        try:
            await super()._get(user_name=user_name, server_name=server_name, display_name=display_name)
        finally:
            self._let_go(user_name, server_name)

    @needs_scope("servers")
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        self._take_up(user_name, server_name)
        # Checked by now; a site's own options_from_form expects its own fields alone.
        self.request.body_arguments.pop("_xsrf", None)
        try:
            self.sent_fields = {name: [text.decode() for text in texts] for name, texts in self.request.body_arguments.items()}
        except UnicodeDecodeError:
            raise web.HTTPError(400, "The form holds something that is no UTF-8 text. Load the page again and type it anew.") from None
        try:
            await super()._post(user_name=user_name, server_name=server_name, display_name=display_name)
        finally:
            self._let_go(user_name, server_name)

    def _get_user_options(self, query_options: dict[str, list[str]]) -> dict[str, list[str]]:
        """Take the options of the address for the form; JupyterHub itself would start with them, whoever wrote the link."""
        known = {**WorkspaceOptions.model_fields, "custom_image": None, "defined_image": None}
        options = {key: texts for key, texts in query_options.items() if key in known or key.startswith("opt-")}
        self.sent_fields = super()._get_user_options(options) or None
        return {}

    async def _wrap_spawn_single_user(
        self, user: Any, server_name: str, display_name: str, spawner: Any, pending_url: str, options: Any = None
    ) -> Any:
        """Start; without a form there is nothing that options in the address could fill in."""
        if options is None and self.sent_fields:
            raise web.HTTPError(400, "There is nothing to choose for this workspace. Open the address without its options.")
        return await super()._wrap_spawn_single_user(user, server_name, display_name, spawner, pending_url, options)

    async def _render_form(self, for_user: Any, spawner_options_form: str, message: Any = "", html_message: Any = "") -> str:
        """Render the page; after a refused POST JupyterHub brings the form of the default server, whichever was meant."""
        spawner = for_user.spawners[self.server_name]
        if self.request.method == "POST":
            spawner.handler = self
            spawner_options_form = await maybe_future(spawner.get_options_form())
        # The form may show variables that are secrets.
        self.set_header("Cache-Control", "no-store")
        kept = {name: self.get_query_argument(name) for name in ("next", "display_name") if self.get_query_argument(name, None)}
        page: str = await self.render_template(
            "spawn.html",
            for_user=for_user,
            auth_state=await for_user.get_auth_state(),
            spawner=spawner,
            spawner_options_form=spawner_options_form,
            error_message=message,
            html_error_message=html_message,
            action=url_concat(self.request.path, kept),
            # For a site's own template, which is written for JupyterHub's handler.
            url=url_concat(self.request.path, {**kept, "_xsrf": self.xsrf_token.decode("ascii")}),
        )
        return page

    def _take_up(self, user_name: str, server_name: str) -> None:
        """Put a new spawner in the place of one whose start failed; JupyterHub makes one and forgets it."""
        self.server_name = server_name
        user = self.find_user(user_name)
        failed = user.spawners.get(server_name) if user else None
        if failed is not None and failed._failed:
            user.spawners[server_name] = fresh = user.get_spawner(server_name, replace_failed=True)
            if isinstance(fresh, PolicyEnforcement):
                fresh.refusal, fresh.refused_options = failed.refusal, failed.refused_options

    def _let_go(self, user_name: str, server_name: str) -> None:
        """Take back the rights that this request lent to a spawner which does not start."""
        user = self.find_user(user_name)
        spawner = user.spawners.get(server_name) if user else None
        if spawner is not None and spawner.handler is self and not spawner.pending:
            spawner.handler = None
            if self.request.method == "POST" and isinstance(spawner, PolicyEnforcement):
                spawner.refused_options = None  # they were just shown


HANDLERS = [
    (r"/spawn", SpawnFormHandler),
    (r"/spawn/([^/]+)", SpawnFormHandler),
    (r"/spawn/([^/]+)/([^/]+)", SpawnFormHandler),
]
