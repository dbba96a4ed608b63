"""What an older version left on the engine, and starts that are ended half-way: nothing of somebody
else's is used, nothing appears later.
"""

import asyncio
from datetime import datetime, timedelta

import pytest
from tornado import web

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.identity import Identity
from mlhub.workspaces.holder import LABEL_PERSON, DatabaseKey, PersonKey
from mlhub.workspaces.port import Kind
from tests.support.engine import LABEL


def name(hub, user, server=""):
    return Identity(hub.hub_name, user, server).container


@pytest.fixture
def old_hub(hub):
    """A hub whose database an older version has written."""
    hub.user("somebody")
    for table in (PersonKey, DatabaseKey):
        hub.db.query(table).delete()
    hub.db.commit()
    return hub


@pytest.mark.parametrize(
    ("since", "is_theirs"),
    [(timedelta(hours=-1), True), (timedelta(hours=1), False)],
    ids=["before", "after"],
)
async def test_a_volume_of_an_older_version_is_adopted_only_by_whoever_was_there_before_it(
    old_hub, client, since, is_theirs
):
    identity = Identity(old_hub.hub_name, "alice")
    old = client.volumes.create(
        identity.volume(1), labels={**LABEL, **identity.labels, "mlhub.generation": "1"}
    )
    old_hub.user("alice").orm_user.created = datetime.utcnow() + since
    old_hub.db.commit()
    await old_hub.start("alice")
    volumes = [
        resource
        for resource in await old_hub.backend.list_resources("alice")
        if resource.kind is Kind.VOLUME
    ]
    assert [volume.name == old.name for volume in volumes if volume.trashed_at is None] == [
        is_theirs
    ]
    assert old.name in {volume.name for volume in volumes}


async def test_a_container_of_an_older_version_goes_on_with_what_was_installed_in_it(
    old_hub, client, monkeypatch
):
    def make_labels(spawner, make=MLHubDockerSpawner.make_labels):
        return {key: value for key, value in make(spawner).items() if key != LABEL_PERSON}

    with monkeypatch.context() as older:
        older.setattr(MLHubDockerSpawner, "make_labels", make_labels)
        await old_hub.start("alice")
    before = client.containers.get(name(old_hub, "alice"))
    assert LABEL_PERSON not in before.labels
    await old_hub.stop("alice")
    await old_hub.start("alice")
    assert client.containers.get(name(old_hub, "alice")).id == before.id


async def test_a_container_that_holds_files_of_somebody_before_is_kept_and_the_sentence_says_so(
    hub, client
):
    await hub.start("alice", options={"is_mount_volume": False})
    before = client.containers.get(name(hub, "alice"))
    await hub.stop("alice")
    hub.forget("alice")
    with pytest.raises(
        web.HTTPError, match="holds files of somebody else who was 'alice' before"
    ) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 409
    assert client.containers.get(before.id).status == "exited"


async def test_a_start_that_is_ended_while_its_container_is_made_leaves_none_behind(
    hub, client, monkeypatch
):
    async def call(engine, method, *args, call=Engine.call, **named):
        if method == "create_container":
            asyncio.get_running_loop().call_soon(start.cancel)
        return await call(engine, method, *args, **named)

    monkeypatch.setattr(Engine, "call", call)
    start = asyncio.create_task(hub.start("alice"))
    with pytest.raises(asyncio.CancelledError):
        await start
    made = client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})
    assert [each.name for each in made] == [name(hub, "alice")]  # it is there already, not later
    await hub.user("alice").spawners[""].delete_forever()
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})
