"""A hub without a web server that dies at a chosen call of its engine, and starts again over the
same database and the same engine.

A hub that is killed does nothing any more: each further call of the engine, and each commit, raises
what no code catches. What it had not committed is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from types import SimpleNamespace

import requests
from jupyterhub import orm
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.objects import Hub
from jupyterhub.roles import assign_default_roles, create_role, get_default_roles
from jupyterhub.user import UserDict
from sqlalchemy import event

from mlhub.backends.docker.inventory import DockerBackend
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.cleanup.service import Cleanup
from mlhub.cleanup.trash import Trash
from mlhub.hub.app import MLHub
from mlhub.identity import Identity
from mlhub.settings import Settings
from mlhub.signin.departure import remove_person
from mlhub.workspaces.holder import ensure_keys
from mlhub.workspaces.hub_state import Site
from tests.support.pace import Stopwatch

GRACE = 700
# Alembic has one database at a time in mind.
OPENING = threading.Lock()
# What changes something on the engine, and what only looks.
CHANGES = frozenset(
    {
        "connect_container_to_network",
        "create_container",
        "create_network",
        "create_volume",
        "disconnect_container_from_network",
        "join_network",
        "kill",
        "remove_container",
        "remove_network",
        "remove_volume",
        "rename",
        "start",
        "stop",
        "unpause",
        "update_container",
    }
)
LOOKS = frozenset(
    {
        "containers",
        "create_host_config",
        "images",
        "info",
        "inspect_distribution",
        "inspect_container",
        "inspect_image",
        "inspect_network",
        "inspect_volume",
        "logs",
        "networks",
        "version",
        "volumes",
    }
)


class KilledError(BaseException):
    """The hub is dead."""


class Fate:
    """What meets which call of the engine, by its number or the first of a name. Calls that only
    look count where the engine goes away before them: else there is the same on it as before the
    next change.

    ``how`` is "hub", "connection" (one call), "engine" (all calls until it is lifted) or "task"
    (whoever asked is cancelled).
    """

    def __init__(self):
        self.lift()
        self.is_dead = False
        self.under_way = set()

    def lift(self):
        self.calls, self.at, self.when, self.how = [], None, "", ""
        self.is_met = self.is_away = False
        self.task = None

    def set(self, at, when, how):
        self.lift()
        self.at, self.when, self.how = at, when, how

    def bind(self, engine):
        """Let it meet the calls of an engine."""
        real = engine.call

        async def call(method, *args, **kwargs):
            if self.is_dead:
                raise KilledError
            assert method in CHANGES | LOOKS, f"does {method} change something?"
            counts = method in CHANGES or (self.when, self.how) == ("before", "engine")
            is_due = not self.is_met and counts and self.at in (len(self.calls), method)
            if counts:
                self.calls.append(method)
            if is_due and self.when == "before":
                self._strike()
            if self.is_away:
                raise requests.ConnectionError("Connection refused")
            try:
                answer = await self._do(method in CHANGES, real(method, *args, **kwargs))
            finally:
                if self.is_dead:
                    raise KilledError
                if is_due and self.when == "after":
                    self._strike()
            return answer

        engine.call = call

    async def _do(self, is_change, call):
        """Await a call; one that changes something goes on without a hub that died, as on the
        engine.
        """
        if not is_change:
            return await call
        doing = asyncio.ensure_future(call)
        self.under_way.add(doing)
        doing.add_done_callback(self.under_way.discard)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            # Else who was cancelled waits as long as the engine's client wants.
            if not self.is_dead:
                doing.cancel()
                await asyncio.wait({doing})
            raise

    def _strike(self):
        self.is_met = True
        if self.how == "hub":
            self.is_dead = True
            raise KilledError
        if self.how == "task":
            self.task.cancel()
            return
        self.is_away = self.how == "engine"
        raise requests.ConnectionError("Connection aborted")


class NoProxy:
    """Where no proxy runs there are no routes."""

    async def add_user(self, user, server=""):
        pass

    async def delete_user(self, user, server=""):
        pass

    async def check_routes(self, *arguments):
        pass


def forget_disk(connection, _):
    """Have a database wait for no disk: it is the hub that dies here, and not the machine."""
    connection.execute("PRAGMA synchronous = OFF")


class MortalHub:
    """One hub, over all its lives."""

    def __init__(self, at_hand, folder):
        at_hand.db.close()
        at_hand.spawner.poll_interval = 0
        self.config, self.hub_name, self.folder = at_hand.config, at_hand.hub_name, folder
        self.spawner_class = at_hand.spawner_class
        self.url = f"sqlite:///{folder}/jupyterhub.sqlite"
        self.factory = None
        self.fate, self.app, self.backend, self.shift = Fate(), None, None, 0.0
        # Since when nothing hinders it any more: its start, or the engine's return.
        self.watch = Stopwatch()
        self._others = set()

    # its lives

    async def start(self):
        """Begin a life."""
        self.fate = Fate()
        self._forget_before()
        self._others = asyncio.all_tasks()
        app = self.app = MLHub(config=self.config)
        app.spawner_class = self.spawner_class
        if self.factory is None:  # what makes the tables takes longer than a life
            with OPENING:
                self.factory = orm.new_session_factory(self.url)
            self.factory.kw["bind"].dispose()
            event.listen(self.factory.kw["bind"], "connect", forget_disk)
        app.session_factory = self.factory
        app.db = app.session_factory()
        event.listen(app.db, "before_commit", self._refuse_when_dead)
        if not app.db.query(orm.Role).count():
            app.db.add(
                orm.OAuthClient(
                    identifier="jupyterhub", secret="", redirect_uri="", description="JupyterHub"
                )
            )
            for role in get_default_roles():
                create_role(app.db, role)
            app.db.commit()
        ensure_keys(app.db)
        app.authenticator = DummyAuthenticator(allow_all=True)
        app.allow_named_servers, app.proxy = True, NoProxy()
        app.tornado_settings = {
            "config": self.config,
            "spawner_class": self.spawner_class,
            "hub": Hub(ip="127.0.0.1", port=8081, base_url="/hub/"),
            "allow_named_servers": True,
            "base_url": "/",
            "proxy": app.proxy,
            "authenticator": app.authenticator,
        }
        app.users = UserDict(lambda: app.db, app.tornado_settings)
        self.backend = app.spawner_class(parent=app).backend
        if isinstance(self.backend, DockerBackend):
            self.fate.bind(self.backend.engine)
        await app.init_spawners()

    def _forget_before(self):
        """Forget what the process before had in memory; other hubs may live beside this one."""
        kept = MLHubDockerSpawner._backends
        for key in [key for key, backend in list(kept.items()) if backend is self.backend]:
            del kept[key]
        Site._sites.pop(self.config[self.spawner_class.__name__].policy_file, None)

    def _refuse_when_dead(self, session):
        if self.fate.is_dead:
            raise KilledError

    async def end(self):
        """End a life, at once."""
        self.fate.is_dead = True
        for user in self.app.users.values():
            for spawner in user.spawners.values():
                spawner.stop_polling()
        told = set(self.fate.under_way)
        left = asyncio.all_tasks() - self._others - told - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left or told:
            await asyncio.wait(left | told, timeout=20)
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()
        bind = self.app.db.get_bind()
        with contextlib.suppress(KilledError):
            self.app.db.rollback()
            self.app.db.close()
        bind.dispose()
        if isinstance(self.backend, DockerBackend):
            self.backend.engine.close()
        self.backend._deletions.clear()  # a place in memory outlives the hub

    async def start_anew(self):
        """End a life, and begin another."""
        self.watch = Stopwatch()
        await self.end()
        await self.start()

    async def meet(self, do, *arguments):
        """Do something, which ends as its fate wants; return True if that was met."""
        self.fate.task = asyncio.ensure_future(do(*arguments))
        done, _ = await asyncio.wait({self.fate.task}, timeout=120)
        assert done, "it hangs"
        if not self.fate.task.cancelled():
            error = self.fate.task.exception()
            assert error is None or self.fate.is_met, repr(error)
        is_met, is_dead = self.fate.is_met, self.fate.is_dead
        self.watch = Stopwatch()
        if is_dead:
            await self.start_anew()
        self.fate.lift()
        return is_met

    # what people do

    def user(self, name):
        row = orm.User.find(self.app.db, name)
        if row is None:
            row = orm.User(name=name)
            self.app.db.add(row)
            self.app.db.commit()
            assign_default_roles(self.app.db, row)
            self.app.db.commit()
        return self.app.users[row]

    def has_user(self, name):
        return orm.User.find(self.app.db, name) is not None

    async def spawn(self, name, server="", options=None):
        await self.user(name).spawn(server, options=options)

    async def stop(self, name, server=""):
        if self.user(name).spawners[server].active:
            await self.user(name).stop(server)

    async def delete(self, name, server):
        """Delete a server as JupyterHub's handler does."""
        user = self.user(name)
        if server not in user.orm_spawners:
            return
        await self.stop(name, server)
        spawner = user.spawners[server]
        await user._delete_spawner(spawner)
        self.app.db.delete(spawner.orm_spawner)
        user.spawners.pop(server, None)
        self.app.db.commit()

    async def remove_person(self, name):
        if not self.has_user(name):
            return

        async def stop_single_user(user, server):
            return asyncio.ensure_future(user.stop(server))

        handler = SimpleNamespace(
            db=self.app.db,
            users=self.app.users,
            authenticator=self.app.authenticator,
            log=self.app.log,
            stop_single_user=stop_single_user,
        )
        await remove_person(handler, self.user(name))

    def forget(self, name):
        """Remove a row as another program would."""
        user = self.user(name)
        self.app.db.delete(user.orm_user)
        self.app.db.commit()
        del self.app.users[user.id]

    def make_cleanup(self, record=lambda event, **fields: None):
        """Make the service of this life; ``record`` hears of each thing as it goes."""
        return Cleanup(
            self.app,
            Settings(
                hub_name=self.hub_name,
                data_volume_container=self.folder,
                cleanup_most_percent=100,
                trash_retention_days=14,
            ),
            self.backend,
            record=record,
            wall=lambda: time.time() + self.shift,
            monotonic=lambda: time.monotonic() + self.shift,
        )

    async def clean(self, task, passes=2):
        """Make passes of cleanup, so far apart that what is due goes."""
        cleanup = self.make_cleanup()
        for _ in range(passes):
            report = await cleanup.run(task)
            if report.plan.held:
                await cleanup.run(task, confirmed=report.plan.confirm)
            self.shift += GRACE
        return report

    def make_trash(self):
        settings = Settings(hub_name=self.hub_name, data_volume_container=self.folder)
        return Trash(self.app, settings, self.backend, self.hub_name)

    def identity(self, name, server=""):
        return Identity(self.hub_name, name, server)
