"""A real hub and its proxy start over workspaces that run: nothing is stopped, everything is
reached again, whatever the database and the place say.
"""

from __future__ import annotations

import pytest

CONFIG = """
import time
from jupyterhub import orm
from jupyterhub.roles import create_role, get_default_roles
from mlhub.backends.fake import FakeBackend, FakeSpawner
from mlhub.backends.fake.server import Servers
from mlhub.backends.memory import Record
from mlhub.identity import Identity
from mlhub.workspaces.port import Kind, Resource

place = FakeBackend.of("mlhub")
with orm.new_session_factory("sqlite:///jupyterhub.sqlite")() as session:
    for role in get_default_roles():
        create_role(session, role)
    member = [orm.Role.find(session, "user")]
    for name in ("ann", "cyd"):
        # As the hub before wrote it: an address of before the node was started again.
        address = orm.Server(proto="http", ip="127.0.0.1", port=9, base_url=f"/user/{name}/")
        session.add(orm.Spawner(
            user=orm.User(name=name, roles=member), name="", server=address,
            state={"holding": {"user": name, "server": ""}}))
    session.commit()
asked = {"poll": 0, "get_url": 0}

class Spawner(FakeSpawner):
    async def prepare_hub(self):
        # What the hub before has left running.
        for user, server in (("ann", ""), ("cyd", ""), ("bob", ""), ("bob", "work"), ("ALICE", "")):
            identity = Identity("mlhub", user, server)
            running = Servers("fake/workspace:1", {"JUPYTERHUB_API_TOKEN": "0" * 32})
            await running.start()
            labels = {**identity.labels, "mlhub.user_id": f"0123456789ab.{user}"}
            volume = identity.volume(1)
            place.volumes[volume] = Resource(
                Kind.VOLUME, volume, user, server, time.time(), None, labels)
            place.records[identity] = Record(
                "fake/workspace:1", time.time(), labels, volume, running)

    async def poll(self):
        asked["poll"] += 1
        if self.user.name in ("ann", "cyd") and asked["poll"] <= 2:
            raise OSError("the place of a site's own raises what it likes")
        return await super().poll()

    async def get_url(self):
        if self.user.name == "ann":
            raise KeyError("address")
        return await super().get_url()

c.JupyterHub.spawner_class = Spawner
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.mark.parametrize("name", ["ann", "cyd"])
def test_what_the_hub_could_not_ask_about_when_it_started_runs_on_and_is_reached(hub, name):
    service = hub.service()
    hub.wait_until(lambda: (service.get_server(name) or {}).get("ready"), "it is ready", 20)
    hub.wait_until(
        lambda: hub.browser().get(f"/user/{name}/api").text.startswith('{"version": "fake"'),
        "its route leads to where it answers now",
        20,
    )


def test_whom_the_database_lost_is_there_again_with_what_runs_and_is_no_administrator(hub):
    service = hub.service()
    for server in ("", "work"):
        hub.wait_until(
            lambda server=server: (service.get_server("bob", server) or {}).get("ready"),
            "it is ready",
            20,
        )
        address = f"/user/bob/{server}/api".replace("//", "/")
        hub.wait_until(
            lambda address=address: '"version": "fake"' in hub.browser().get(address).text,
            "it is reached",
            20,
        )
    bob = service.get("users/bob").json()
    assert bob["admin"] is False
    assert bob["roles"] == ["user"]
    # To register the name proves nothing: an administrator decides who that is.
    stranger = hub.browser()
    stranger.sign_up("bob", "quite a good one 2")
    stranger.log_in("bob", "quite a good one 2")
    assert not stranger.is_signed_in()


def test_a_name_that_nobody_can_have_is_left_alone(hub):
    service = hub.service()
    assert service.get("users/ALICE").status_code == 404
    assert "It is left alone" in hub.log


def test_what_was_gone_on_with_stops_as_any_other(hub):
    service = hub.service()
    hub.wait_until(lambda: (service.get_server("bob", "work") or {}).get("ready"), "it runs", 20)
    assert service.stop("bob", "work").status_code in (202, 204)
    hub.wait_until(
        lambda: not (service.get_server("bob", "work") or {}).get("ready"), "it has stopped", 20
    )
