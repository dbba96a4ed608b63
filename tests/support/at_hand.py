"""JupyterHub's own objects around a spawner of ours, for tests that need no web server."""

from __future__ import annotations

from types import SimpleNamespace

from jupyterhub import orm
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.objects import Hub
from jupyterhub.roles import assign_default_roles, create_role, get_default_roles
from jupyterhub.user import User
from traitlets.config import Config

from mlhub.hub.reconciliation import Reconciliation


class HubAtHand:
    """JupyterHub's own users, tokens and database around our spawner, without its web server."""

    def __init__(self, image, hub_name, spawner_class):
        self.config, self.spawner_class = Config(), spawner_class
        spawner = self.config[spawner_class.__name__]
        spawner.hub_name, spawner.image, spawner.port = hub_name, image, 8080
        spawner.http_timeout, spawner.start_timeout = 20, 60
        # By that path is known what counts of one hub; there is no such file.
        spawner.policy_file = f"/nowhere/{hub_name}/policy.yaml"
        self.spawner = spawner
        self.hub_name = hub_name
        self.users = {}
        self.reset_database()

    def reset_database(self):
        """Begin as a hub whose database is new."""
        self.users.clear()
        self.db = orm.new_session_factory("sqlite:///:memory:")()
        self.db.add(
            orm.OAuthClient(
                identifier="jupyterhub", secret="", redirect_uri="", description="JupyterHub"
            )
        )
        for role in get_default_roles():
            create_role(self.db, role)
        self.db.commit()

    def user(self, name):
        if name not in self.users:
            orm_user = orm.User.find(self.db, name)
            if orm_user is None:
                orm_user = orm.User(name=name)
                self.db.add(orm_user)
                self.db.commit()
                assign_default_roles(self.db, orm_user)
                self.db.commit()
            settings = {
                "config": self.config,
                "spawner_class": self.spawner_class,
                "hub": Hub(ip="127.0.0.1", port=8081, base_url="/hub/"),
                "allow_named_servers": True,
                "base_url": "/",
            }
            self.users[name] = User(orm_user, settings)
        return self.users[name]

    def forget(self, name):
        """Remove a person's row as another program would: nothing of theirs is stopped or moved."""
        self.db.delete(self.users.pop(name).orm_user)
        self.db.commit()

    async def forget_what_runs(self, spawner):
        """Have a spawner know no more than one of a hub that has just begun."""

    async def start(self, name, server="", options=None):
        await self.user(name).spawn(server, options=options)
        return self.user(name).spawners[server]

    async def stop(self, name, server=""):
        await self.user(name).stop(server)

    @property
    def backend(self):
        return self.user("somebody").get_or_create_spawner("", "").backend


class People:
    """JupyterHub's users by their rows, over those of a hub at hand."""

    def __init__(self, hub):
        self.hub = hub

    def __getitem__(self, orm_user):
        return self.hub.user(orm_user.name)

    def get(self, name):
        return self.hub.user(name) if orm.User.find(self.hub.db, name) else None


async def begin_again(hub, **rules):
    """Start a hub at hand over what there is; return what it is."""
    hub.users.clear()
    app = SimpleNamespace(
        db=hub.db,
        users=People(hub),
        authenticator=DummyAuthenticator(**{"allow_all": True, **rules}),
        allow_named_servers=True,
    )
    await Reconciliation(app, hub.backend).reconcile()
    return app
