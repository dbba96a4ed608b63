"""JupyterHub, with our pages, our backend made ready before running workspaces are looked for, and
errors as sentences.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from jupyterhub import __version__ as hub_version
from jupyterhub.app import JupyterHub
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError
from tornado.httputil import HTTPHeaders
from traitlets import Float, Integer, TraitError

from mlhub import __version__ as mlhub_version
from mlhub.errors import EXIT_CONFIGURATION, BackendError, MLHubError
from mlhub.hub import listeners
from mlhub.hub.log import MaskingFormatter, RefusalFilter
from mlhub.hub.reconciliation import Reconciliation
from mlhub.hub.rooms import ROOMS
from mlhub.hub.running import wait_for_what_runs
from mlhub.hub.server import BoundedServer
from mlhub.settings import Settings
from mlhub.signin.recognition import recognize_the_authorized_only
from mlhub.texts import Languages, PageTexts
from mlhub.web.navigation import GuardedApplication, explain_wide_frames, protect
from mlhub.web.static import StaticHandler, make_linker
from mlhub.workspaces.holder import ensure_keys
from mlhub.workspaces.server_names import TAKEN
from mlhub.workspaces.spawner import make_nobodys


class MLHub(JupyterHub):
    """Run the hub; ``c.JupyterHub`` configures it as ever."""

    _log_formatter_cls = MaskingFormatter
    # Until it is known which workspaces run; stopped_routes.py keeps their routes meanwhile.
    is_looking = True
    correction_seconds = Float(
        60.0,
        min=0,
        config=True,
        help=(
            "Seconds before most of what runs is stopped because an allow-list suddenly lacks its"
            " owners."
        ),
    )
    max_body_size = Integer(
        2**20,
        min=2**16,
        config=True,
        help="Bytes that the body of a request to the hub itself may have.",
    )
    max_connections_per_address = Integer(
        4096,
        min=64,
        config=True,
        help=(
            "Connections to the hub from one address, such as a workspace's, or that of a proxy"
            " elsewhere."
        ),
    )

    usage_seconds = Float(
        60.0,
        min=0,
        config=True,
        help="Seconds between two looks at what runs, for the pages about usage; 0: never.",
    )

    def load_config_file(self, *arguments: Any, **named: Any) -> None:
        """Read the configuration; a value of the wrong type (traitlets has named it by now) is not
        worth another try.
        """
        try:
            super().load_config_file(*arguments, **named)
        except SystemExit as ended:
            raise SystemExit(EXIT_CONFIGURATION if ended.code else 0) from None

    def init_handlers(self) -> None:
        """Add our pages before JupyterHub's own."""
        super().init_handlers()
        recognize_the_authorized_only()
        BoundedServer.limit(self.max_body_size, self.max_connections_per_address)
        static = Settings.load().mlhub_resources_dir / "static"
        ours: list[tuple[Any, ...]] = [
            (r"/mlhub-static/(.*)", StaticHandler, {"path": str(static)})
        ]
        ours += [handler for room in ROOMS for handler in room.handlers]
        outer = [handler for room in ROOMS for handler in room.outer_handlers]
        self.handlers[:0] = [
            *self.add_url_prefix(self.hub_prefix, ours),
            *self.add_url_prefix(self.base_url, outer),
        ]

    def init_tornado_settings(self) -> None:
        """Add the headers and cookie flags that the site has not set itself."""
        headers = HTTPHeaders(self.tornado_settings.get("headers", {}))
        if not self.subdomain_host and (sentence := explain_wide_frames(headers)):
            self.log.warning(sentence)
        protect(self.tornado_settings)
        self.template_vars.setdefault("taken_server_names", TAKEN)
        resources = Settings.load().mlhub_resources_dir
        link = make_linker(resources / "static")
        self.template_vars.setdefault("asset", lambda _: link)
        self.template_vars.setdefault("mlhub_version", mlhub_version)
        self.template_vars.setdefault("hub_version", hub_version)
        super().init_tornado_settings()
        for name in ("jinja2_env", "jinja2_env_sync"):
            self.tornado_settings[name].add_extension(PageTexts)
        self.tornado_settings["mlhub_languages"] = Languages(resources / "texts")

    def init_tornado_application(self) -> None:
        """Look at each request before a handler does; workspaces share the hub's origin."""
        self.tornado_application = GuardedApplication(self.handlers, **self.tornado_settings)

    def init_logging(self) -> None:
        """Keep tracebacks for what is not a person's own mistake, and write what our modules say
        as everything else: with its time, and without secrets.
        """
        super().init_logging()
        self.log.addFilter(RefusalFilter())
        ours = logging.getLogger("mlhub")
        ours.parent = self.log
        ours.setLevel(self.log_level)

    def init_db(self) -> None:
        """Open the database; a server that does not let the hub in says why, which JupyterHub shows
        only when it debugs.
        """
        url = make_url(self.db_url)
        if url.get_backend_name() != "sqlite":
            engine = create_engine(url, **self.db_kwargs)
            try:
                engine.connect().close()
            except OperationalError as error:
                # Drivers name no password.
                reason = " ".join(str(error.orig).split())
                place = url.render_as_string(hide_password=True)
                # Another code than that of a wrong configuration: the server may only be late, and
                # the hub is started again.
                self._refuse(
                    f"The database {place} does not let the hub in: {reason}. Check its address,"
                    " user and password.",
                    code=1,
                )
            finally:
                engine.dispose()
        super().init_db()
        ensure_keys(self.db)

    async def init_spawners(self) -> int:
        """Let the backend find itself first: running workspaces may be reachable only then."""
        workspace = make_nobodys(self)
        try:
            if workspace is not None:
                await workspace.prepare_hub()
        except BackendError as error:
            # The engine may come back by itself; each start tries again and says so to the person.
            self.log.error("%s The hub goes on without it.", error)
        except MLHubError as error:
            # Not raised: JupyterHub waits for this as long as init_spawners_timeout, and later
            # loses what is wrong.
            self._refuse(error)
        wait_for_what_runs(self.spawner_class)
        if workspace is None:
            return await self._check_spawners()
        self.reconciliation = Reconciliation(self, workspace.backend)
        # Neither waits for the other: whom the database knows is reached first.
        checked, _ = await asyncio.gather(self._check_spawners(), self.reconciliation.run())
        return checked

    async def _check_spawners(self) -> int:
        """Look which workspaces run; until then nobody's route is taken for a stale one."""
        try:
            checked = int(await super().init_spawners())
        finally:
            self.is_looking = False
        if self.http_server is not None:  # it took longer than JupyterHub waits
            await self.proxy.check_routes(self.users, self._service_map)
        return checked

    async def start(self) -> None:
        """Listen for workspaces, then, as JupyterHub does, for the proxy."""
        self.workspace_side = listeners.open_workspace_side(self)
        await super().start()

    async def launch_instance_async(self, argv: list[str] | None = None) -> None:
        """Start; what the site can mend is one sentence, not a traceback."""
        try:
            await self.initialize(argv)
            for room in ROOMS:
                if room.start is not None:
                    await room.start(self)
            await self.start()
        except MLHubError as error:
            self._refuse(error.numbered)
        except (TraitError, ImportError) as error:
            self._refuse(
                f"{error} Correct jupyterhub_user_config.py and start the container again."
            )
        except (Exception, asyncio.CancelledError):
            self.log.exception("The hub cannot start")
            self.exit(1)

    def _refuse(self, reason: Any, code: int = EXIT_CONFIGURATION) -> None:
        print(f"[MLHub] Error: {reason}", file=sys.stderr, flush=True)
        self.exit(code)
