"""A start on the real engine without a hub: a spec goes in, a workspace that answers comes out."""

from dataclasses import replace

import pytest

from mlhub.backends.docker.container import PREVIOUS, Container
from mlhub.backends.docker.networks import Networks
from mlhub.backends.docker.spec import Mounts, Place, Probe, Wanted, make_spec
from mlhub.backends.docker.start import Start
from mlhub.errors import NameTakenError, OptionsError, WorkspaceDiedError
from mlhub.identity import Identity
from tests.support.engine import LABEL, POOL

PREFIX = "/user/alice/"
HUB = {
    "JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api",
    "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
    "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8080{PREFIX}",
}


class Site:
    """One workspace on the engine, without anything of JupyterHub's."""

    def __init__(self, engine, client, hub_name, image):
        self.engine, self.client, self.image = engine, client, image
        self.identity = Identity(hub_name, "alice")
        self.networks = Networks(engine, hub_name, POOL, 27, LABEL)
        self.name, self.tokens, self.told = self.identity.container, [], []

    def make_spec(self, **changes):
        wanted = Wanted(
            name=self.name,
            image=self.image,
            network=self.identity.network,
            port=8080,
            environment={**HUB, "JUPYTERHUB_API_TOKEN": "secret"},
            labels={**LABEL, **self.identity.labels},
            mounts=Mounts("/workspace", {}),
            probe=Probe(f"{PREFIX}api", 20),
        )
        volume = self.identity.volume(1)
        return make_spec(replace(wanted, **changes), Place(volume=volume))

    async def start(self, spec, **how):
        start = Start(
            Container(self.engine, self.identity, self.name),
            self.networks,
            self.find_image,
            stop_seconds=2,
            report=lambda percent, message: self.told.append(message),
            keep_token=self.tokens.append,
        )
        await start.find()
        await self.networks.ensure(self.identity)
        labels = {**LABEL, **self.identity.labels}
        await self.engine.call("create_volume", self.identity.volume(1), labels=labels)
        running = await start.run(spec, **how)
        if running.has_previous:
            await start.previous.remove()
        return running

    async def find_image(self):
        return await self.engine.call("inspect_image", self.image)

    def get(self):
        return self.client.containers.get(self.name)

    def list_names(self):
        filters = {"label": f"mlhub.origin={self.identity.hub}"}
        return [each["Names"][0] for each in self.client.api.containers(all=True, filters=filters)]


@pytest.fixture
def site(engine, client, hub_name, image):
    return Site(engine, client, hub_name, image)


async def test_a_spec_becomes_a_workspace_that_answers(site):
    running = await site.start(site.make_spec())
    assert running.container["Id"] == site.get().id
    assert running.address.port == 8080
    assert not running.has_previous
    assert site.told[-1] == "Waiting for the workspace to answer"
    assert not site.tokens


async def test_a_container_that_fits_is_used_again_and_its_token_is_told_before_it_runs(site):
    first = await site.start(site.make_spec())
    site.get().stop(timeout=1)
    fresh = {**site.make_spec().environment, "JUPYTERHUB_API_TOKEN": "another"}
    again = await site.start(site.make_spec(environment=fresh))
    assert again.container["Id"] == first.container["Id"]
    assert site.tokens == ["secret"]


async def test_one_that_does_not_fit_goes_once_its_successor_answers(site):
    first = await site.start(site.make_spec())
    running = await site.start(site.make_spec(site_host={"pids_limit": 99}))
    assert running.container["Id"] != first.container["Id"]
    assert running.has_previous
    assert site.list_names() == [f"/{site.name}"]


async def test_one_that_is_adopted_goes_on_with_other_amounts(site):
    first = await site.start(site.make_spec(mem_limit=300 * 2**20))
    running = await site.start(site.make_spec(mem_limit=200 * 2**20), adopts=True)
    assert running.container["Id"] == first.container["Id"]
    host, state = site.get().attrs["HostConfig"], site.get().attrs["State"]
    assert host["Memory"] == 200 * 2**20
    assert state["StartedAt"] == first.container["State"]["StartedAt"]


async def test_a_successor_that_dies_leaves_the_one_before_it_in_its_place(site):
    first = await site.start(site.make_spec())
    broken = {**site.make_spec().environment, "DIE": "no license"}
    with pytest.raises(WorkspaceDiedError, match=r"(?s)was put back.*no license"):
        await site.start(site.make_spec(environment=broken))
    assert site.get().id == first.container["Id"]
    assert site.list_names() == [f"/{site.name}"]


async def test_one_that_stands_aside_alone_gets_its_name_back(site):
    first = await site.start(site.make_spec())
    site.get().stop(timeout=1)
    site.client.api.rename(site.name, site.name + PREVIOUS)
    running = await site.start(site.make_spec())
    assert running.container["Id"] == first.container["Id"]


async def test_one_that_holds_files_itself_is_refused_and_not_made_anew(site):
    kept = make_spec(site.make_spec().wanted, Place())
    first = await site.start(kept)
    site.get().stop(timeout=1)
    with pytest.raises(OptionsError, match="keeps its files inside"):
        await site.start(make_spec(replace(kept.wanted, image="fake/other"), Place()))
    assert site.get().id == first.container["Id"]


async def test_a_strangers_container_of_that_name_is_refused_before_anything_is_made(site, client):
    client.containers.run(site.image, name=site.name, detach=True, labels=LABEL)
    with pytest.raises(NameTakenError, match="does not belong to this workspace"):
        await site.start(site.make_spec())
    assert not client.volumes.list(filters={"label": f"mlhub.origin={site.identity.hub}"})
