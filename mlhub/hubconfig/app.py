"""JupyterHub, with our pages, our backend made ready before running workspaces are looked for, and errors as sentences."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from jupyterhub.app import JupyterHub
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError
from traitlets import TraitError

from mlhub.bastion.opening import open_bastion
from mlhub.errors import EXIT_CONFIGURATION, BackendError, MLHubError
from mlhub.hubconfig.log import RefusalFilter
from mlhub.pages import routes, spawn, ssh_bundle, ssh_keys, workspaces
from mlhub.pages.static import StaticHandler
from mlhub.settings import Settings


class MLHub(JupyterHub):
    """Run the hub; ``c.JupyterHub`` configures it as ever."""

    def load_config_file(self, *arguments: Any, **named: Any) -> None:
        """Read the configuration; a value of the wrong type (traitlets has named it by now) is not worth another try."""
        try:
            super().load_config_file(*arguments, **named)
        except SystemExit as ended:
            raise SystemExit(EXIT_CONFIGURATION if ended.code else 0) from None

    def init_handlers(self) -> None:
        """Add our pages before JupyterHub's own."""
        super().init_handlers()
        static = Settings.load().mlhub_resources_dir / "static"
        ours: list[tuple[Any, ...]] = [(r"/mlhub-static/(.*)", StaticHandler, {"path": str(static)})]
        ours += workspaces.HANDLERS
        ours += spawn.HANDLERS
        ours += ssh_keys.HANDLERS
        ours += ssh_bundle.HANDLERS
        ours += routes.HANDLERS
        self.handlers[:0] = self.add_url_prefix(self.hub_prefix, ours)

    def init_logging(self) -> None:
        """Keep tracebacks for what is not a person's own mistake."""
        super().init_logging()
        self.log.addFilter(RefusalFilter())

    def init_db(self) -> None:
        """Open the database; a server that does not let the hub in says why, which JupyterHub shows only when it debugs."""
        url = make_url(self.db_url)
        if url.get_backend_name() != "sqlite":
            engine = create_engine(url, **self.db_kwargs)
            try:
                engine.connect().close()
            except OperationalError as error:
                # Drivers name no password.
                reason = " ".join(str(error.orig).split())
                place = url.render_as_string(hide_password=True)
                # Another code than that of a wrong configuration: the server may only be late, and the hub is started again.
                self._refuse(f"The database {place} does not let the hub in: {reason}. Check its address, user and password.", code=1)
            finally:
                engine.dispose()
        super().init_db()

    async def init_spawners(self) -> int:
        """Let the backend find itself first: running workspaces may be reachable only then."""
        spawner = self.spawner_class(parent=self)
        try:
            if hasattr(spawner, "prepare_hub"):
                await spawner.prepare_hub()
        except BackendError as error:
            # The engine may come back by itself; each start tries again and says so to the person.
            self.log.error("%s The hub goes on without it.", error)
        except MLHubError as error:
            # Not raised: JupyterHub waits for this as long as init_spawners_timeout, and later loses what is wrong.
            self._refuse(error)
        return await super().init_spawners()

    async def launch_instance_async(self, argv: list[str] | None = None) -> None:
        """Start; what the site can mend is one sentence, not a traceback."""
        try:
            await self.initialize(argv)
            # Before the services, for which JupyterHub waits: SSH is none of their business.
            self.bastion = await open_bastion(self, Settings.load())
            await self.start()
        except MLHubError as error:
            self._refuse(error)
        except (TraitError, ImportError) as error:
            self._refuse(f"{error} Correct jupyterhub_user_config.py and start the container again.")
        except (Exception, asyncio.CancelledError):
            self.log.exception("The hub can not start")
            self.exit(1)

    def _refuse(self, reason: Any, code: int = EXIT_CONFIGURATION) -> None:
        print(f"[MLHub] Error: {reason}", file=sys.stderr, flush=True)
        self.exit(code)
