"""The page on which a person chooses options and starts a workspace.

Invariants: the form is that of the workspace which is started, with the rights of whoever looks at
it, and nothing starts with options that somebody else put into a link: options in the address fill
in the form, and the person presses Start. Who only looks at the form of a new server adds none.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import maybe_future
from tornado import web
from tornado.httputil import url_concat

from mlhub.options.model import WorkspaceOptions
from mlhub.texts import Text
from mlhub.workspaces.server_names import NamedServers
from mlhub.workspaces.start import PolicyEnforcement


class SpawnFormHandler(NamedServers, SpawnHandler):
    """Show the form, and start the workspace with what was chosen."""

    sent_fields: dict[str, list[str]] | None = None
    server_name = ""
    form_path = ""  # where the form goes, if not to where the request went
    # Servers that exist for a form alone, and how many requests look at each form.
    _shown_only: ClassVar[set[tuple[str, str]]] = set()
    _looking: ClassVar[Counter[tuple[str, str]]] = Counter()

    @needs_scope("servers")
    async def _get(self, user_name: str, server_name: str, display_name: str) -> None:
        self._take_up(user_name, server_name)
        user = self.find_user(user_name)
        if user is not None and server_name not in user.orm_spawners:
            self._shown_only.add((user_name, server_name))
        self._looking[user_name, server_name] += 1
        try:
            await super()._get(
                user_name=user_name, server_name=server_name, display_name=display_name
            )
        finally:
            self._let_go(user_name, server_name)
            self._looking[user_name, server_name] -= 1
            if not self._looking[user_name, server_name]:
                del self._looking[user_name, server_name]
                self._forget_unless_started(user_name, server_name)

    @needs_scope("servers")
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        self._take_up(user_name, server_name)
        self._shown_only.discard((user_name, server_name))
        # Checked by now; a site's own options_from_form expects its own fields alone.
        self.request.body_arguments.pop("_xsrf", None)
        try:
            self.sent_fields = {
                name: [text.decode() for text in texts]
                for name, texts in self.request.body_arguments.items()
            }
        except UnicodeDecodeError:
            raise web.HTTPError(
                400,
                Text(
                    "The form holds something that is no UTF-8 text. Load the page again"
                    " and type it anew."
                ),
            ) from None
        user: Any = self.find_user(user_name)
        is_known = user is None or server_name in user.orm_spawners
        if is_known and user is not None and user.spawners[server_name].active:
            # Pressed twice, or in another tab: there is one start.
            self.redirect(self._get_pending_url(user, server_name))
            return
        try:
            await super()._post(
                user_name=user_name, server_name=server_name, display_name=display_name
            )
            if not is_known and not self._leads_on:
                self._forget_refused(user, server_name)
        finally:
            self._let_go(user_name, server_name)

    @property
    def _leads_on(self) -> bool:
        """Whether the answer leads to the page of the start, which tells a refusal that came after
        JupyterHub's one second.
        """
        return self.get_status() == HTTPStatus.FOUND

    def _get_user_options(self, query_options: dict[str, list[str]]) -> dict[str, list[str]]:
        """Take the options of the address for the form; JupyterHub itself would start with them,
        whoever wrote the link.
        """
        known = {**WorkspaceOptions.model_fields, "custom_image": None, "defined_image": None}
        options = {
            key: texts
            for key, texts in query_options.items()
            if key in known or key.startswith("opt-")
        }
        self.sent_fields = super()._get_user_options(options) or None
        return {}

    async def _wrap_spawn_single_user(
        self,
        user: Any,
        server_name: str,
        display_name: str,
        spawner: Any,
        pending_url: str,
        options: Any = None,
    ) -> Any:
        """Start; without a form there is nothing that options in the address could fill in."""
        if options is None and self.sent_fields:
            raise web.HTTPError(
                400,
                Text(
                    "There is nothing to choose for this workspace. Open the address"
                    " without its options."
                ),
            )
        return await super()._wrap_spawn_single_user(
            user, server_name, display_name, spawner, pending_url, options
        )

    async def _render_form(
        self, for_user: Any, spawner_options_form: str, message: Any = "", html_message: Any = ""
    ) -> str:
        """Render the page; after a refused POST JupyterHub brings the form of the default server,
        whichever was meant.
        """
        spawner = for_user.spawners[self.server_name]
        if self.request.method == "POST":
            spawner.handler = self
            spawner_options_form = await maybe_future(spawner.get_options_form())
        # The form may show variables that are secrets.
        self.set_header("Cache-Control", "no-store")
        kept = {
            name: self.get_query_argument(name)
            for name in ("next", "display_name")
            if self.get_query_argument(name, None)
        }
        path = self.form_path or self.request.path
        page: str = await self.render_template(
            "spawn.html",
            for_user=for_user,
            auth_state=await for_user.get_auth_state(),
            spawner=spawner,
            spawner_options_form=spawner_options_form,
            error_message=message,
            html_error_message=html_message,
            action=url_concat(path, kept),
            # For a site's own template, which is written for JupyterHub's handler.
            url=url_concat(path, {**kept, "_xsrf": self.xsrf_token.decode("ascii")}),
        )
        return page

    def _take_up(self, user_name: str, server_name: str) -> None:
        """Put a new spawner in the place of one whose start failed; JupyterHub makes one and
        forgets it.
        """
        self.server_name = server_name
        user = self.find_user(user_name)
        failed = user.spawners.get(server_name) if user else None
        if failed is not None and failed._failed:
            user.spawners[server_name] = fresh = user.get_spawner(server_name, replace_failed=True)
            if isinstance(fresh, PolicyEnforcement):
                fresh.refused = failed.refused

    def _let_go(self, user_name: str, server_name: str) -> None:
        """Take back the rights that this request lent to a spawner which does not start."""
        user = self.find_user(user_name)
        spawner = user.spawners.get(server_name) if user else None
        if spawner is not None and spawner.handler is self and not spawner.pending:
            spawner.handler = None
            is_shown = self.request.method == "POST" and not self._leads_on
            if is_shown and isinstance(spawner, PolicyEnforcement):
                spawner.refused = None

    def _forget_refused(self, user: Any, server_name: str) -> None:
        """Remove a server that was made for a start which was then refused."""
        spawner = dict.get(user.spawners, server_name)
        if isinstance(spawner, PolicyEnforcement) and spawner.refused and not spawner.active:
            self.db.delete(spawner.orm_spawner)
            user.spawners.pop(server_name, None)
            self.db.commit()

    def _forget_unless_started(self, user_name: str, server_name: str) -> None:
        """Remove a server that JupyterHub has added to show its form."""
        user, key = self.find_user(user_name), (user_name, server_name)
        if key not in self._shown_only:
            return
        self._shown_only.discard(key)
        spawner = user.spawners.get(server_name) if user else None
        # Without a form, looking is starting. The default server is everybody's.
        if server_name and spawner is not None and not (spawner.active or spawner._failed):
            self.db.delete(spawner.orm_spawner)
            user.spawners.pop(server_name, None)
            self.db.commit()


HANDLERS = [
    (r"/spawn", SpawnFormHandler),
    (r"/spawn/([^/]+)", SpawnFormHandler),
    (r"/spawn/([^/]+)/([^/]+)", SpawnFormHandler),
]
