"""Running containers of the original (ML Hub of 2021) go on, and nothing of them is changed."""

from __future__ import annotations

import pytest
from jupyterhub import orm
from tornado import web

from mlhub.identity import Identity
from tests.support.at_hand import begin_again
from tests.support.engine import LABEL
from tests.support.original import OldWorkspace

SERVER = "My Server"


@pytest.fixture
def make_old(hub, client, image):
    """Return a function that makes a person with a server, and its running container."""

    def make(user="ann", server="work", **chosen):
        row = orm.Spawner(name=server, user=hub.user(user).orm_user)
        hub.db.add(row)
        # What the original's form had stored: an image that nobody offers here.
        row.user_options = {"image": "mltooling/ml-workspace:0.13.2", "is_mount_volume": "on"}
        saved = {"saved_user_options": row.user_options}
        old = OldWorkspace(hub.hub_name, user, server)
        row.state = {"object_id": "1a2b", "object_name": old.name, **saved}
        hub.db.commit()
        labels = {**old.labels, **LABEL}
        client.networks.create(old.network, labels=labels)
        client.volumes.create(old.name, labels=labels)
        return client.containers.run(
            image,
            detach=True,
            name=old.name,
            labels={**old.container_labels, **LABEL},
            network=old.network,
            volumes={old.name: {"bind": "/workspace", "mode": "rw"}},
            environment={**old.make_environment(), **chosen},
            nano_cpus=500_000_000,
            mem_limit="256m",
        )

    return make


def describe(container):
    """Tell what a container is, and since when it runs."""
    container.reload()
    told, host = container.attrs, container.attrs["HostConfig"]
    state = told["State"]
    return (
        *(told["Id"], told["Name"], state["StartedAt"], state["Running"], told["Config"]),
        *(host["NanoCpus"], host["CpuQuota"], host["Memory"], told["NetworkSettings"]["Networks"]),
    )


async def test_one_that_runs_goes_on_until_it_is_stopped_and_then_comes_as_one_of_ours(
    hub, client, make_old
):
    container = make_old(server=SERVER)
    before = describe(container)
    await begin_again(hub)
    spawner = hub.user("ann").spawners[SERVER]
    assert spawner.ready
    assert container.attrs["NetworkSettings"]["Networks"][f"{hub.hub_name}-ann"][
        "IPAddress"
    ] in str(await spawner.find_url())
    assert (spawner.reservation.cpu_limit, spawner.reservation.mem_limit) == (0.5, 2**28)
    assert spawner.orm_spawner.user_options == {"is_mount_volume": "on"}
    token = next(each for each in before[4]["Env"] if each.startswith("JUPYTERHUB_API_TOKEN="))
    found = orm.APIToken.find(hub.db, token.partition("=")[2])
    assert found.user is hub.user("ann").orm_user
    assert "inherit" not in found.scopes
    assert spawner.oauth_client_id == "jupyterhub-user-ann-My%20Server"

    hub.users.clear()  # as a hub that is started once more
    spawner = hub.user("ann").get_or_create_spawner(SERVER, SERVER)
    assert await spawner.poll() is None
    assert spawner.oauth_client_id == "jupyterhub-user-ann-My%20Server"
    assert describe(container) == before

    await hub.stop("ann", SERVER)
    assert not describe(container)[3]
    spawner = await hub.start("ann", SERVER)
    ours = client.containers.get(Identity(hub.hub_name, "ann", SERVER).container)
    assert ours.id != container.id
    assert container.name in [mount.get("Name") for mount in ours.attrs["Mounts"]]
    assert spawner.oauth_client_id == "jupyterhub-user-ann!My%20Server"
    assert describe(container)[:2] == before[:2], "the original's container stays, stopped"


async def test_one_whose_owner_chose_its_token_is_left_alone_and_no_second_one_gets_its_files(
    hub, client, make_old
):
    container = make_old(JUPYTERHUB_API_TOKEN="a-word-of-mine")
    before = describe(container)
    await begin_again(hub)
    assert not hub.user("ann").spawners["work"].ready
    assert describe(container) == before
    with pytest.raises(web.HTTPError, match=f"docker stop {container.name}"):
        await hub.start("ann", "work")
    assert describe(container) == before
    container.stop(timeout=1)
    hub.users.clear()  # as a hub that finds it stopped
    assert await (await hub.start("ann", "work")).poll() is None
    assert describe(container)[:2] == before[:2]
